package projection

import (
	"context"
	"sync"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
)

// feed is what the read models share: the lock, the position, what is kept of every
// organization (S) and of every token (V), and the way through a batch. The lock is
// taken once for a batch, because taking it for each record would cost more than
// applying most records does.
//
// A rebuild is mostly look-ups at random places in memory, and one takes as long as some
// hundred instructions when the next step waits for it. So records are looked at in
// windows before they are folded: the look-ups of a window do not depend on each other, and
// the processor carries out many at the same time. When the records are folded, in
// order and one by one, what they need is at hand. A rebuild that looks at each record
// just before it folds it takes half as long again.
type feed[S state, V any] struct {
	mu            sync.RWMutex
	position      events.Position
	model         model[S]
	user          user[V] // nil when the model is none
	organizations map[string]S
	tokens        table[V]
	window        window[S]
}

// model is a read model that keeps an S of every organization.
type model[S state] interface {
	// begin is what is kept of an organization before its first record.
	begin(name string) S
	// fold takes a decision into what is kept, or returns an error and has changed
	// nothing.
	fold(kept S, d *sight[S]) error
}

// user is a model that wants to know how tokens were used.
type user[V any] interface {
	// use adds a use to what is kept of the token.
	use(kept *V, use *events.UseView)
}

// state is anything with a stream embedded.
type state interface{ head() *stream }

// stream is what every read model knows of an organization.
type stream struct {
	version events.Version // of the last record
	number  uint32         // counts the organizations from 1
}

func (s *stream) head() *stream { return s }

// window is some records that were looked at, in memory that is used again.
type window[S state] struct {
	sights []sight[S]
	uses   []events.UseView // all of them
	keys   []tokenKey       // of every token they are about
	slots  []uint32         // where these seem to be
}

// maxWindow is how many records are looked at together: many enough to wait for memory
// together, and few enough not to push each other out of the processor's cache.
const maxWindow = 64

// sight is a record that was looked at.
type sight[S state] struct {
	*reading
	before events.Position // that of the record before it
	kept   S               // of the organization, if it is known
	known  bool
	number uint32 // of the organization, if it is known
	err    error  // what is wrong with the record itself
	uses   []events.UseView
	first  int // of its keys in the window: one, or one for each use
}

// serve makes it the feed of m, at position 0.
func (f *feed[S, V]) serve(m model[S]) {
	f.model, f.organizations, f.tokens = m, make(map[string]S), newTable[V]()
	f.user, _ = m.(user[V])
}

// Position is the position of the last record the projection has dealt with.
func (f *feed[S, V]) Position() events.Position {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.position
}

// Apply implements [Projection].
func (f *feed[S, V]) Apply(ctx context.Context, batch []events.Recorded) error {
	return f.take(ctx, read(batch, nil))
}

// serves tells whether it is the feed of p itself, and not of something within p.
func (f *feed[S, V]) serves(p Projection) bool { return any(f.model) == any(p) }

// take is Apply of records that were read.
func (f *feed[S, V]) take(ctx context.Context, batch []reading) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.window.forget() // the records are the caller's again
	for len(batch) > 0 && batch[0].Position <= f.position {
		batch = batch[1:]
	}
	for len(batch) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := f.look(batch)
		for i := range f.window.sights {
			s := &f.window.sights[i]
			if err := f.apply(s); err != nil {
				f.position = s.before
				return err
			}
		}
		f.position = batch[n-1].Position
		batch = batch[n:]
	}
	return nil
}

// look fills the window with the next records that concern the model, and returns how many
// records of the batch that takes. Nothing is decided here: what is found may be another
// thing once the records before it are folded.
func (f *feed[S, V]) look(batch []reading) (n int) {
	w := &f.window
	w.sights, w.uses, w.keys = w.sights[:0], w.uses[:0], w.keys[:0]
	before := f.position
	for ; n < len(batch) && len(w.sights) < maxWindow; n++ {
		r := &batch[n]
		if r.kind == decision || r.kind == misplaced || r.kind == use && f.user != nil {
			s := sight[S]{reading: r, before: before, err: r.err}
			s.kept, s.known = f.organizations[r.organization]
			w.sights = append(w.sights, s)
		}
		before = r.Position
	}
	for i := range w.sights {
		if s := &w.sights[i]; s.known {
			s.number = s.kept.head().number
		}
	}
	for i := range w.sights {
		w.read(&w.sights[i])
	}
	w.slots = f.tokens.glimpse(w.keys, w.slots[:0])
	return n
}

// read notes which tokens a record is about. All uses of a record are read before the first
// one is folded, so that a record with a bad one leaves nothing behind.
func (w *window[S]) read(s *sight[S]) {
	s.first = len(w.keys)
	if s.kind != use {
		w.keys = append(w.keys, tokenKey{s.number, s.token})
		return
	}
	first := len(w.uses)
	if w.uses, s.err = s.Uses(w.uses); s.err != nil {
		return
	}
	s.uses = w.uses[first:]
	for i := range s.uses {
		token := s.uses[i].Token
		id, err := uuid.ParseBytes(token)
		if err != nil || !isToken(id, len(token)) {
			s.err = noToken(s.Recorded, string(token))
			return
		}
		w.keys = append(w.keys, tokenKey{s.number, id})
	}
}

func (w *window[S]) forget() {
	clear(w.sights[:cap(w.sights)])
	clear(w.uses[:cap(w.uses)])
}

// apply takes in one record, or returns an error and has changed nothing.
func (f *feed[S, V]) apply(s *sight[S]) error {
	if s.err != nil {
		return s.err
	}
	if !s.known { // when it was looked at; its organization may have begun since
		s.kept, s.known = f.organizations[s.organization]
	}
	switch {
	case s.kind == decision:
		return f.decide(s)
	case s.known:
		for i := range s.uses {
			key := tokenKey{s.kept.head().number, f.window.keys[s.first+i].id}
			if kept := f.tokens.seen(key, f.window.slots[s.first+i]); kept != nil {
				f.user.use(kept, &s.uses[i])
			}
		}
	}
	return nil
}

// decide folds a decision into what is kept of its organization. The record must be the
// next one of its stream: a log yields no stream with holes, so behind a hole
// nothing that is known of the organization can be trusted.
func (f *feed[S, V]) decide(s *sight[S]) error {
	if !s.known {
		s.kept = f.model.begin(s.organization)
		s.kept.head().number = uint32(len(f.organizations) + 1)
	}
	head := s.kept.head()
	if s.Version != head.version+1 {
		return damaged(s.Recorded, "version %d follows version %d", s.Version, head.version)
	}
	if err := f.model.fold(s.kept, s); err != nil {
		return err
	}
	head.version = s.Version
	if !s.known {
		f.organizations[s.organization] = s.kept
	}
	return nil
}

// find is what is kept of the token that s is about.
func (f *feed[S, V]) find(s *sight[S]) (*V, error) {
	kept := f.tokens.seen(s.key(), f.window.slots[s.first])
	if kept == nil {
		return nil, damaged(s.Recorded, "there is no token %s", s.token)
	}
	return kept, nil
}

// add makes room for the token that s generates.
func (f *feed[S, V]) add(s *sight[S]) (*V, error) {
	kept := f.tokens.add(s.key())
	if kept == nil {
		return nil, damaged(s.Recorded, "token %s exists already", s.token)
	}
	return kept, nil
}

func (f *feed[S, V]) remove(s *sight[S]) { f.tokens.remove(s.key()) }

// of is what is kept of a token of an organization, nil when there is nothing. The caller
// has the lock.
func (f *feed[S, V]) of(organization string, id uuid.UUID) *V {
	if kept, known := f.organizations[organization]; known {
		return f.tokens.get(tokenKey{kept.head().number, id})
	}
	return nil
}

func (s *sight[S]) key() tokenKey { return tokenKey{s.kept.head().number, s.token} }
