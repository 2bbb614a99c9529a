package projection_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/projection/projtest"
)

// The tests here run in a bubble of testing/synctest: its clock moves when
// everything waits, and a goroutine that Run left behind fails them.

// A log that can wake its readers has its records applied at once, one that cannot
// after the poll interval.
func TestRunFollows(t *testing.T) {
	w := projtest.NewWorld(1, 1, 3)
	for name, test := range map[string]struct {
		log   func(*memlog.Log) events.Log
		delay time.Duration
	}{
		"notifier": {func(l *memlog.Log) events.Log { return l }, 0},
		"plain":    {func(l *memlog.Log) events.Log { return plain{l} }, time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			log, p := memlog.New(), &trace{}
			r := newRunner(t, projection.RunnerConfig{Log: test.log(log), Projections: []projection.Projection{p}, PollInterval: time.Second})
			stop := start(t, r)
			for i := range w.Records {
				synctest.Wait()
				time.Sleep(100 * time.Millisecond) // in the midst of an interval, by the bubble's clock
				synctest.Wait()
				before := time.Now()
				if _, err := log.Append(t.Context(), w.Records[i].Stream, events.Any, w.Records[i].Envelope); err != nil {
					t.Fatal(err)
				}
				for p.Position() < events.Position(i+1) {
					time.Sleep(time.Millisecond)
					synctest.Wait()
				}
				if took := time.Since(before); took > test.delay+time.Millisecond {
					t.Errorf("%s: record %d was applied after %v", name, i, took)
				}
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
			p.saw(t, records(t, log))
		})
	}
}

// Somebody in WaitFor does not wait out the poll interval.
func TestWaitForWakesRun(t *testing.T) {
	w := projtest.NewWorld(1, 1, 1)
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		r := newRunner(t, projection.RunnerConfig{Log: plain{log}, Projections: []projection.Projection{&trace{}}, PollInterval: time.Hour})
		stop := start(t, r)
		synctest.Wait()
		before := time.Now()
		sealed, err := log.Append(t.Context(), w.Records[0].Stream, events.Any, w.Records[0].Envelope)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.WaitFor(t.Context(), sealed[0].Position); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(before); took > 0 {
			t.Errorf("waited %v", took)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// Confirmations come at least once in a poll interval though nothing happens, and
// each is true: what was appended before the instant it names has been applied. To
// see it fail, let pass read the clock after it asked the log where it ends (the
// log here takes its time to answer), or confirm after an error.
func TestConfirmations(t *testing.T) {
	w := projtest.NewWorld(1, 1, 200)
	synctest.Test(t, func(t *testing.T) {
		log, p := &slow{Log: memlog.New()}, &trace{}
		r := newRunner(t, projection.RunnerConfig{Log: log, Projections: []projection.Projection{p}, PollInterval: time.Second, Now: time.Now})
		stop := start(t, r)
		appended := make([]time.Time, 0, len(w.Records))
		for i := range w.Records {
			if _, err := log.Append(t.Context(), w.Records[i].Stream, events.Any, w.Records[i].Envelope); err != nil {
				t.Fatal(err)
			}
			appended = append(appended, time.Now())
			time.Sleep(time.Duration(1+i%7) * 13 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		for i, at := range p.confirmed {
			if next := int(p.at[i]); next < len(appended) && appended[next].Before(at) {
				t.Errorf("confirmed everything before %v, without record %d of %v", at, next+1, appended[next])
			}
			if i > 0 && at.Sub(p.confirmed[i-1]) > 1100*time.Millisecond {
				t.Errorf("no confirmation for %v", at.Sub(p.confirmed[i-1]))
			}
		}
		if len(p.confirmed) < 12 {
			t.Errorf("confirmed %d times", len(p.confirmed))
		}
	})
}

// slow is a log that takes a while to say where it ends.
type slow struct{ *memlog.Log }

func (l *slow) End(ctx context.Context) (events.Position, error) {
	end, err := l.Log.End(ctx)
	time.Sleep(20 * time.Millisecond)
	return end, err
}

// A log that cannot be read for a while is read again when it can, with nothing
// lost and nothing twice; what could be read is kept; meanwhile nobody confirms,
// and the host's log says why. To see it fail, let follow return the error, or let
// read return when it meets one without sending what it has.
func TestRunSurvivesReadErrors(t *testing.T) {
	w := projtest.NewWorld(1, 2, 500)
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		log, p := &faulty{Log: fill(t, w.Records)}, &trace{}
		log.set(func(read, record int) error {
			if read <= 7 && record == 3 {
				return errHiccup
			}
			return nil
		})
		r := newRunner(t, projection.RunnerConfig{Log: log, Projections: []projection.Projection{p}, BatchSize: 10, Logger: slog.New(slog.NewTextHandler(&said, nil))})
		stop := start(t, r)
		if err := r.WaitFor(t.Context(), 500); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if want := []events.Position{0, 3, 6, 9, 12, 15, 18, 21}; !slices.Equal(log.from, want) || len(p.confirmations()) != 1 {
			t.Errorf("reads from %v, want from %v; %d confirmations", log.from, want, len(p.confirmations()))
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		p.saw(t, records(t, log.Log))
		if strings.Count(said.String(), errHiccup.Error()) != 7 || !strings.Contains(said.String(), "again") {
			t.Errorf("logged:\n%s", said.String())
		}
	})
}

// A log that stays unreadable is tried again more and more rarely, but at least
// every two seconds: whoever waits for it to come back does not wait long.
func TestRetriesAreBounded(t *testing.T) {
	w := projtest.NewWorld(1, 1, 1)
	synctest.Test(t, func(t *testing.T) {
		log, p := &faulty{Log: fill(t, w.Records)}, &trace{}
		log.set(func(int, int) error { return errHiccup })
		r := newRunner(t, projection.RunnerConfig{Log: log, Projections: []projection.Projection{p}})
		stop := start(t, r)
		time.Sleep(time.Minute)
		log.set(nil)
		if log.reads < 30 || log.reads > 40 || len(p.confirmations()) > 0 {
			t.Errorf("%d reads and %d confirmations in a minute", log.reads, len(p.confirmations()))
		}
		time.Sleep(2 * time.Second)
		if p.Position() != 1 || len(p.confirmations()) == 0 {
			t.Errorf("2 s after the log came back: position %d, %d confirmations", p.Position(), len(p.confirmations()))
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A log that was closed does not come back.
func TestRunEndsWithItsLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		r := newRunner(t, projection.RunnerConfig{Log: log, Projections: []projection.Projection{&trace{}}})
		done := make(chan error)
		go func() { done <- r.Run(t.Context()) }()
		synctest.Wait()
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, events.ErrClosed) {
			t.Errorf("%v, want %v", err, events.ErrClosed)
		}
		if err := r.WaitFor(t.Context(), 1); !errors.Is(err, events.ErrClosed) {
			t.Errorf("wait: %v, want %v", err, events.ErrClosed)
		}
	})
}
