package sqlitelog

import (
	"context"
	"errors"
	"fmt"
	"math/bits"

	"github.com/oatmill/oatmill/events"
)

// Append is [events.Log.Append]. It shares its commit, and the fsync in it, with all
// other appends that wait at the same time. An append that [events.ErrBusy] or [events.ErrFull]
// ends has left nothing behind. [events.ErrUnknownOutcome] comes only when the operating
// system reports an error during the commit, or when the writer panics. A context that ends while the append waits
// for its turn withdraws it; one that ends while it is carried out changes nothing.
func (l *Log) Append(ctx context.Context, stream events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	if err := events.Validate(stream, expected, batch); err != nil {
		return nil, err
	}
	size := 0
	for i := range batch {
		size += 512 + len(batch[i].Data)
	}
	a := &addition{stream: stream, expected: expected, batch: batch}
	if err := l.submit(ctx, &request{size: size, do: a.do}); err != nil {
		return nil, fmt.Errorf("append to %s: %w", stream, err)
	}
	return a.outcome.records, a.outcome.refusal
}

// addition is what a caller of Append wants to add, and what became of it.
type addition struct {
	stream   events.StreamID
	expected events.Version
	batch    []events.Envelope
	outcome  outcome
}

func (a *addition) do(w *writer) (err error) {
	a.outcome, err = w.append(a)
	return err
}

// outcome is what the caller learns when the transaction is committed. A refusal has
// left no trace in the transaction.
type outcome struct {
	records []events.Recorded
	refusal error
}

// settled tells whether there is nothing left to append.
func (o outcome) settled() bool { return o.records != nil || o.refusal != nil }

// append adds the batch to what the transaction is to write. Whether its IDs are taken is
// asked beforehand only where the answer changes what is done: of a batch whose version
// does not fit, and of every batch once an insert has found one taken.
func (w *writer) append(a *addition) (outcome, error) {
	s, err := w.stream(a.stream)
	if err != nil {
		return outcome{}, err
	}
	fits := s.head.Admits(a.expected, a.batch)
	if !fits || w.wary {
		if known, err := w.earlier(a); err != nil || known.settled() {
			return known, err
		}
	}
	if !fits {
		return outcome{refusal: &events.ConflictError{Stream: a.stream, Expected: a.expected, Actual: s.head.Version}}, nil
	}
	if s.key == 0 {
		if err := w.begins(a.stream, s); err != nil {
			return outcome{}, err
		}
	}
	return w.extend(s, a)
}

// begins makes the row of a stream that has no records yet.
func (w *writer) begins(name events.StreamID, s *stream) error {
	if err := w.addStream.exec(string(name)); err != nil {
		return err
	}
	s.key, s.tail = w.conn.db.lastKey(), []byte(noPlaces)
	w.streams[name] = s
	return nil
}

// extend adds the batch to the stream.
func (w *writer) extend(s *stream, a *addition) (outcome, error) {
	records, head := events.Seal(a.stream, s.head, a.batch)
	for i := range records {
		r := &records[i]
		r.Position = w.last + 1
		w.added = append(w.added, addedRecord{s.key, r})
		w.last = r.Position
		if err := w.note(s, r); err != nil {
			return outcome{}, err
		}
	}
	if s.head = head; !s.moved {
		s.moved = true
		w.moved = append(w.moved, s)
	}
	return outcome{records: records}, nil
}

// errTaken tells that an ID was in the log already, and that the transaction is of no use
// any more: the records after it stand in wrong places.
var errTaken = errors.New("an ID is taken")

// addedRecord is a record that is to be written, and the key of its stream.
type addedRecord struct {
	stream int64
	*events.Recorded
}

// maxRows is how many records the largest statement adds.
const maxRows = 16

// flush writes the records that appends of the transaction have added, many to a statement:
// statements cost more than the rows they write.
func (w *writer) flush() error {
	for added := w.added; len(added) > 0; {
		n := min(bits.Len(uint(len(added))), len(w.addRecords)) - 1
		if err := w.insert(w.addRecords[n], added[:1<<n]); err != nil {
			return err
		}
		added = added[1<<n:]
	}
	clear(w.added)
	w.added = w.added[:0]
	return nil
}

// move writes the rows of the streams that the transaction has moved, each once.
func (w *writer) move() error {
	for _, s := range w.moved {
		if err := w.moveStream.exec(int64(s.head.Version), s.head.Hash[:], text(s.tail), s.key); err != nil {
			return err
		}
	}
	w.forget()
	return nil
}

// insert writes records with the statement for so many.
func (w *writer) insert(s *stmt, added []addedRecord) error {
	for i, r := range added {
		s.bindRecord(1+i*columns, r.stream, r.Recorded)
	}
	if err := s.exec(); err != nil {
		return err
	}
	switch inserted := w.conn.db.changes(); {
	case inserted == len(added):
		return nil
	case w.wary:
		return damaged(w.conn.file, "the index of IDs knows one that no record has")
	}
	return errTaken
}

// forget lets go of what there was to write.
func (w *writer) forget() {
	for _, s := range w.moved {
		s.moved = false
	}
	clear(w.added)
	clear(w.moved)
	w.added, w.moved = w.added[:0], w.moved[:0]
}

// note adds the position of a record to the tail of its stream, and turns a full tail
// into a block.
func (w *writer) note(s *stream, r *events.Recorded) error {
	s.tail, s.last = appendPlace(s.tail, s.last, r.Position), r.Position
	if r.Version%blockSize != 0 {
		return nil
	}
	err := w.addBlock.exec(s.key, blockOf(r.Version), text(s.tail))
	s.tail = append(s.tail[:0], noPlaces...)
	return err
}

// earlier is the outcome of an earlier append of the same batch, nothing when none of
// its IDs is taken.
func (w *writer) earlier(a *addition) (outcome, error) {
	var found []events.Recorded
	for i := range a.batch {
		r, ok, err := w.find(a.batch[i].ID.String())
		switch {
		case err != nil:
			return outcome{}, err
		case !ok && len(found) == 0:
			continue
		case !ok:
			return a.duplicate(0), nil
		case r.Stream != a.stream || len(found) != i || i > 0 && r.Version != found[i-1].Version+1:
			return a.duplicate(i), nil
		}
		found = append(found, r)
	}
	return outcome{records: found}, nil
}

func (a *addition) duplicate(i int) outcome {
	return outcome{refusal: &events.DuplicateError{Stream: a.stream, ID: a.batch[i].ID}}
}

// find is the record with an ID, in whatever stream.
func (w *writer) find(id string) (r events.Recorded, ok bool, err error) {
	if err = w.flush(); err != nil {
		return r, false, err
	}
	err = w.findRecord.query(context.Background(), func(row *stmt) (err error) {
		r, err = recordOf(row, events.StreamID(row.text(columns)))
		ok = true
		return err
	}, id)
	return r, ok, err
}
