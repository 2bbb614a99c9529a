package sqlview

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
)

// fold is a batch on its way into the tables: the rows it changes are read, changed in
// memory, and written, a whole table at a time.
//
// Uses are different. There are more of them than of anything else, so they are summed up
// here, and the database adds the sums to its rows, without our reading those first.
type fold struct {
	set           *set
	organizations map[string]*organization // that the batch decides about, where they exist
	tokens        map[key]*token           // that it decides about, all of them
	uses          map[key]*usage           // to be added
}

// key is a token of an organization. With the organization in the key, one organization
// cannot reach a token of another by its id.
type key struct {
	id           uuid.UUID
	organization string
}

func newFold(s *set) *fold {
	return &fold{set: s, organizations: make(map[string]*organization), tokens: make(map[key]*token), uses: make(map[key]*usage)}
}

// records folds the batch record by record, up to the first that cannot be applied.
func (f *fold) records(position events.Position, batch []events.Recorded) (events.Position, error) {
	for i := range batch {
		if err := f.record(&batch[i]); err != nil {
			return position, err
		}
		position = batch[i].Position
	}
	return position, nil
}

// record applies one record, or returns an error and has changed nothing.
func (f *fold) record(r *events.Recorded) error {
	switch r.Stream.Kind() {
	case events.KindOrganization:
		p, err := r.Payload()
		if err != nil {
			return err
		}
		return f.decided(r, p)
	case events.KindUsage:
		p, err := r.Payload()
		if err != nil {
			return err
		}
		if used, ok := p.(*events.UsageRecorded); ok {
			return f.used(r, used)
		}
		return damaged(r, "does not belong in this stream")
	}
	return nil
}

// decided applies a record of an organization. It must be the next one of its stream: a log
// yields no stream with holes, so behind a hole nothing in the tables can be trusted.
func (f *fold) decided(r *events.Recorded, p events.Payload) error {
	name := r.Stream.Name()
	o, known := f.organizations[name]
	if !known {
		o = &organization{name: name, owners: []string{}, registered: zeroTime(), modified: zeroTime()}
	}
	if r.Version != o.version+1 {
		return damaged(r, "version %d follows version %d", r.Version, o.version)
	}
	if err := f.decide(o, r, p); err != nil {
		return err
	}
	o.version = r.Version
	o.changed = true
	f.organizations[name] = o
	return nil
}

func (f *fold) decide(o *organization, r *events.Recorded, p events.Payload) error {
	switch p := p.(type) {
	case *events.TokenGenerated:
		return f.generate(o, r, p)
	case *events.TokenEdited:
		return f.change(o, r, p.Token, func(t *token) { t.edit(p) })
	case *events.TokenDeactivated:
		return f.change(o, r, p.Token, func(t *token) { o.deactivate(t) })
	case *events.TokenDeleted:
		return f.change(o, r, p.Token, func(t *token) { f.delete(o, t) })
	case *events.OrganizationRegistered:
		o.plan, o.owners, o.registered = p.Plan, slices.Clone(p.Owners), r.Time.UnixMicro()
	case *events.OrganizationPlanChanged:
		o.plan = p.Plan
	case *events.OrganizationOwnerAdded:
		o.owners = append(o.owners, p.Owner)
	case *events.OrganizationOwnerRemoved:
		o.owners = slices.DeleteFunc(o.owners, func(owner string) bool { return owner == p.Owner })
	case *events.UsageRecorded:
		return damaged(r, "does not belong in this stream")
	default:
		// A later version of package events knows it, and this one must not pass over it.
		return &events.UnknownTypeError{Type: r.Type, Stream: r.Stream, Position: r.Position}
	}
	o.modified, o.modifiedBy, o.modifiedVersion = r.Time.UnixMicro(), r.Actor, r.Version
	return nil
}

func (f *fold) generate(o *organization, r *events.Recorded, p *events.TokenGenerated) error {
	id, err := parseToken(r, p.Token)
	if err != nil {
		return err
	}
	k := key{id, o.name}
	t := f.tokens[k]
	if t.exists() {
		return damaged(r, "token %s exists already", id)
	}
	expires, err := parseExpiry(p.ExpiresAt)
	if err != nil {
		return damaged(r, "expires_at %q: %v", p.ExpiresAt, err)
	}
	if t == nil {
		t = new(token)
	}
	*t = token{key: k, stored: t.stored, live: true, fresh: true}
	t.generate(r, p, expires)
	f.tokens[k] = t
	o.tokens++
	return nil
}

// change applies a change to a token that must be there.
func (f *fold) change(o *organization, r *events.Recorded, id string, apply func(*token)) error {
	parsed, err := parseToken(r, id)
	if err != nil {
		return err
	}
	t := f.tokens[key{parsed, o.name}]
	if !t.exists() {
		return damaged(r, "there is no token %s", parsed)
	}
	apply(t)
	t.changed, t.modified, t.modifiedBy, t.version = true, r.Time.UnixMicro(), r.Actor, r.Version
	return nil
}

func (f *fold) delete(o *organization, t *token) {
	if t.inactive {
		o.inactive--
	}
	o.tokens--
	t.live = false
	delete(f.uses, t.key)
}

// used sums up uses. Those of tokens the batch decides about count while the token is there;
// for the others the database knows whether it is.
func (f *fold) used(r *events.Recorded, p *events.UsageRecorded) error {
	// All ids are read before the first use is merged, so that a record with a bad one
	// leaves nothing behind.
	ids := make([]uuid.UUID, len(p.Uses))
	for i := range p.Uses {
		id, err := parseToken(r, p.Uses[i].Token)
		if err != nil {
			return err
		}
		ids[i] = id
	}
	for i, id := range ids {
		k := key{id, r.Stream.Name()}
		if t, decided := f.tokens[k]; decided && !t.exists() {
			continue
		}
		u := f.uses[k]
		if u == nil {
			u = new(usage)
			f.uses[k] = u
		}
		u.accepted.merge(p.Uses[i].Accepted)
		u.refused.merge(p.Uses[i].Refused)
	}
	return nil
}

// parseToken reads a token id. uuid.Parse alone takes other forms than the one with 36
// characters, under which the same token would have several names; and the nil UUID stands for
// no token at all.
func parseToken(r *events.Recorded, token string) (uuid.UUID, error) {
	if len(token) == 36 {
		if id, err := uuid.Parse(token); err == nil && id != uuid.Nil {
			return id, nil
		}
	}
	return uuid.UUID{}, damaged(r, "token %q: not a UUID", token)
}

// parseExpiry reads an expiry: RFC 3339 with any offset and up to nanoseconds. An absent one
// is the zero time.
func parseExpiry(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	return t.UTC(), err
}

func zeroTime() int64 { return time.Time{}.UnixMicro() }

// damaged says what about r cannot be true, or what of the tables.
func damaged(r *events.Recorded, format string, args ...any) error {
	return fmt.Errorf("%w: position %d in %s: %s: %s", events.ErrDamaged, r.Position, r.Stream, r.Type, fmt.Sprintf(format, args...))
}
