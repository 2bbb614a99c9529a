package projection

import (
	"context"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
)

// History is everything that was decided about an organization and its tokens,
// those that were deleted included: who did what, when and why, what it changed
// from what to what, and how things stood at any instant.
//
// # As of an instant
//
// Records are ordered by their version, and their times come from clocks that may
// jump back. A record therefore counts as having happened no earlier than every
// record before it in its stream: its moment is the latest time among itself and
// them. As of an instant means after all records whose moment is not after the
// instant, and these are always the first so many of the stream. When the clock jumped
// from 12:00 back to 11:00 and a token was deleted at what it called 11:05, then as
// of 11:30 the token is still there.
//
// Comparing the times themselves would be simpler, and would show states that
// never were: with the record of 11:05 and without those of 12:00 it was decided
// on. Entries show the times as they were recorded.
type History struct {
	feed
	unused
	organizations map[string]*chronicle
}

// NewHistory is empty, at position 0.
func NewHistory() *History {
	return &History{organizations: make(map[string]*chronicle)}
}

// chronicle is one organization in [History]: all records of its stream. Entries
// are added and never changed, so a query can go on reading them after it let go
// of the lock.
//
// What a record changed is computed when someone asks. To keep it instead would
// take more memory than the records do, for stories that mostly nobody reads.
type chronicle struct {
	stream
	entries entries
}

// entries are the records of a stream: version v is at v-1.
type entries []entry

// entry is one record. It keeps the decoded payload, and not the record's data.
type entry struct {
	token       uuid.UUID // zero when it is about the organization itself
	payload     events.Payload
	actor       string
	reason      string
	correlation string
	position    events.Position
	time        int64 // as recorded, in microseconds since 1970
	moment      int64 // the latest time up to here
}

// Apply implements [Projection].
func (h *History) Apply(ctx context.Context, batch []events.Recorded) error {
	return h.apply(ctx, batch, h)
}

func (h *History) decided(organization string, r *events.Recorded, p events.Payload) error {
	return advance(h, h.organizations, organization, r, p)
}

func (h *History) begin(string) *chronicle { return new(chronicle) }

func (h *History) fold(c *chronicle, r *events.Recorded, p events.Payload) error {
	e := entry{
		payload:     p,
		actor:       r.Actor,
		reason:      r.Reason,
		correlation: r.Correlation,
		position:    r.Position,
		time:        r.Time.UnixMicro(),
	}
	if token, about := tokenOf(p); about {
		id, err := parseToken(r, token)
		if err != nil {
			return err
		}
		e.token = id
	}
	// An expiry is checked now so that every query can rely on it.
	if p, ok := p.(*events.TokenGenerated); ok {
		if _, err := expiryOf(r, p); err != nil {
			return err
		}
	}
	e.moment = e.time
	if n := len(c.entries); n > 0 {
		e.moment = max(e.moment, c.entries[n-1].moment)
	}
	c.entries = append(c.entries, e)
	return nil
}

// tokenOf is the token that p is about, as it is written there. It is not about a
// token when it is about the organization.
func tokenOf(p events.Payload) (token string, about bool) {
	switch p := p.(type) {
	case *events.TokenGenerated:
		return p.Token, true
	case *events.TokenEdited:
		return p.Token, true
	case *events.TokenDeactivated:
		return p.Token, true
	case *events.TokenDeleted:
		return p.Token, true
	}
	return "", false
}
