package projection

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
)

// feed is what the read models share: the lock, the position, and the way through
// a batch. The lock is taken once for a batch, because taking it for each record
// would cost more than applying most records does.
type feed struct {
	mu       sync.RWMutex
	position events.Position
}

// contextStride is after how many records of a batch the context is looked at
// again.
const contextStride = 1024

// Position is the position of the last record the projection has dealt with.
func (f *feed) Position() events.Position {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.position
}

// folder applies one record, or returns an error and has changed nothing.
type folder interface {
	// decided gets the records of organization streams.
	decided(organization string, r *events.Recorded, p events.Payload) error
	// used gets the records of usage streams.
	used(organization string, r *events.Recorded) error
}

func (f *feed) apply(ctx context.Context, batch []events.Recorded, to folder) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range batch {
		if i%contextStride == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		r := &batch[i]
		if r.Position <= f.position {
			continue
		}
		if err := dispatch(r, to); err != nil {
			return err
		}
		f.position = r.Position
	}
	return nil
}

const (
	organizationPrefix = events.KindOrganization + "/"
	usagePrefix        = events.KindUsage + "/"
)

func dispatch(r *events.Recorded, to folder) error {
	if organization, ok := strings.CutPrefix(string(r.Stream), organizationPrefix); ok {
		p, err := r.Payload()
		if err != nil {
			return err
		}
		if err := belongs(r, p); err != nil {
			return err
		}
		return to.decided(organization, r, p)
	}
	if organization, ok := strings.CutPrefix(string(r.Stream), usagePrefix); ok {
		if r.Type == events.TypeUsageRecorded {
			return to.used(organization, r)
		}
		if _, err := r.Payload(); err != nil {
			return err
		}
		return damaged(r, "does not belong in this stream")
	}
	return nil
}

// belongs checks that p is one of the payloads an organization's stream has, and one
// the read models were written for: they all ignore some, and must ignore none
// that a later version of package events adds.
func belongs(r *events.Recorded, p events.Payload) error {
	switch p.(type) {
	case *events.OrganizationRegistered, *events.OrganizationPlanChanged, *events.OrganizationOwnerAdded, *events.OrganizationOwnerRemoved,
		*events.TokenGenerated, *events.TokenEdited, *events.TokenDeactivated, *events.TokenDeleted:
		return nil
	case *events.UsageRecorded:
		return damaged(r, "does not belong in this stream")
	}
	return &events.UnknownTypeError{Type: r.Type, Stream: r.Stream, Position: r.Position}
}

// unused is the part of a folder that use does not concern. The type of the event
// is known by then; its data is not decoded.
type unused struct{}

func (unused) used(string, *events.Recorded) error { return nil }

// damaged says what about r cannot be true.
func damaged(r *events.Recorded, format string, args ...any) error {
	return fmt.Errorf("%w: position %d in %s: %s: %s", events.ErrDamaged, r.Position, r.Stream, r.Type, fmt.Sprintf(format, args...))
}

// model is a read model that keeps an S of every organization.
type model[S state] interface {
	// begin is what is kept of an organization before its first record.
	begin(name string) S
	// fold takes a record into what is kept, or returns an error and has changed
	// nothing.
	fold(kept S, r *events.Recorded, p events.Payload) error
}

// state is anything with a stream embedded.
type state interface{ head() *stream }

// stream is what every read model knows of an organization.
type stream struct {
	version events.Version // of the last record
	number  uint32         // counts the organizations from 1
}

func (s *stream) head() *stream { return s }

// advance folds r into what m keeps of its organization. The record must be the
// next one of its stream: a log yields no stream with holes, so behind a hole
// nothing that is known of the organization can be trusted.
func advance[S state](m model[S], organizations map[string]S, name string, r *events.Recorded, p events.Payload) error {
	kept, known := organizations[name]
	if !known {
		kept = m.begin(name)
		kept.head().number = uint32(len(organizations) + 1)
	}
	head := kept.head()
	if r.Version != head.version+1 {
		return damaged(r, "version %d follows version %d", r.Version, head.version)
	}
	if err := m.fold(kept, r, p); err != nil {
		return err
	}
	head.version = r.Version
	if !known {
		organizations[name] = kept
	}
	return nil
}

// find looks up the token that r is about.
func find[V any](tokens *table[V], s *stream, r *events.Recorded, token string) (tokenKey, *V, error) {
	key, err := keyOf(s, r, token)
	if err != nil {
		return key, nil, err
	}
	kept := tokens.get(key)
	if kept == nil {
		return key, nil, damaged(r, "there is no token %s", key.id)
	}
	return key, kept, nil
}

// vacant is the key of a token that r generates.
func vacant[V any](tokens *table[V], s *stream, r *events.Recorded, token string) (tokenKey, error) {
	key, err := keyOf(s, r, token)
	if err == nil && tokens.get(key) != nil {
		err = damaged(r, "token %s exists already", key.id)
	}
	return key, err
}

func keyOf(s *stream, r *events.Recorded, token string) (tokenKey, error) {
	id, err := parseToken(r, token)
	return tokenKey{s.number, id}, err
}

// uses are the uses in one record after the other, in memory that is used again.
type uses struct {
	views  []events.UseView
	tokens []uuid.UUID // the id of each
}

// in is the uses in r. All ids are read before the first use is looked at, so that a
// record with a bad one leaves nothing behind.
func (u *uses) in(r *events.Recorded) (views []events.UseView, err error) {
	u.tokens = u.tokens[:0]
	if u.views, err = r.Uses(u.views[:0]); err != nil {
		return nil, err
	}
	for i := range u.views {
		token := u.views[i].Token
		id, err := uuid.ParseBytes(token)
		if err != nil || !isToken(id, len(token)) {
			return nil, noToken(r, string(token))
		}
		u.tokens = append(u.tokens, id)
	}
	return u.views, nil
}

func parseToken(r *events.Recorded, token string) (uuid.UUID, error) {
	id, err := uuid.Parse(token)
	if err != nil || !isToken(id, len(token)) {
		return uuid.UUID{}, noToken(r, token)
	}
	return id, nil
}

// isToken tells whether a UUID of that many characters is the id of a token. Package uuid
// alone takes other forms than the one with 36, under which the same token would have
// several names; and the nil UUID stands for no token at all.
func isToken(id uuid.UUID, length int) bool { return length == 36 && id != uuid.Nil }

func noToken(r *events.Recorded, token string) error {
	return damaged(r, "token %q: not a UUID", token)
}
