// Package memlog is the reference log: all of the contract of package events, in
// memory.
//
// It is what a test or a program without durability uses, and what the other logs
// are compared with. It is therefore as strict as they are: it refuses what they
// refuse, with the same errors, and hands out copies, so that a caller who changes
// what it was given harms itself only, as it would with a log on disk.
//
// # What it promises
//
// Everything package events asks of a log, and every optional ability it knows:
// [events.Notifier], [events.Heads], [events.Snapshots] and [events.Checkpoints].
// Durable means until [Log.Close] or the end of the process, whichever comes first.
//
// # How it is built
//
// All records stand in one sequence of blocks that never move, and their data in pieces. A stream is a list
// of positions in it. An append holds the lock for the time it takes to hash the
// batch; a read holds it while it collects a page of pointers, and not while the
// caller works. What a pointer leads to is never written again, so it needs no lock.
package memlog

import (
	"context"
	"fmt"
	"sync"

	"github.com/oatmill/oatmill/events"
)

// Log is a log in memory. Make one with [New].
type Log struct {
	mu          sync.RWMutex
	closed      bool
	end         events.Position // also the number of records: positions have no gaps here
	blocks      []*block
	data        []byte                       // of the newest records, in one piece with room for more
	taken       map[[16]byte]events.Position // by event ID
	streams     map[events.StreamID]*stream
	snapshots   map[events.StreamID]events.Snapshot
	checkpoints map[string]events.Position
	wake        chan struct{} // closed by the next append or by Close; nil while nobody waits
}

// block holds the records of consecutive positions. Growing by whole blocks leaves
// records where they are, and copies nothing when the log is long.
type block [512]events.Recorded

type stream struct {
	id        events.StreamID
	head      events.Head
	positions []events.Position // that of version v is at v-1
}

var (
	_ events.Log         = (*Log)(nil)
	_ events.Notifier    = (*Log)(nil)
	_ events.Heads       = (*Log)(nil)
	_ events.Snapshots   = (*Log)(nil)
	_ events.Checkpoints = (*Log)(nil)
)

// New is an empty log.
func New() *Log {
	return &Log{
		taken:       make(map[[16]byte]events.Position),
		streams:     make(map[events.StreamID]*stream),
		snapshots:   make(map[events.StreamID]events.Snapshot),
		checkpoints: make(map[string]events.Position),
	}
}

// Append is [events.Log.Append]. It never returns [events.ErrUnknownOutcome].
func (l *Log) Append(ctx context.Context, id events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	if err := events.Validate(id, expected, batch); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// Looked at under the lock, so that a context which ended while the call
	// waited for its turn still prevents the append.
	if err := l.ready(ctx); err != nil {
		return nil, fmt.Errorf("append to %s: %w", id, err)
	}
	if first, err := l.earlier(id, batch); first != nil || err != nil {
		return first, err
	}
	var head events.Head
	if s := l.streams[id]; s != nil {
		head = s.head
	}
	if !head.Admits(expected, batch) {
		return nil, &events.ConflictError{Stream: id, Expected: expected, Actual: head.Version}
	}
	return l.commit(id, head, batch), nil
}

// earlier is the outcome of an earlier append of the same batch, nil when none of
// its IDs is taken.
func (l *Log) earlier(id events.StreamID, batch []events.Envelope) ([]events.Recorded, error) {
	var found []events.Recorded
	for i := range batch {
		p, ok := l.taken[batch[i].ID]
		if !ok {
			continue
		}
		r := l.at(p)
		if r.Stream != id || len(found) != i || i > 0 && r.Version != found[i-1].Version+1 {
			return nil, &events.DuplicateError{Stream: id, ID: r.ID}
		}
		found = append(found, *r)
	}
	if len(found) > 0 && len(found) < len(batch) {
		return nil, &events.DuplicateError{Stream: id, ID: found[0].ID}
	}
	return found, nil
}

// commit puts the batch at the end of the log and wakes who waits for it. Nothing
// in it can fail, which is what makes an append atomic.
func (l *Log) commit(id events.StreamID, head events.Head, batch []events.Envelope) []events.Recorded {
	sealed, head := events.Seal(id, head, batch)
	s := l.streams[id]
	if s == nil {
		s = &stream{id: id}
		l.streams[id] = s
	}
	for i := range sealed {
		r := &sealed[i]
		r.Stream = s.id // one text for all records of the stream, which readers then have at hand
		l.end++
		r.Position = l.end
		if l.at(l.end) == nil {
			l.blocks = append(l.blocks, new(block))
		}
		r.Data = l.keep(r.Data) // the writer may use its slice again
		*l.at(l.end) = *r
		l.taken[r.ID] = l.end
		s.positions = append(s.positions, l.end)
	}
	s.head = head
	l.announce()
	return sealed
}

// pieceSize is how much memory for data is taken at a time. In pieces it lies in the order in
// which it is read, and a garbage collector has a few of them to look at and not as many
// as there are records.
const pieceSize = 16 << 10

// keep is a copy of data that nothing can be appended to.
func (l *Log) keep(data []byte) []byte {
	if cap(l.data)-len(l.data) < len(data) {
		l.data = make([]byte, 0, max(pieceSize, len(data)))
	}
	start := len(l.data)
	l.data = append(l.data, data...)
	return l.data[start:len(l.data):len(l.data)]
}

// at is where the record at p is, nil when there is no block for it yet.
func (l *Log) at(p events.Position) *events.Recorded {
	i := int(p - 1)
	if i/len(block{}) >= len(l.blocks) {
		return nil
	}
	return &l.blocks[i/len(block{})][i%len(block{})]
}

// ready tells why a call cannot be carried out now.
func (l *Log) ready(ctx context.Context) error {
	if l.closed {
		return events.ErrClosed
	}
	return ctx.Err()
}

// Close makes every later call return [events.ErrClosed], ends those that wait, and
// lets go of nothing else: records that were handed out stay good. Closing again is
// allowed and does nothing. The error is always nil.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.announce()
	return nil
}
