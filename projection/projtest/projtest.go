// Package projtest is what every projection must satisfy, as a test to run: the
// read models of package projection pass it, and so must a projection of a
// host's own.
//
//	func TestTokens(t *testing.T) {
//		projtest.Run(t, projtest.Harness[*projection.Tokens]{
//			New:  func(testing.TB) *projection.Tokens { return projection.NewTokens() },
//			Dump: func(p *projection.Tokens, w projtest.World) any { … },
//		})
//	}
//
// # What is tested
//
// A random past ([World]) is given to the projection in many ways, and each time
// it must answer as one does that got the records one at a time: that one stands
// for having followed the log live. The cases say what they give and why; they
// are about the contract of [projection.Projection], not about what a particular
// projection makes of the records. That is for a model in the projection's own
// tests, to which World lends itself as well.
//
// A [projection.Rebuilder] gets logs with wrong records as well. It must close the
// organization of such a record alone, and open it when it is folded again.
//
// # Repeating a failure
//
// The past is another one in each run. A failing run prints its seed;
// OATMILL_PROJTEST_SEED=seed makes the same again.
package projtest

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/projection"
)

// Harness is how the suite gets hold of a projection.
type Harness[P projection.Projection] struct {
	// New makes a projection that has seen nothing, another one in each call.
	New func(t testing.TB) P

	// Dump is everything p can be asked, as data that is equal by
	// [reflect.DeepEqual] exactly when the answers are, and that encoding/json can
	// print. World says what there is to ask about.
	Dump func(p P, w World) any

	// Reopen ends p as the end of its process would, and returns a projection that
	// goes on from what p had stored. nil says that nothing is stored: the projection lives
	// and dies with its process.
	Reopen func(t testing.TB, p P) P

	// IgnoresUse says that p does not look into usage streams: not even an event of
	// an unknown type stops it there.
	IgnoresUse bool
}

// Run tests a projection. Its cases are subtests.
func Run[P projection.Projection](t *testing.T, h Harness[P]) {
	seed := Seed(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("repeat with %s=%d", seedVariable, seed)
		}
	})
	s := newSuite(t, h, seed)
	for _, c := range append(s.cases(), s.rebuilderCases()...) {
		t.Run(c.name, func(t *testing.T) {
			t.Cleanup(func() {
				if t.Failed() {
					t.Log(c.why)
				}
			})
			c.test(t)
		})
	}
}

func newSuite[P projection.Projection](t testing.TB, h Harness[P], seed uint64) *suite[P] {
	t.Helper()
	s := &suite[P]{Harness: h, world: NewWorld(seed, 3, 400), rand: rand.New(rand.NewPCG(seed, 1))}
	s.reference = s.live(t, s.world.Records)
	return s
}

const seedVariable = "OATMILL_PROJTEST_SEED"

// Seed is a seed for [NewWorld]: OATMILL_PROJTEST_SEED where it is set, and at
// random where it is not. A test that fails should say which one it had.
func Seed(t testing.TB) uint64 {
	t.Helper()
	text, ok := os.LookupEnv(seedVariable)
	if !ok {
		return rand.Uint64()
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", seedVariable, err)
	}
	return n
}

type suite[P projection.Projection] struct {
	Harness[P]
	world     World
	rand      *rand.Rand
	reference any // the dump after all records
}

// live is what a projection answers that got the records one at a time.
func (s *suite[P]) live(t testing.TB, records []events.Recorded) any {
	t.Helper()
	p := s.New(t)
	for _, r := range records {
		s.takes(t, p, []events.Recorded{r})
	}
	return s.Dump(p, s.world)
}

// apply gives p a copy of batch, which it must take, and then scribbles over the
// copy. A projection that keeps its batches differs by that from the one that
// followed live.
func (s *suite[P]) apply(t testing.TB, p P, batch []events.Recorded) {
	t.Helper()
	lent := slices.Clone(batch)
	s.takes(t, p, lent)
	scribble(lent)
}

// takes gives p a batch, and checks where it stands then.
func (s *suite[P]) takes(t testing.TB, p P, batch []events.Recorded) {
	t.Helper()
	before := p.Position()
	if err := p.Apply(context.Background(), batch); err != nil {
		t.Fatalf("apply %d records after position %d: %v", len(batch), before, err)
	}
	want := before
	if len(batch) > 0 {
		want = max(before, batch[len(batch)-1].Position)
	}
	if got := p.Position(); got != want {
		t.Fatalf("position after %d records: %d, want %d", len(batch), got, want)
	}
}

func scribble(batch []events.Recorded) {
	for i := range batch {
		batch[i] = events.Recorded{Envelope: events.Envelope{Type: "scribbled.over.v1", Data: []byte("{}")}, Stream: "organization/nobody", Position: -1}
	}
}

// refuses gives p a batch that it must not take to the end, checks that it stands
// where it should, and returns the error.
func (s *suite[P]) refuses(t testing.TB, ctx context.Context, p P, batch []events.Recorded, stop events.Position) error {
	t.Helper()
	lent := slices.Clone(batch)
	err := p.Apply(ctx, lent)
	scribble(lent)
	if err == nil {
		t.Fatalf("no error; now at position %d", p.Position())
	}
	if got := p.Position(); got != stop {
		t.Fatalf("stopped at position %d, want %d, with: %v", got, stop, err)
	}
	return err
}

// inBatches gives p the records in batches of random length, empty ones too.
func (s *suite[P]) inBatches(t testing.TB, p P, records []events.Recorded) {
	t.Helper()
	for len(records) > 0 {
		n := s.rand.IntN(min(len(records), 100) + 1)
		s.apply(t, p, records[:n])
		records = records[n:]
	}
}

// same fails unless p answers as want.
func (s *suite[P]) same(t testing.TB, p P, want any) {
	t.Helper()
	s.sameAs(t, s.Dump(p, s.world), want)
}

// sameAs fails unless the dumps are equal.
func (s *suite[P]) sameAs(t testing.TB, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("answers differ from those of a projection that followed live:\n%s", difference(got, want))
	}
}

// difference is where two dumps begin to differ, as indented JSON.
func difference(got, want any) string {
	g, w := lines(got), lines(want)
	for i := 0; i < len(g) && i < len(w); i++ {
		if g[i] != w[i] {
			from := max(0, i-8)
			return "…\n" + strings.Join(g[from:i], "\n") + "\ngot  " + g[i] + "\nwant " + w[i]
		}
	}
	return "in what JSON does not show, or in length: " + strconv.Itoa(len(g)) + " lines, want " + strconv.Itoa(len(w))
}

func lines(dump any) []string {
	text, err := json.MarshalIndent(dump, "", "  ")
	if err != nil {
		return []string{err.Error()}
	}
	return strings.Split(string(text), "\n")
}
