package pglog

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/oklog/ulid/v2"

	"github.com/oatmill/oatmill/events"
)

// batcher is a connection, a pool or a transaction.
type batcher interface {
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// ending is the last record of the log: its position, which is the counter's, and its
// hash. Where there is no record there is the zero Hash. Two logs that once were the same
// can end at the same position and be different ones; the hash tells.
type ending struct {
	position events.Position
	hash     events.Hash
}

// known is the hash as the server compares it, NULL where there is no record.
func (e ending) known() []byte {
	if e.hash == (events.Hash{}) {
		return nil
	}
	return e.hash[:]
}

// view is what the database says of the streams and IDs of a group.
type view struct {
	end   ending
	heads map[events.StreamID]events.Head
	taken map[ulid.ULID]events.Recorded
	// strays are rows that are not part of the log and in the way of the group. The library
	// writes no such rows.
	strays []stray
}

type stray struct {
	position events.Position
	stream   events.StreamID
	version  events.Version
	id       ulid.ULID
}

// look says how a view is taken.
type look int

const (
	unlocked     look = iota
	locked            // under the counter's lock
	lockedStrays      // and with the rows that are in the way
)

// view asks for the heads of the streams of all additions, and for the IDs of those that
// want it. With the lock it takes the counter's lock before, which all who append have to wait
// for; what it says then stays right until the transaction ends. Without, the heads are
// those of one moment and IDs are looked for a little later, so that an ID which is not
// found was not there at that moment either.
func (l *Log) view(ctx context.Context, q batcher, asked []*addition, how look) (*view, error) {
	names, ids := questions(asked)
	v := &view{heads: make(map[events.StreamID]events.Head, len(names)), taken: make(map[ulid.ULID]events.Recorded)}
	for _, name := range names {
		v.heads[events.StreamID(name)] = events.Head{}
	}
	b, s := new(pgx.Batch), l.on(q)
	if how != unlocked {
		b.Queue(s.lock)
	}
	b.Queue(s.heads, names)
	if len(ids) > 0 {
		b.Queue(s.byID, pgtype.FlatArray[pgtype.UUID](ids))
	}
	if how == lockedStrays {
		records := 0
		for _, a := range asked {
			records += len(a.batch)
		}
		b.Queue(s.strays, records, names, pgtype.FlatArray[pgtype.UUID](ids))
	}
	results := q.SendBatch(ctx, b)
	err := l.readView(s, results, v, how, len(ids) > 0)
	return v, errors.Join(err, results.Close())
}

func questions(asked []*addition) (names []string, ids []pgtype.UUID) {
	seen := make(map[events.StreamID]bool, len(asked))
	for _, a := range asked {
		if !seen[a.stream] {
			seen[a.stream] = true
			names = append(names, string(a.stream))
		}
		for i := 0; a.look && i < len(a.batch); i++ {
			ids = append(ids, pgtype.UUID{Bytes: a.batch[i].ID, Valid: true})
		}
	}
	return names, ids
}

func (l *Log) readView(s *statements, results pgx.BatchResults, v *view, how look, ids bool) error {
	if how != unlocked {
		if _, err := results.Exec(); err != nil {
			return err
		}
	}
	rows, err := results.Query()
	if err == nil {
		err = l.readHeads(s, rows, v)
	}
	if err == nil && ids {
		err = l.readTaken(s, results, v)
	}
	if err == nil && how == lockedStrays {
		err = readStrays(results, v)
	}
	return err
}

func (l *Log) readTaken(s *statements, results pgx.BatchResults, v *view) error {
	rows, err := results.Query()
	if err != nil {
		return err
	}
	var unreadable error
	err = l.scan(s, rows, func(r events.Recorded, stored events.Hash) bool {
		if stored == (events.Hash{}) {
			unreadable = l.damaged("the record at position %d, version %d of %s, cannot be read", r.Position, r.Version, r.Stream)
		}
		v.taken[r.ID] = r
		return unreadable == nil
	})
	return errors.Join(err, unreadable)
}

func readStrays(results pgx.BatchResults, v *view) error {
	rows, err := results.Query()
	if err != nil {
		return err
	}
	var s stray
	var id pgtype.UUID
	_, err = pgx.ForEachRow(rows, []any{(*int64)(&s.position), (*string)(&s.stream), (*int64)(&s.version), &id}, func() error {
		s.id = id.Bytes
		v.strays = append(v.strays, s)
		return nil
	})
	return err
}

// readHeads reads a row for every head. They all have the end of the log, and where there
// is no head there is one row with nothing else.
func (l *Log) readHeads(s *statements, rows pgx.Rows, v *view) error {
	defer rows.Close()
	v.end.position = -1
	for rows.Next() {
		var name *string
		var version *int64
		var last, hash []byte
		if err := rows.Scan(&v.end.position, &last, &name, &version, &hash); err != nil {
			return err
		}
		last, hash = s.octets(last), s.octets(hash)
		if n := copy(v.end.hash[:], last); n != len(last) || n != 0 && n != len(v.end.hash) {
			return l.damaged("the hash of the record at position %d cannot be read", v.end.position)
		}
		if name == nil {
			continue
		}
		v.heads[events.StreamID(*name)] = events.Head{Version: events.Version(*version), Hash: toHash(hash)}
	}
	if rows.Err() == nil && v.end.position < 0 {
		return l.noCounter()
	}
	return rows.Err()
}

// plan is what one statement adds.
type plan struct {
	end     ending // after which the records come
	records []events.Recorded
	hashes  []events.Hash                   // of the records
	heads   map[events.StreamID]events.Head // of the streams that grow
	members []*addition                     // whose records these are
	parts   [][]events.Recorded             // the records of each
	left    []*addition                     // to be decided in another round
}

// decide answers the additions that nothing is left to do for, and plans those that fit.
// An addition that does not fit, or whose IDs stand in the plan, is answered only when the
// database was asked about it and the plan changes nothing about the answer. Otherwise
// it is left for the next round, with a look.
func (l *Log) decide(v *view, group []*addition) *plan {
	p := &plan{end: v.end, heads: make(map[events.StreamID]events.Head)}
	planned := make(map[ulid.ULID]struct{}, len(group))
	for _, a := range group {
		records, err := a.earlier(v.taken)
		if records != nil || err != nil {
			a.answer(records, err)
			continue
		}
		head, grows := p.heads[a.stream]
		if !grows {
			head = v.heads[a.stream]
		}
		switch {
		case unreadable(head):
			a.answer(nil, l.damaged("the hash of version %d of %s cannot be read", head.Version, a.stream))
		case a.meets(planned):
			p.leave(a)
		case a.fits(head):
			if s := v.inTheWay(a, head, p.next()); s != nil {
				a.answer(nil, l.damaged("the row at position %d, version %d of %s, is not part of the log, which ends at position %d: "+
					"something else than this library wrote it", s.position, s.version, s.stream, v.end.position))
			} else {
				p.add(a, head, planned)
			}
		case a.look && !grows:
			a.answer(nil, a.conflict(head))
		default:
			p.leave(a)
		}
	}
	return p
}

func (a *addition) meets(planned map[ulid.ULID]struct{}) bool {
	for i := range a.batch {
		if _, ok := planned[a.batch[i].ID]; ok {
			return true
		}
	}
	return false
}

func (p *plan) leave(a *addition) {
	a.look = true
	p.left = append(p.left, a)
}

// unreadable reports whether the hash that is stored with a stream's last record is none, so
// that nothing can be appended to the stream.
func unreadable(h events.Head) bool { return h.Version > 0 && h.Hash == (events.Hash{}) }

// inTheWay returns a row that is not part of the log and has a version, a position or an ID
// that the addition would have, nil when there is none. next is the addition's first position.
func (v *view) inTheWay(a *addition, head events.Head, next events.Position) *stray {
	n := len(a.batch)
	for i := range v.strays {
		s := &v.strays[i]
		if s.stream == a.stream && s.version > head.Version && s.version <= head.Version+events.Version(n) ||
			s.position >= next && s.position < next+events.Position(n) ||
			slices.ContainsFunc(a.batch, func(e events.Envelope) bool { return e.ID == s.id }) {
			return s
		}
	}
	return nil
}

// next is the position of the next record that is added.
func (p *plan) next() events.Position { return p.end.position + events.Position(len(p.records)) + 1 }

func (p *plan) add(a *addition, head events.Head, planned map[ulid.ULID]struct{}) {
	records, head := events.Seal(a.stream, head, a.batch)
	for i := range records {
		records[i].Position = p.next() + events.Position(i)
		planned[records[i].ID] = struct{}{}
	}
	for i := range records[1:] {
		p.hashes = append(p.hashes, records[i+1].Previous)
	}
	p.hashes = append(p.hashes, head.Hash)
	p.heads[a.stream] = head
	p.records = append(p.records, records...)
	p.members = append(p.members, a)
	p.parts = append(p.parts, records)
}

// insert adds what is planned, if the log ends where the plan takes it to end.
func (l *Log) insert(ctx context.Context, q batcher, p *plan) (added bool, err error) {
	rows, err := q.Query(ctx, l.sql.insert, p.arguments()...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	for rows.Next() {
		added = true
	}
	rows.Close()
	return added, rows.Err()
}

// appendTo is an append in somebody's transaction, which it does not abort when it
// refuses.
func (l *Log) appendTo(ctx context.Context, tx pgx.Tx, a *addition) ([]events.Recorded, error) {
	a.look, a.done = true, make(chan outcome, 1)
	// Strays are looked for in any case: an error of the insert would end the transaction.
	v, err := l.view(ctx, tx, []*addition{a}, lockedStrays)
	if err != nil {
		return nil, err
	}
	p := l.decide(v, []*addition{a})
	if len(p.members) == 0 {
		out := <-a.done
		return out.records, out.err
	}
	added, err := l.insert(ctx, tx, p)
	switch {
	case err != nil:
		return nil, err
	case !added:
		return nil, l.damaged("the counter moves while it is locked")
	}
	return p.records, nil
}
