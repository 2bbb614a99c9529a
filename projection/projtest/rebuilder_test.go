package projtest

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/oatmill/oatmill/events"
)

// book is the smallest [projection.Rebuilder]: of each organization it counts the decisions
// and the records of use, and notes the last actor. A fault can be planted in it.
type book struct {
	fault string

	mu       sync.Mutex
	position events.Position
	hash     events.Hash
	accounts map[string]account
	closed   map[string]bool
}

// account is what a book holds of one organization.
type account struct {
	head      events.Head
	Decisions int
	Uses      int
	Actor     string
}

func newBook(fault string) *book {
	return &book{fault: fault, accounts: make(map[string]account), closed: make(map[string]bool)}
}

func (b *book) has(fault string) bool { return b.fault == fault }

func (b *book) Position() events.Position {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.position
}

func (b *book) Last() []events.Mark {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.position == 0 && b.hash == (events.Hash{}):
		return nil
	case b.has("Last has no hash"):
		return []events.Mark{{Position: b.position}}
	}
	return []events.Mark{{Position: b.position, Hash: b.hash}}
}

func (b *book) Suspects() (streams []events.StreamID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.has("closed organizations are not named") {
		return nil
	}
	for name := range b.closed {
		streams = append(streams, events.OrganizationStream(name))
	}
	slices.Sort(streams)
	return streams
}

func (b *book) Apply(ctx context.Context, batch []events.Recorded) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	for i := range batch {
		r := &batch[i]
		if r.Position <= b.position {
			continue
		}
		if err := b.record(r); err != nil {
			return err
		}
		b.position, b.hash = r.Position, r.Hash()
		if b.has("Last is the last decision") && r.Stream.Kind() != events.KindOrganization {
			b.hash = events.Hash{}
		}
	}
	return nil
}

func (b *book) record(r *events.Recorded) error {
	if !isOurs(r.Stream) {
		return nil
	}
	_, err := r.Payload()
	name := r.Stream.Name()
	a := b.accounts[name]
	switch {
	case errors.Is(err, events.ErrUnknownType):
		return err
	case r.Stream.Kind() == events.KindUsage:
		a.Uses++
		b.accounts[name] = a
		return nil
	case b.closed[name] && !b.has("a closed organization is folded on"):
		return nil
	case err == nil || b.has("a payload that is none is folded"):
		err = b.decide(&a, r)
	}
	switch {
	case err == nil:
		b.accounts[name] = a
	case b.has("Apply stops"):
		return err
	case b.has("every organization is closed"):
		for name := range b.accounts {
			b.closed[name] = true
		}
	default:
		b.closed[name] = true
	}
	return nil
}

func (b *book) decide(a *account, r *events.Recorded) error {
	switch {
	case b.has("a known version is skipped") && r.Version <= a.head.Version:
		return nil
	case b.has("versions alone are compared") && r.Version == a.head.Version+1, b.has("nothing is compared"):
		a.head = events.Head{Version: r.Version, Hash: r.Hash()}
	case b.has("stored hashes are ignored"):
		changed := *r
		changed.SetStored(events.Hash{})
		if err := a.head.Advance(&changed); err != nil {
			return err
		}
	default:
		if err := a.head.Advance(r); err != nil {
			return err
		}
	}
	a.Decisions++
	a.Actor = r.Actor
	return nil
}

func (b *book) Refold(ctx context.Context, stream events.StreamID, records iter.Seq2[events.Recorded, error]) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	fresh, name := newBook(b.fault), stream.Name()
	if b.has("Refold adds to what is there") {
		fresh.accounts[name] = account{Uses: b.accounts[name].Uses}
	}
	for r, err := range records {
		if err == nil && !b.has("Refold ignores the context") {
			err = ctx.Err()
		}
		if b.has("Refold takes the end of a read for the end of the stream") && err != nil {
			break
		}
		if err != nil {
			return err
		}
		if r.Position > b.position && !b.has("Refold applies what comes after Position") {
			continue
		}
		if r.Stream.Kind() == events.KindUsage && b.has("Refold forgets the uses") {
			continue
		}
		if err := fresh.record(&r); err != nil {
			return err
		}
	}
	b.accounts[name] = fresh.accounts[name]
	if _, found := fresh.accounts[name]; !found && !b.has("Refold keeps an organization that is gone") {
		delete(b.accounts, name)
	}
	if b.has("Refold moves the position") {
		b.position--
	}
	if b.has("Refold leaves the organization closed") {
		return nil
	}
	if fresh.closed[name] && !b.has("Refold opens whatever it finds") {
		if b.has("Refold does not say that it failed") {
			return nil
		}
		return errors.New("still wrong")
	}
	delete(b.closed, name)
	return nil
}

func (b *book) Reset(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	fresh := newBook(b.fault)
	if !b.has("Reset leaves the position") {
		b.position = 0
	}
	if !b.has("Reset leaves the last hash") {
		b.hash = events.Hash{}
	}
	if !b.has("Reset leaves what was folded") {
		b.accounts = fresh.accounts
	}
	if !b.has("Reset leaves organizations closed") {
		b.closed = fresh.closed
	}
	return nil
}

func (b *book) dump(w World) any {
	b.mu.Lock()
	defer b.mu.Unlock()
	accounts := maps.Clone(b.accounts)
	maps.DeleteFunc(accounts, func(name string, _ account) bool { return !slices.Contains(w.Organizations, name) })
	for name, a := range accounts {
		a.head = events.Head{}
		accounts[name] = a
	}
	return accounts
}

// Every fault of a Rebuilder is found by the case that is there for it, and a Rebuilder
// without one passes all cases. Fails if the suite leaves out what the fault concerns.
func TestSuiteCatchesFaultsOfRebuilders(t *testing.T) {
	for fault, by := range map[string]string{
		"":                                   "",
		"Last has no hash":                   "last",
		"Last is the last decision":          "last",
		"closed organizations are not named": "closes",
		"a closed organization is folded on": "closes",
		"a payload that is none is folded":   "closes",
		"Apply stops":                        "closes",
		"every organization is closed":       "closes",
		"a known version is skipped":         "closes",
		"versions alone are compared":        "closes",
		"nothing is compared":                "closes",
		"stored hashes are ignored":          "closes",
		"Refold adds to what is there":       "refold opens",
		"Refold ignores the context":         "refold fails",
		"Refold takes the end of a read for the end of the stream": "refold fails",
		"Refold applies what comes after Position":                 "refold opens",
		"Refold forgets the uses":                                  "refold opens",
		"Refold keeps an organization that is gone":                "refold of nothing",
		"Refold moves the position":                                "refold opens",
		"Refold leaves the organization closed":                    "refold opens",
		"Refold opens whatever it finds":                           "refold fails",
		"Refold does not say that it failed":                       "refold fails",
		"Reset leaves the position":                                "reset",
		"Reset leaves the last hash":                               "reset",
		"Reset leaves what was folded":                             "reset",
		"Reset leaves organizations closed":                        "reset",
	} {
		t.Run(fault, func(t *testing.T) {
			h := Harness[*book]{New: func(testing.TB) *book { return newBook(fault) }, Dump: (*book).dump}
			s := newSuite(t, h, Seed(t))
			var failed []string
			for _, c := range append(s.cases(), s.rebuilderCases()...) {
				if c.name != "readers" && fails(t, c.test) {
					failed = append(failed, c.name)
				}
			}
			if by == "" && len(failed) > 0 || by != "" && !slices.Contains(failed, by) {
				t.Errorf("found by %q, want %q; seed %d", failed, by, s.world.Seed)
			}
		})
	}
}
