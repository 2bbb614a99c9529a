package projection

import (
	"context"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
)

// model holds what the read models share: the lock, the position, and the state S of each
// organization. A read model embeds it and implements folder. The lock is taken once for
// each batch.
type model[S any] struct {
	folder folder[S]
	user   user[S] // nil when the folder does not implement it

	mu            sync.RWMutex
	last          events.Mark // of the last record that was applied
	organizations map[string]*folded[S]
	closed        map[string]error // why, by the name of an organization
}

// folded is the state of one organization and the head of its stream up to there.
type folded[S any] struct {
	state S
	head  events.Head
}

// folder folds the decisions of one organization.
type folder[S any] interface {
	// begin returns the state of an organization before its first record.
	begin(name string) S
	// fold folds a decision into the state, or returns an error and has changed nothing.
	fold(state S, d *reading) error
}

// user is a folder that also folds how tokens were used.
type user[S any] interface {
	// use folds the use of a token. A token that does not exist is ignored.
	use(state S, token uuid.UUID, use *events.UseView)
}

// init makes m the model of f, at position 0.
func (m *model[S]) init(f folder[S]) {
	m.folder = f
	m.user, _ = f.(user[S])
	m.clear()
}

func (m *model[S]) clear() {
	m.last = events.Mark{}
	m.organizations, m.closed = make(map[string]*folded[S]), make(map[string]error)
}

// Position returns the position of the last record that was applied.
func (m *model[S]) Position() events.Position {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.last.Position
}

// Last implements [Rebuilder].
func (m *model[S]) Last() []events.Mark {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.last.Position == 0 {
		return nil
	}
	return []events.Mark{m.last}
}

// Suspects implements [Rebuilder].
func (m *model[S]) Suspects() []events.StreamID {
	m.mu.RLock()
	defer m.mu.RUnlock()
	suspects := make([]events.StreamID, 0, len(m.closed))
	for name := range m.closed {
		suspects = append(suspects, events.OrganizationStream(name))
	}
	slices.Sort(suspects)
	return suspects
}

// Closed returns why an organization is closed, nil while it is open. What the read model
// shows of a closed organization are the records before the one that the error names.
func (m *model[S]) Closed(organization string) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.closed[organization]
}

// Reset implements [Rebuilder].
func (m *model[S]) Reset(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clear()
	return nil
}

// Apply implements [Projection].
func (m *model[S]) Apply(ctx context.Context, batch []events.Recorded) error {
	return m.take(ctx, read(batch, nil))
}

// serves reports whether m is the model of p itself, and not of a part of p.
func (m *model[S]) serves(p Projection) bool { return any(m.folder) == any(p) }

// take applies records that were read.
func (m *model[S]) take(ctx context.Context, batch []reading) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range batch {
		r := &batch[i]
		if r.Position <= m.last.Position {
			continue
		}
		err := ctx.Err()
		if err == nil {
			err = m.apply(r)
		}
		if err != nil {
			if i > 0 {
				m.reached(&batch[i-1])
			}
			return err
		}
	}
	if len(batch) > 0 {
		m.reached(&batch[len(batch)-1])
	}
	return nil
}

// reached notes that every record up to r was applied.
func (m *model[S]) reached(r *reading) {
	if r.Position > m.last.Position {
		m.last = r.Mark()
	}
}

// apply applies one record. The error is [events.ErrUnknownType]; everything else that a
// record can have wrong concerns its own organization.
func (m *model[S]) apply(r *reading) error {
	switch {
	case r.unknownType():
		return r.err
	case r.kind == decision:
		m.decide(r)
	case r.kind == use:
		if o := m.organizations[r.organization]; o != nil {
			m.use(o.state, r)
		}
	}
	return nil
}

// use folds a record of use. One that cannot be read is ignored: it grants nothing.
func (m *model[S]) use(state S, r *reading) {
	if m.user == nil || r.err != nil {
		return
	}
	for i := range r.uses {
		m.user.use(state, r.used[i], &r.uses[i])
	}
}

// decide folds a decision into its organization, and closes the organization when that
// cannot be done.
func (m *model[S]) decide(r *reading) {
	if m.closed[r.organization] != nil {
		return
	}
	o := m.organizations[r.organization]
	if o == nil {
		o = &folded[S]{state: m.folder.begin(r.organization)}
	}
	if err := m.fold(o, r); err != nil {
		m.closed[strings.Clone(r.organization)] = err
		return
	}
	if o.head.Version == 1 {
		m.organizations[r.organization] = o
	}
}

// fold folds the next record of an organization's stream, or returns an error and has
// changed nothing.
func (m *model[S]) fold(o *folded[S], r *reading) error {
	head := o.head
	if err := head.Advance(r.Recorded); err != nil {
		return err
	}
	if r.err != nil {
		return r.err
	}
	if err := m.folder.fold(o.state, r); err != nil {
		return err
	}
	o.head = head
	return nil
}

// Refold implements [Rebuilder].
func (m *model[S]) Refold(ctx context.Context, stream events.StreamID, records iter.Seq2[events.Recorded, error]) error {
	name, position := stream.Name(), m.Position()
	fresh := &folded[S]{state: m.folder.begin(name)}
	var broken error
	for r, err := range records {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		one := read([]events.Recorded{r}, nil)
		switch {
		case r.Position > position || broken != nil && one[0].kind == decision:
		case one[0].unknownType():
			return one[0].err
		case one[0].kind == decision:
			broken = m.fold(fresh, &one[0])
		case one[0].kind == use:
			m.use(fresh.state, &one[0])
		}
	}
	m.replace(name, fresh, broken)
	return broken
}

// replace puts the fresh state of an organization in the place of the one it has, and
// closes the organization with the error or opens it.
func (m *model[S]) replace(name string, fresh *folded[S], broken error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if fresh.head.Version > 0 {
		m.organizations[name] = fresh
	} else {
		delete(m.organizations, name)
	}
	if broken != nil {
		m.closed[name] = broken
	} else {
		delete(m.closed, name)
	}
}

// state returns the state of an organization, the zero S when it is not known. The caller
// holds the lock.
func (m *model[S]) state(organization string) (state S, found bool) {
	o := m.organizations[organization]
	if o == nil {
		return state, false
	}
	return o.state, true
}

// noSuchToken returns the error for a decision about a token that does not exist.
func noSuchToken(d *reading) error { return damaged(d.Recorded, "there is no token %s", d.token) }

// secondToken returns the error for a token that is generated a second time.
func secondToken(d *reading) error { return damaged(d.Recorded, "token %s exists already", d.token) }
