package pglog

import (
	"context"
	"errors"

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
}

// view asks for the heads of the streams of all additions, and for the IDs of those that
// want it. With lock it takes the counter's lock before, which all who append have to wait
// for; what it says then stays right until the transaction ends. Without, the heads are
// those of one moment and IDs are looked for a little later, so that an ID which is not
// found was not there at that moment either.
func (l *Log) view(ctx context.Context, q batcher, asked []*addition, lock bool) (*view, error) {
	names, ids := questions(asked)
	v := &view{heads: make(map[events.StreamID]events.Head, len(names)), taken: make(map[ulid.ULID]events.Recorded)}
	for _, name := range names {
		v.heads[events.StreamID(name)] = events.Head{}
	}
	b := new(pgx.Batch)
	if lock {
		b.Queue(l.sql.lock)
	}
	b.Queue(l.sql.heads, names)
	if len(ids) > 0 {
		b.Queue(l.sql.byID, pgtype.FlatArray[pgtype.UUID](ids))
	}
	results := q.SendBatch(ctx, b)
	err := l.readView(results, v, lock, len(ids) > 0)
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

func (l *Log) readView(results pgx.BatchResults, v *view, lock, ids bool) error {
	if lock {
		if _, err := results.Exec(); err != nil {
			return err
		}
	}
	rows, err := results.Query()
	if err != nil {
		return err
	}
	if err := l.readHeads(rows, v); err != nil || !ids {
		return err
	}
	if rows, err = results.Query(); err != nil {
		return err
	}
	return l.scan(rows, func(r events.Recorded) bool {
		v.taken[r.ID] = r
		return true
	})
}

// readHeads reads a row for every head. They all have the end of the log, and where there
// is no head there is one row with nothing else.
func (l *Log) readHeads(rows pgx.Rows, v *view) error {
	defer rows.Close()
	v.end.position = -1
	for rows.Next() {
		var name *string
		var version *int64
		var last, hash []byte
		if err := rows.Scan(&v.end.position, &last, &name, &version, &hash); err != nil {
			return err
		}
		if n := copy(v.end.hash[:], last); n != len(last) || n != 0 && n != len(v.end.hash) {
			return l.damaged("the hash of the record at position %d cannot be read", v.end.position)
		}
		if name == nil {
			continue
		}
		head := events.Head{Version: events.Version(*version)}
		if copy(head.Hash[:], hash) != len(head.Hash) {
			return l.damaged("the head of %s cannot be read", *name)
		}
		v.heads[events.StreamID(*name)] = head
	}
	if rows.Err() == nil && v.end.position < 0 {
		return l.damaged("the counter is missing")
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
func decide(end ending, heads map[events.StreamID]events.Head, taken map[ulid.ULID]events.Recorded, group []*addition) *plan {
	p := &plan{end: end, heads: make(map[events.StreamID]events.Head)}
	planned := make(map[ulid.ULID]struct{}, len(group))
	for _, a := range group {
		records, err := a.earlier(taken)
		if records != nil || err != nil {
			a.answer(records, err)
			continue
		}
		head, grows := p.heads[a.stream]
		if !grows {
			head = heads[a.stream]
		}
		switch {
		case a.meets(planned):
			p.leave(a)
		case a.fits(head):
			p.add(a, head, planned)
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

func (p *plan) add(a *addition, head events.Head, planned map[ulid.ULID]struct{}) {
	records, head := events.Seal(a.stream, head, a.batch)
	for i := range records {
		records[i].Position = p.end.position + events.Position(len(p.records)+i+1)
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
	v, err := l.view(ctx, tx, []*addition{a}, true)
	if err != nil {
		return nil, err
	}
	p := decide(v.end, v.heads, v.taken, []*addition{a})
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
