package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"
	"github.com/schollz/progressbar/v3"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
)

// bench is one log under measurement.
type bench struct {
	place  *place
	log    log
	filled int // organizations
	tokens int
}

// event is a new token, as a log mostly gets them.
func event(stream events.StreamID) (events.Envelope, error) {
	organization := stream.Name()
	return events.NewEnvelope(ulid.Make(), time.Now(), "alice", &events.TokenGenerated{
		Token: uuid.NewString(), Label: "ci", Digest: sha256.Sum256([]byte(ulid.Make().String())), ExpiresAt: "2027-01-31T00:00:00Z",
		Resources: []events.Resource{oat.Repository(organization+"/api", oat.ReadWrite)},
	})
}

func (b *bench) append(ctx context.Context, stream events.StreamID) (events.Position, error) {
	e, err := event(stream)
	if err != nil {
		return 0, err
	}
	records, err := b.log.Append(ctx, stream, events.Any, e)
	if err != nil {
		return 0, err
	}
	return records[0].Position, nil
}

// speed measures appends and wake-ups. Streams of speed are of no organization, so that
// growth does not meet them.
func (b *bench) speed(ctx context.Context, name string, length time.Duration, out io.Writer) error {
	alone, err := b.alone(ctx)
	if err != nil {
		return err
	}
	var rates []float64
	for _, streams := range []int{1, 64, 256} {
		rate, err := b.together(ctx, streams, length)
		if err != nil {
			return err
		}
		rates = append(rates, rate)
	}
	woken, err := b.woken(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "| %s | %s | %s | %.0f | %.0f | %.0f | %s | %s |\n",
		name, short(at(alone, 0.5)), short(at(alone, 0.99)), rates[0], rates[1], rates[2], short(at(woken, 0.5)), short(at(woken, 0.99)))
	return err
}

// alone is how long each of several hundred appends takes, one after the other.
func (b *bench) alone(ctx context.Context) (took []time.Duration, err error) {
	for range 500 {
		began := time.Now()
		if _, err := b.append(ctx, "bench/alone"); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}

// together is how many appends a second come about when so many callers append, each to
// a stream of its own.
func (b *bench) together(ctx context.Context, streams int, length time.Duration) (float64, error) {
	timed, stop := context.WithTimeout(ctx, length)
	defer stop()
	var done atomic.Int64
	var wg sync.WaitGroup
	failed := make(chan error, streams)
	began := time.Now()
	for i := range streams {
		wg.Go(func() {
			for timed.Err() == nil {
				if _, err := b.append(ctx, events.StreamID(fmt.Sprintf("bench/together-%d", i))); err != nil {
					failed <- err
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return 0, err
	default:
		return float64(done.Load()) / time.Since(began).Seconds(), ctx.Err()
	}
}

// woken is how long after an append has returned a second handle is woken by it.
func (b *bench) woken(ctx context.Context) (took []time.Duration, err error) {
	other, err := b.place.open(ctx)
	if err != nil {
		return nil, err
	}
	defer other.Close()
	end, err := other.End(ctx)
	if err != nil {
		return nil, err
	}
	for range 300 {
		woken := make(chan time.Time, 1)
		failed := make(chan error, 1)
		go func() {
			if err := other.Wait(ctx, end); err != nil {
				failed <- err
				return
			}
			woken <- time.Now()
		}()
		p, err := b.append(ctx, "bench/woken")
		if err != nil {
			return nil, err
		}
		appended := time.Now()
		select {
		case at := <-woken:
			took = append(took, max(0, at.Sub(appended)))
		case err := <-failed:
			return nil, err
		}
		end = p
	}
	return took, nil
}

// Of its events every organization has one registration, ten tokens, and records of use
// for the rest, as it comes about in the first days of an organization on plan team.
const (
	eventsEach = 50
	tokensEach = 10
)

// grow brings the log to so many organizations and measures what has grown with it.
func (b *bench) grow(ctx context.Context, name string, organizations int, out io.Writer) error {
	if err := b.fill(ctx, organizations); err != nil {
		return err
	}
	size, err := b.place.size()
	if err != nil {
		return err
	}
	read, records, err := b.read(ctx)
	if err != nil {
		return err
	}
	started, memory, err := b.begin(ctx)
	if err != nil {
		return err
	}
	alone, err := b.alone(ctx)
	if err != nil {
		return err
	}
	perToken := "–"
	if !b.place.inside {
		perToken = fmt.Sprint(memory / int64(b.tokens))
	}
	_, err = fmt.Fprintf(out, "| %s | %d | %d | %d | %.0f | %s | %s | %s |\n",
		name, organizations, records, size/records, float64(records)/read.Seconds(), started.Round(10*time.Millisecond), perToken, short(at(alone, 0.5)))
	return err
}

// fill adds organizations until there are so many.
func (b *bench) fill(ctx context.Context, organizations int) error {
	bar := progressbar.NewOptions(organizations-b.filled, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription("fill"),
		progressbar.OptionThrottle(200*time.Millisecond), progressbar.OptionClearOnFinish())
	next := make(chan int)
	failed := make(chan error, 16)
	var wg sync.WaitGroup
	filling, stop := context.WithCancel(ctx)
	defer stop()
	for range cap(failed) {
		wg.Go(func() {
			for i := range next {
				if err := b.add(filling, fmt.Sprintf("org-%d", i)); err != nil {
					failed <- err
					stop()
					return
				}
				_ = bar.Add(1)
			}
		})
	}
	for ; b.filled < organizations && filling.Err() == nil; b.filled++ {
		select {
		case next <- b.filled:
		case <-filling.Done():
		}
	}
	close(next)
	wg.Wait()
	_ = bar.Finish()
	b.tokens = b.filled * tokensEach
	select {
	case err := <-failed:
		return err
	default:
		return ctx.Err()
	}
}

// add appends an organization's events, in two batches.
func (b *bench) add(ctx context.Context, name string) error {
	stream, now := events.OrganizationStream(name), time.Now()
	registered, err := events.NewEnvelope(ulid.Make(), now, "host:bench", &events.OrganizationRegistered{Plan: "team", Owners: []string{"alice"}})
	if err != nil {
		return err
	}
	decided, used := []events.Envelope{registered}, []events.Envelope(nil)
	var tokens []string
	for range tokensEach {
		e, err := event(stream)
		if err != nil {
			return err
		}
		p, err := events.Decode(e.Type, e.Data)
		if err != nil {
			return err
		}
		decided, tokens = append(decided, e), append(tokens, p.(*events.TokenGenerated).Token)
	}
	for i := range eventsEach - len(decided) {
		e, err := events.NewEnvelope(ulid.Make(), now, "recorder", &events.UsageRecorded{Uses: []events.Use{{
			Token:    tokens[i%len(tokens)],
			Accepted: &events.UseSpan{First: now, Last: now, Count: 3, Address: "192.0.2.17", UserAgent: "docker/28.2.2 (linux)"},
		}}})
		if err != nil {
			return err
		}
		used = append(used, e)
	}
	_, err = b.log.Append(ctx, stream, 0, decided...)
	if err == nil {
		_, err = b.log.Append(ctx, events.UsageStream(name), 0, used...)
	}
	return err
}

// read is how long it takes to read the whole log, without a look at what is read.
func (b *bench) read(ctx context.Context) (took time.Duration, records int64, err error) {
	began := time.Now()
	for _, err := range b.log.ReadAll(ctx, 0) {
		if err != nil {
			return 0, 0, err
		}
		records++
	}
	return time.Since(began), records, nil
}

// begin is how long a new process takes until it can verify and list every token, and
// how many bytes of memory it has then.
func (b *bench) begin(ctx context.Context) (took time.Duration, bytes int64, err error) {
	before := heap()
	began := time.Now()
	verifier, tokens := oat.NewVerifier(oat.VerifierConfig{}), projection.NewTokens()
	runner, err := projection.NewRunner(projection.RunnerConfig{Log: b.log, Projections: []projection.Projection{verifier, tokens}})
	if err == nil {
		err = runner.CatchUp(ctx)
	}
	took = time.Since(began)
	bytes = heap() - before
	if err == nil && verifier.Status().Credentials != b.tokens {
		err = errors.New("the verifier does not know every token")
	}
	runtime.KeepAlive(tokens)
	return took, bytes, err
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// at is the duration that so large a part of them does not exceed.
func at(took []time.Duration, part float64) time.Duration {
	slices.Sort(took)
	return took[int(part*float64(len(took)-1))]
}

// short is a duration in three digits or so.
func short(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond))
}
