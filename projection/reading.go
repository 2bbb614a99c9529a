package projection

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
)

// reading is a record and what it says, which is decoded once for all read models.
type reading struct {
	*events.Recorded
	kind         kind
	organization string
	err          error // what is wrong with the record

	// Of a decision.
	payload    events.Payload
	token      uuid.UUID // that it is about; zero when it is about the organization itself
	expires    time.Time // of a token that is generated; zero when it never expires
	expiresErr error     // what is wrong with that

	// Of a use.
	uses []events.UseView
	used []uuid.UUID // the token of each
}

type kind uint8

const (
	foreign kind = iota // in a stream of a kind that is not ours
	decision
	use
	misplaced // in a stream of uses, and none
)

const (
	organizationPrefix = events.KindOrganization + "/"
	usagePrefix        = events.KindUsage + "/"
)

// read appends the reading of each record to room.
func read(batch []events.Recorded, room []reading) []reading {
	for i := range batch {
		room = append(room, reading{Recorded: &batch[i]})
		r := &room[len(room)-1]
		switch r.kind, r.organization = kindOf(r.Recorded); r.kind {
		case decision:
			r.err = r.decision()
		case use:
			r.err = r.readUses()
		case misplaced:
			if _, r.err = r.Payload(); r.err == nil {
				r.err = damaged(r.Recorded, "does not belong in this stream")
			}
		}
	}
	return room
}

// unknownType reports whether a newer library wrote the record. Its reader must stop there,
// because the record may revoke something.
func (r *reading) unknownType() bool { return errors.Is(r.err, events.ErrUnknownType) }

// readUses reads the uses and the tokens they are about, all of them or none.
func (r *reading) readUses() (err error) {
	if r.uses, err = r.Uses(nil); err != nil {
		return err
	}
	r.used = make([]uuid.UUID, len(r.uses))
	for i := range r.uses {
		token := r.uses[i].Token
		id, err := uuid.ParseBytes(token)
		if err != nil || !isToken(id, len(token)) {
			return noToken(r.Recorded, string(token))
		}
		r.used[i] = id
	}
	return nil
}

// kindOf returns what a record is, and of which organization.
func kindOf(r *events.Recorded) (k kind, organization string) {
	if n := len(organizationPrefix); len(r.Stream) > n && r.Stream[:n] == organizationPrefix {
		return decision, string(r.Stream[n:])
	}
	if n := len(usagePrefix); len(r.Stream) > n && r.Stream[:n] == usagePrefix {
		if r.Type != events.TypeUsageRecorded {
			return misplaced, ""
		}
		return use, string(r.Stream[n:])
	}
	return foreign, ""
}

// decision reads a decision. It must be one of those an organization's stream has, and one the
// read models were written for: they all ignore some, and must ignore none that a later
// version of package events adds.
func (r *reading) decision() (err error) {
	if r.payload, err = r.Payload(); err != nil {
		return err
	}
	switch p := r.payload.(type) {
	case *events.OrganizationRegistered, *events.OrganizationPlanChanged, *events.OrganizationOwnerAdded, *events.OrganizationOwnerRemoved:
	case *events.TokenGenerated:
		r.expires, r.expiresErr = expiryOf(r.Recorded, p)
		r.token, err = parseToken(r.Recorded, p.Token)
	case *events.TokenEdited:
		r.token, err = parseToken(r.Recorded, p.Token)
	case *events.TokenDeactivated:
		r.token, err = parseToken(r.Recorded, p.Token)
	case *events.TokenDeleted:
		r.token, err = parseToken(r.Recorded, p.Token)
	case *events.UsageRecorded:
		err = damaged(r.Recorded, "does not belong in this stream")
	default:
		err = &events.UnknownTypeError{Type: r.Type, Stream: r.Stream, Position: r.Position}
	}
	return err
}

// damaged says what about r cannot be true.
func damaged(r *events.Recorded, format string, args ...any) error {
	return fmt.Errorf("%w: position %d in %s: %s: %s", events.ErrDamaged, r.Position, r.Stream, r.Type, fmt.Sprintf(format, args...))
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
