package oat

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"runtime"
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
