package projection

import (
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
	model[*orgHistory]
}

// NewHistory returns a history at position 0.
func NewHistory() *History {
	h := new(History)
	h.init(h)
	return h
}

// orgHistory is one organization in [History]: all records of its stream. Entries are added
// and never changed, so that a query can go on reading them after it released the lock.
//
// What a record changed is computed when it is asked for. Keeping it would take more
// memory than the records do.
type orgHistory struct {
	moment  int64 // of the last entry
	entries entries
}

// entries are the records of a stream; version v is at v-1.
type entries []entry

// entry is one record. It keeps the decoded payload, and not the record's data.
type entry struct {
	token    uuid.UUID // zero when it is about the organization itself
	payload  events.Payload
	actor    string
	note     *note // nil when there is none, as for most
	position events.Position
	time     int64 // as recorded, in microseconds since 1970
	moment   int64 // the latest time up to here
}

// note is what a record may say beside.
type note struct{ reason, correlation string }

func (h *History) begin(string) *orgHistory { return new(orgHistory) }

func (h *History) fold(o *orgHistory, d *reading) error {
	if d.expiresErr != nil { // so that every query can rely on it
		return d.expiresErr
	}
	at := d.Time.UnixMicro()
	if len(o.entries) == 0 || at > o.moment {
		o.moment = at
	}
	e := entry{token: d.token, payload: d.payload, actor: d.Actor, position: d.Position, time: at, moment: o.moment}
	if d.Reason != "" || d.Correlation != "" {
		e.note = &note{d.Reason, d.Correlation}
	}
	o.entries = append(o.entries, e)
	return nil
}
