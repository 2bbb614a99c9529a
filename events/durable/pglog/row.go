package pglog

import (
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/oatmill/oatmill/events"
)

// recordFields are the columns that scan reads, in order.
const recordFields = "position, stream, version, id, type, time, actor, correlation, causation, reason, previous, data"

// arguments are those of statements.insert: the counter's place, the number of records,
// and a list for each column, because a list costs the server less than as many
// parameters.
func (p *plan) arguments() []any {
	n := len(p.records)
	streams, versions, ids := make([]string, n), make([]int64, n), make([]pgtype.UUID, n)
	types, times, actors := make([]string, n), make([]time.Time, n), make([]string, n)
	correlations, causations, reasons := make([]string, n), make([]pgtype.UUID, n), make([]string, n)
	previous, hashes, data := make([][]byte, n), make([][]byte, n), make([]string, n)
	for i := range p.records {
		r := &p.records[i]
		streams[i], versions[i], ids[i] = string(r.Stream), int64(r.Version), pgtype.UUID{Bytes: r.ID, Valid: true}
		types[i], times[i], actors[i] = r.Type, r.Time, r.Actor
		correlations[i], reasons[i] = r.Correlation, r.Reason
		causations[i] = pgtype.UUID{Bytes: r.Causation, Valid: r.Causation != (events.Envelope{}).Causation}
		previous[i], hashes[i], data[i] = r.Previous[:], p.hashes[i][:], string(r.Data)
	}
	return []any{
		int64(p.end), int64(n),
		streams, versions, pgtype.FlatArray[pgtype.UUID](ids), types, times, actors, correlations,
		pgtype.FlatArray[pgtype.UUID](causations), reasons, previous, hashes, data,
	}
}

// scan reads rows of recordFields to their end, or until each has enough.
func (l *Log) scan(rows pgx.Rows, each func(events.Recorded) (more bool)) error {
	defer rows.Close()
	for rows.Next() {
		r, err := l.record(rows)
		if err != nil {
			return err
		}
		if !each(r) {
			break
		}
	}
	rows.Close()
	return rows.Err()
}

// record reads one row.
func (l *Log) record(rows pgx.Rows) (r events.Recorded, err error) {
	var id, causation pgtype.UUID
	var previous []byte
	err = rows.Scan((*int64)(&r.Position), (*string)(&r.Stream), (*int64)(&r.Version), &id, &r.Type, &r.Time, &r.Actor,
		&r.Correlation, &causation, &r.Reason, &previous, &r.Data)
	if err != nil {
		return events.Recorded{}, l.damaged("a record cannot be read: %v", err)
	}
	r.ID, r.Causation, r.Time = id.Bytes, causation.Bytes, r.Time.UTC()
	if copy(r.Previous[:], previous) != len(r.Previous) {
		return events.Recorded{}, l.damaged("the record at position %d cannot be read", r.Position)
	}
	return r, nil
}
