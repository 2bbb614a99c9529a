package projection

import (
	"math/bits"

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
	feed[*chronicle, struct{}] // it keeps nothing of tokens beside their entries
}

// NewHistory is empty, at position 0.
func NewHistory() *History {
	h := new(History)
	h.serve(h)
	return h
}

// chronicle is one organization in [History]: all records of its stream. Entries
// are added and never changed, so a query can go on reading them after it let go
// of the lock.
//
// What a record changed is computed when someone asks. To keep it instead would
// take more memory than the records do, for stories that mostly nobody reads.
type chronicle struct {
	stream
	moment  int64 // of the last entry
	entries entries
}

// entries are the records of a stream: version v is at v-1. They stand in blocks, each
// twice as large as the one before, so that they never move: growing copies nothing.
type entries struct {
	blocks [][]entry
	n      int
}

const firstBlock = 4

// block is where entry i stands.
func (e *entries) block(i int) (block, at int) {
	block = bits.Len(uint(i/firstBlock+1)) - 1
	return block, i - firstBlock*(1<<block-1)
}

func (e *entries) at(i int) *entry {
	block, at := e.block(i)
	return &e.blocks[block][at]
}

// add is a new last entry, still empty.
func (e *entries) add() *entry {
	block, at := e.block(e.n)
	if at == 0 {
		e.blocks = append(e.blocks, make([]entry, firstBlock<<block))
	}
	e.n++
	return &e.blocks[block][at]
}

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

func (h *History) begin(string) *chronicle { return new(chronicle) }

func (h *History) fold(c *chronicle, d *sight[*chronicle]) error {
	if d.expiresErr != nil { // so that every query can rely on it
		return d.expiresErr
	}
	at := d.Time.UnixMicro()
	if c.entries.n == 0 || at > c.moment {
		c.moment = at
	}
	e := c.entries.add()
	e.token, e.payload, e.actor, e.position, e.time, e.moment = d.token, d.payload, d.Actor, d.Position, at, c.moment
	if d.Reason != "" || d.Correlation != "" {
		e.note = &note{d.Reason, d.Correlation}
	}
	return nil
}
