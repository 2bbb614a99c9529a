package sqlview

import (
	"errors"
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

// records folds the batch record by record, up to the first of an unknown type. It returns
// how many records it folded.
func (f *fold) records(batch []events.Recorded) (int, error) {
	for i := range batch {
		if err := f.record(&batch[i]); err != nil {
			return i, err
		}
	}
	return len(batch), nil
}

// record folds one record. The error is [events.ErrUnknownType], and nothing is changed
// then; everything else that a record can have wrong concerns its own organization.
func (f *fold) record(r *events.Recorded) error {
	kind := r.Stream.Kind()
	if kind != events.KindOrganization && kind != events.KindUsage {
		return nil
	}
	p, err := r.Payload()
	if errors.Is(err, events.ErrUnknownType) {
		return err
	}
	if kind == events.KindOrganization {
		return f.decided(r, p, err)
	}
	if p, ok := p.(*events.UsageRecorded); ok && err == nil {
		f.used(r, p)
	}
	return nil
}

// decided folds the next record of an organization's stream, whose payload is p unless it
// could not be decoded. A record that does not continue the stream, or cannot be true,
// closes the organization.
func (f *fold) decided(r *events.Recorded, p events.Payload, undecoded error) error {
	name := r.Stream.Name()
	o, known := f.organizations[name]
	if !known {
		o = &organization{name: name, owners: []string{}, registered: zeroTime(), modified: zeroTime()}
		f.organizations[name] = o
	}
	if o.closed != "" {
		return nil
	}
	head := o.head
	err := head.Advance(r)
	if err == nil {
		err = undecoded
	}
	if err == nil {
		err = f.decide(o, r, p)
	}
	switch {
	case errors.Is(err, events.ErrUnknownType):
		return err
	case err != nil:
		o.close(err)
	default:
		o.head, o.changed = head, true
	}
	return nil
}

// decide folds a decision into its organization, or returns an error and has changed nothing.
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
// for the others the database knows whether it is. A record with an id that is none is
// ignored as a whole: it grants nothing.
func (f *fold) used(r *events.Recorded, p *events.UsageRecorded) {
	ids := make([]uuid.UUID, len(p.Uses))
	for i := range p.Uses {
		id, err := parseToken(r, p.Uses[i].Token)
		if err != nil {
			return
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
