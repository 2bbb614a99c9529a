package oat

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/quota"
)

// fleet is a verifier that knows many tokens, ten to an organization, with the
// attempts that open them.
type fleet struct {
	verifier *Verifier
	attempts []Attempt
}

const tokensPerOrganization = 10

func newFleet(tb testing.TB, tokens int, cfg VerifierConfig) *fleet {
	tb.Helper()
	f := &fleet{verifier: NewVerifier(cfg), attempts: make([]Attempt, tokens)}
	random := rand.NewChaCha8([32]byte{1})
	var batch []events.Recorded
	position := events.Position(0)
	var head events.Head // of the newest organization
	record := func(organization string, p events.Payload) {
		envelope, err := events.NewEnvelope([16]byte{}, time.Unix(0, 0), "alice", p)
		if err != nil {
			tb.Fatal(err)
		}
		var sealed []events.Recorded
		sealed, head = events.Seal(events.OrganizationStream(organization), head, []events.Envelope{envelope})
		position++
		sealed[0].Position = position
		batch = append(batch, sealed[0])
	}
	for i := range tokens {
		organization := fmt.Sprintf("org-%06d", i/tokensPerOrganization)
		if i%tokensPerOrganization == 0 {
			head = events.Head{}
			record(organization, &events.OrganizationRegistered{Plan: quota.Team, Owners: []string{"alice"}})
		}
		id, err := uuid.NewRandomFromReader(random)
		if err != nil {
			tb.Fatal(err)
		}
		secret, err := generateSecret(random, DefaultPrefix)
		if err != nil {
			tb.Fatal(err)
		}
		record(organization, &events.TokenGenerated{
			Token: id.String(), Label: "ci", Digest: secret.digest(), ExpiresAt: "2200-01-01T00:00:00Z",
			Resources: []Resource{Repository(organization+"/api", ReadWrite)},
		})
		f.attempts[i] = Attempt{Organization: organization, Secret: secret}
		if len(batch) > 1000 || i == tokens-1 {
			if err := f.verifier.Apply(context.Background(), batch); err != nil {
				tb.Fatal(err)
			}
			batch = batch[:0:0]
		}
	}
	if closed := f.verifier.Suspects(); len(closed) > 0 {
		tb.Fatalf("%d organizations are closed", len(closed))
	}
	f.verifier.cfg.MaxStaleness = time.Hour
	f.verifier.Confirm(time.Now())
	return f
}

// BenchmarkVerify measures promise P1. The baseline digests the same secrets and
// looks the digests up in a Go map; both go through the same tokens in the same
// order, in rounds that take turns. x-baseline is the ratio of their times.
func BenchmarkVerify(b *testing.B) {
	for _, tokens := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(tokens), func(b *testing.B) { benchmarkVerify(b, tokens) })
	}
}

func benchmarkVerify(b *testing.B, tokens int) {
	f := newFleet(b, tokens, VerifierConfig{})
	known := make(map[[32]byte]int, tokens)
	for i, a := range f.attempts {
		known[a.Secret.digest()] = i
	}
	random := rand.New(rand.NewPCG(1, 1)).Perm(tokens)
	hot := make([]int, tokens)
	for i := range hot {
		hot[i] = random[i%16]
	}
	for name, order := range map[string][]int{"random": random, "hot": hot} {
		baseline := func(i int) bool {
			_, ok := known[sha256.Sum256(f.attempts[order[i%tokens]].Secret.bytes())]
			return ok
		}
		verify := func(i int) bool {
			_, err := f.verifier.Verify(context.Background(), f.attempts[order[i%tokens]])
			return err == nil
		}
		b.Run(name+"/serial", func(b *testing.B) { compare(b, 1, baseline, verify) })
		b.Run(name+"/parallel", func(b *testing.B) { compare(b, runtime.GOMAXPROCS(0), baseline, verify) })
	}
}

// BenchmarkVerifyGarbage measures promise P2: what it costs to refuse a string whose
// checksum is wrong, beside the SHA-256 of the same string.
func BenchmarkVerifyGarbage(b *testing.B) {
	f := newFleet(b, 1000, VerifierConfig{})
	for name, garbage := range map[string]string{
		"checksum": "oat_0123456789ABCDEFGHIJKLMNOPqrstuv",
		"password": "correct horse battery staple 123456",
		"short":    "hunter2",
	} {
		attempt := Attempt{Organization: "org-000000", Secret: NewSecret(garbage)}
		b.Run(name, func(b *testing.B) {
			compare(b, 1, func(int) bool {
				digest := sha256.Sum256(attempt.Secret.bytes())
				return digest[0] != 0 || digest[1] != 0
			}, func(int) bool {
				_, err := f.verifier.Verify(context.Background(), attempt)
				return err != nil
			})
		})
	}
}

// BenchmarkVerifierMemory measures promise P3: the heap that a verifier of a million
// tokens keeps, per token.
func BenchmarkVerifierMemory(b *testing.B) {
	const tokens = 1_000_000
	for b.Loop() {
		var before, after runtime.MemStats
		f := newFleet(b, tokens, VerifierConfig{})
		f.attempts = nil
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(f)
		f = nil
		runtime.GC()
		runtime.ReadMemStats(&before)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/tokens, "bytes/token")
	}
}

// BenchmarkRecord measures promise P4: what it costs to note a use, beside an atomic
// addition.
func BenchmarkRecord(b *testing.B) {
	recorder, err := NewRecorder(RecorderConfig{Log: discard{}, Interval: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = recorder.Close(context.Background()) })
	uses := make([]Use, 1000)
	for i := range uses {
		uses[i] = Use{Organization: "acme", Token: uuid.New(), At: time.Now(), Address: "10.0.0.1", UserAgent: "docker/28.2.2"}
		recorder.Record(uses[i])
	}
	if err := recorder.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	var counter atomic.Int64
	add := func(int) bool { return counter.Add(1) > 0 }
	record := func(i int) bool { recorder.Record(uses[i%len(uses)]); return true }
	b.Run("serial", func(b *testing.B) { compare(b, 1, add, record) })
	b.Run("parallel", func(b *testing.B) { compare(b, runtime.GOMAXPROCS(0), add, record) })
	b.Run("one-token", func(b *testing.B) {
		compare(b, 1, add, func(int) bool { recorder.Record(uses[0]); return true })
	})
}

// discard is a log that takes everything and keeps nothing.
type discard struct{ events.Log }

func (discard) Append(context.Context, events.StreamID, events.Version, ...events.Envelope) ([]events.Recorded, error) {
	return nil, nil
}

// BenchmarkRefusal measures what refusing takes with a log and a recorder: a secret that is
// known and was deactivated, and one that no token has. The attempts take turns, and the
// metrics are medians; apart-ns is how far an observer could tell them apart.
func BenchmarkRefusal(b *testing.B) {
	known, unknown := refusalTimes(b, max(b.N, 20_000))
	b.ReportMetric(float64(known), "known-ns")
	b.ReportMetric(float64(unknown), "unknown-ns")
	b.ReportMetric(float64((known - unknown).Abs()), "apart-ns")
	b.ReportMetric(0, "ns/op")
}

// refusalTimes returns the medians of n refusals of a known secret and of an unknown one,
// by a verifier that records uses and writes a log file.
func refusalTimes(tb testing.TB, n int) (known, unknown time.Duration) {
	tb.Helper()
	recorder, err := NewRecorder(RecorderConfig{Log: discard{}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = recorder.Close(context.Background()) })
	file, err := os.Create(filepath.Join(tb.TempDir(), "log"))
	if err != nil {
		tb.Fatal(err)
	}
	f := newFleet(tb, 1000, VerifierConfig{Recorder: recorder, Logger: slog.New(slog.NewJSONHandler(file, nil))})
	tb.Cleanup(func() { f.verifier.FlushLog(); _ = file.Close() })
	attempt := f.attempts[0]
	attempt.Address, attempt.UserAgent = "192.0.2.1", "docker/29.1.3 go/go1.25.5 git-commit/f52814d kernel/6.8.0 os/linux arch/amd64"
	digest := attempt.Secret.digest()
	f.verifier.digests.byDigest(&digest).active = false
	stranger := attempt
	if stranger.Secret, err = generateSecret(rand.NewChaCha8([32]byte{2}), DefaultPrefix); err != nil {
		tb.Fatal(err)
	}
	var times [2][]time.Duration
	for i := range 2 * n {
		a := []Attempt{attempt, stranger}[i%2]
		begin := time.Now()
		_, err := f.verifier.Verify(context.Background(), a)
		times[i%2] = append(times[i%2], time.Since(begin))
		if err != ErrRefused {
			tb.Fatal(err)
		}
	}
	for _, all := range times {
		slices.Sort(all)
	}
	return times[0][n/2], times[1][n/2]
}
