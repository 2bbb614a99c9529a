package sqlitelog

import (
	"context"
	"errors"
	"fmt"
	"math/bits"

	sqlite3 "modernc.org/sqlite/lib"

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
// does not fit, and of every batch of a wary transaction.
func (w *writer) append(a *addition) (outcome, error) {
	head, ok, err := w.head(a.stream)
	if err != nil {
		return outcome{}, err
	}
	if !ok {
		return w.damage(a, "the hash of version %d of %s cannot be read", head.Version, a.stream), nil
	}
	fits := head.Admits(a.expected, a.batch)
	if !fits || w.wary {
		if known, err := w.earlier(a); err != nil || known.settled() {
			return known, err
		}
	}
	if !fits {
		return outcome{refusal: &events.ConflictError{Stream: a.stream, Expected: a.expected, Actual: head.Version}}, nil
	}
	if w.wary {
		if stray, err := w.stray(a, head); err != nil || stray.settled() {
			return stray, err
		}
	}
	return outcome{records: w.extend(a, head)}, nil
}

// extend adds the batch to the stream.
func (w *writer) extend(a *addition, head events.Head) []events.Recorded {
	records, head := events.Seal(a.stream, head, a.batch)
	for i := range records {
		hash := head.Hash
		if i+1 < len(records) {
			hash = records[i+1].Previous
		}
		w.last++
		records[i].Position = w.last
		w.added = append(w.added, addedRecord{&records[i], hash})
	}
	w.heads[a.stream] = head
	return records
}

// damage returns the refusal of an append that damage of the file prevents.
func (w *writer) damage(a *addition, format string, args ...any) outcome {
	return outcome{refusal: fmt.Errorf("append to %s: %w", a.stream, damaged(w.conn.file, format, args...))}
}

// stray refuses a batch when a row that is not part of the log has one of its positions or
// versions. The library writes no such row.
func (w *writer) stray(a *addition, head events.Head) (found outcome, err error) {
	n := int64(len(a.batch))
	each := func(row *stmt) error {
		found = w.damage(a, "the row at position %d, version %d of %s, is not part of the log, which ends at position %d: "+
			"something else than this library wrote it", row.integer(0), row.integer(2), row.text(1), w.end)
		return nil
	}
	err = w.strayPosition.query(context.Background(), each, int64(w.last), int64(w.last)+n)
	if err == nil && !found.settled() {
		err = w.strayVersion.query(context.Background(), each, string(a.stream), int64(head.Version), int64(head.Version)+n)
	}
	return found, err
}

// errTaken means that an ID, a version or a position is in the file already, and that the
// transaction cannot be committed: the records after it stand in wrong places.
var errTaken = errors.New("an ID, a version or a position is taken")

// addedRecord is a record that is to be written, and its hash.
type addedRecord struct {
	*events.Recorded
	hash events.Hash
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

// move writes the counter, once for each transaction that adds records.
func (w *writer) move() error {
	if w.last == w.end {
		return nil
	}
	if err := w.moveCounter.exec(int64(w.last)); err != nil {
		return err
	}
	w.end = w.last
	return nil
}

// insert writes records with the statement for so many.
func (w *writer) insert(s *stmt, added []addedRecord) error {
	for i := range added {
		s.bindRecord(1+i*columns, &added[i])
	}
	err := s.exec()
	taken := codeOf(err) == sqlite3.SQLITE_CONSTRAINT
	switch {
	case err != nil && !taken:
		return err
	case err == nil && w.conn.db.changes() == len(added):
		return nil
	case !w.wary:
		return errTaken
	case taken:
		return damaged(w.conn.file, "the records from position %d on cannot be added: %v", added[0].Position, err)
	}
	return damaged(w.conn.file, "the index of IDs knows one that no record has")
}

// forget drops what there was to write.
func (w *writer) forget() {
	clear(w.added)
	w.added = w.added[:0]
}

// earlier returns the outcome of an earlier append of the same batch, and nothing when none
// of its IDs is taken.
func (w *writer) earlier(a *addition) (outcome, error) {
	var found []events.Recorded
	for i := range a.batch {
		r, stored, ok, err := w.find(a.batch[i].ID.String())
		switch {
		case err != nil:
			return outcome{}, err
		case !ok && len(found) == 0:
			continue
		case !ok:
			return a.duplicate(0), nil
		case r.Position < 1 || r.Position > w.last:
			return w.damage(a, "the row at position %d, version %d of %s, has the ID %s and is not part of the log, which ends at position %d",
				r.Position, r.Version, r.Stream, a.batch[i].ID, w.end), nil
		case stored == events.Hash{}:
			return w.damage(a, "the record at position %d, version %d of %s, cannot be read", r.Position, r.Version, r.Stream), nil
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

// find returns the row with an ID, of any stream, and the hash that is stored in it.
func (w *writer) find(id string) (r events.Recorded, stored events.Hash, ok bool, err error) {
	if err = w.flush(); err != nil {
		return r, stored, false, err
	}
	err = w.findRecord.query(context.Background(), func(row *stmt) error {
		r, stored = recordOf(row)
		ok = true
		return nil
	}, id)
	return r, stored, ok, err
}
