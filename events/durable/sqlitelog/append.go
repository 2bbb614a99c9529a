package sqlitelog

import (
	"bytes"
	"context"
	"database/sql/driver"
	"fmt"
	"strconv"

	"github.com/oatmill/oatmill/events"
)

// Append is [events.Log.Append]. It shares its commit, and the fsync in it, with all
// other appends that wait at the same time. An append that [ErrBusy] or [ErrFull]
// ends has left nothing behind. [events.ErrUnknownOutcome] comes only when the operating
// system reports an error during the commit. A context that ends while the append waits
// withdraws it; one that ends during the commit changes nothing.
func (l *Log) Append(ctx context.Context, stream events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	if err := events.Validate(stream, expected, batch); err != nil {
		return nil, err
	}
	size := 0
	for i := range batch {
		size += 512 + len(batch[i].Data)
	}
	var out outcome
	a := &addition{stream, expected, batch, rowsOf(batch)}
	err := l.submit(ctx, &request{size: size, do: func(w *writer) (err error) {
		out, err = w.append(a)
		return err
	}})
	if err != nil {
		return nil, fmt.Errorf("append to %s: %w", stream, err)
	}
	return out.records, out.refusal
}

// addition is what a caller of Append wants to add.
type addition struct {
	stream   events.StreamID
	expected events.Version
	batch    []events.Envelope
	rows     []row // of the batch
}

// outcome is what the caller learns when the transaction is committed. A refusal has
// left no trace in the transaction.
type outcome struct {
	records []events.Recorded
	refusal error
}

// settled tells whether there is nothing left to append.
func (o outcome) settled() bool { return o.records != nil || o.refusal != nil }

// append puts the batch into the transaction. Whether its IDs are taken is asked
// beforehand only where the answer changes what is done. The common append of one
// event to a known stream finds out by inserting it.
func (w *writer) append(a *addition) (outcome, error) {
	s, err := w.stream(a.stream)
	if err != nil {
		return outcome{}, err
	}
	fits := a.expected == events.Any || a.expected == s.head.Version
	if !fits || s.key == 0 || len(a.batch) > 1 {
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
	made, err := w.addStream.exec(context.Background(), string(name))
	if err != nil {
		return err
	}
	if s.key, err = made.LastInsertId(); err != nil {
		return err
	}
	s.tail = []byte("[]")
	w.remember(name, s)
	return nil
}

// extend adds the batch to the stream.
func (w *writer) extend(s *stream, a *addition) (outcome, error) {
	records, head := events.Seal(a.stream, s.head, a.batch)
	for i := range records {
		r := &records[i]
		r.Position = w.last + 1
		a.rows[i].place(s.key, r)
		added, err := w.addRecord.exec(context.Background(), a.rows[i]...)
		if err != nil {
			return outcome{}, err
		}
		if n, _ := added.RowsAffected(); n == 0 {
			return w.taken(a)
		}
		w.last = r.Position
		if err := w.note(s, r); err != nil {
			return outcome{}, err
		}
	}
	s.head = head
	_, err := w.moveStream.exec(context.Background(), int64(head.Version), head.Hash[:], string(s.tail), s.key)
	return outcome{records: records}, err
}

// taken is the outcome when the first ID turned out to be taken. It is the only one of
// the batch, because larger batches were asked about beforehand.
func (w *writer) taken(a *addition) (outcome, error) {
	known, err := w.earlier(a)
	if err == nil && !known.settled() {
		err = damaged(w.conn.file, "the index of IDs knows %s, and no record has it", a.batch[0].ID)
	}
	return known, err
}

// note adds the position of a record to the tail of its stream, and turns a full tail
// into a block.
func (w *writer) note(s *stream, r *events.Recorded) error {
	s.tail = bytes.TrimSuffix(s.tail, []byte("]"))
	if len(s.tail) > 1 {
		s.tail = append(s.tail, ',')
	}
	s.tail = append(strconv.AppendInt(s.tail, int64(r.Position), 10), ']')
	if r.Version%blockSize != 0 {
		return nil
	}
	_, err := w.addBlock.exec(context.Background(), s.key, blockOf(r.Version), string(s.tail))
	s.tail = append(s.tail[:0], "[]"...)
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
	err = w.findRecord.query(context.Background(), func(row []driver.Value) (err error) {
		name, _ := row[len(row)-1].(string)
		r, err = recordOf(w.conn.file, row, events.StreamID(name))
		ok = true
		return err
	}, id)
	return r, ok, err
}
