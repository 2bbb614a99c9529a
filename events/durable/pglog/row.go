package pglog

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/oatmill/oatmill/events"
)

// recordFields are the columns of records AS r that scan reads, in order. recordTexts are the
// same columns where results are texts: how the server prints times and bytes depends on the
// session. A time that is infinite is NULL there.
const (
	recordFields = "r.position, r.stream, r.version, r.id, r.type, r.time, r.actor, r.correlation, r.causation, r.reason, r.previous, r.hash, r.data"
	recordTexts  = "r.position, r.stream, r.version, r.id, r.type, CASE WHEN pg_catalog.isfinite(r.time) THEN (extract(epoch FROM r.time) * 1000000)::bigint END, " +
		"r.actor, r.correlation, r.causation, r.reason, {r.previous}, {r.hash}, r.data"
)

// columns is how many there are. A statement that also yields the counter has it behind them.
const columns = 13

// arguments are those of statements.insert: the counter's place, the number of records,
// a list for each column, because a list costs the server less than as many parameters,
// and the hash at the counter's place.
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
		causations[i].Bytes = r.Causation
		previous[i], hashes[i], data[i] = r.Previous[:], p.hashes[i][:], string(r.Data)
	}
	causations = trimmed(causations)
	for i := range causations {
		causations[i].Valid = true // a NULL in a list is no NULL in every session; the statement makes it one
	}
	return []any{
		int64(p.end.position), int64(n),
		streams, versions, pgtype.FlatArray[pgtype.UUID](ids), types, times, actors, trimmed(correlations),
		pgtype.FlatArray[pgtype.UUID](causations), trimmed(reasons), previous, hashes, data,
		p.end.known(),
	}
}

// trimmed is a list without the zero values at its end. A list that is shorter than the
// others is filled up with NULL, and most groups have nothing in these.
func trimmed[T comparable](list []T) []T {
	var zero T
	for len(list) > 0 && list[len(list)-1] == zero {
		list = list[:len(list)-1]
	}
	return list
}

// scan reads rows of recordFields to their end, or until each has enough. each also
// receives the hash that is stored with the record; see decode.
func (l *Log) scan(s *statements, rows pgx.Rows, each func(r events.Recorded, stored events.Hash) (more bool)) error {
	_, err := l.scanPage(s, rows, each)
	return err
}

// scanPage is scan for a statement that also yields the counter, which it returns, and a
// row without a record when there is none. Without any row it returns -1.
func (l *Log) scanPage(s *statements, rows pgx.Rows, each func(r events.Recorded, stored events.Hash) (more bool)) (counter events.Position, err error) {
	defer rows.Close()
	d := decoder{sql: s, texts: make(map[string]string)}
	counter = -1
	for more := true; more && rows.Next(); {
		raw := rows.RawValues()
		if len(raw) > columns && counter < 0 {
			if counter, err = l.counterOf(raw[columns], rows.FieldDescriptions()[columns].Format); err != nil {
				return -1, err
			}
		}
		if raw[0] == nil {
			continue
		}
		r, stored, ok := d.decode(rows)
		if !ok {
			return counter, l.damaged("the record at position %d, version %d of %s, cannot be read", r.Position, r.Version, r.Stream)
		}
		r.SetStored(stored)
		more = each(r, stored)
	}
	rows.Close()
	return counter, rows.Err()
}

// counterOf reads the counter in whatever form it came.
func (l *Log) counterOf(raw []byte, format int16) (events.Position, error) {
	if format == pgx.BinaryFormatCode && len(raw) == 8 {
		return events.Position(binary.BigEndian.Uint64(raw)), nil
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return -1, l.damaged("the counter cannot be read: %v", err)
	}
	return events.Position(n), nil
}

// decoder makes records of rows. It reads the bytes as they came, which is twice as fast as
// to have the driver find out for every row anew what is to become of each column.
type decoder struct {
	sql    *statements       // by which the rows were read
	texts  map[string]string // texts that many records share, once each
	binary bool              // the columns that come in two forms came in the short one
	asked  bool
}

// maxTexts bounds how many texts one page remembers.
const maxTexts = 1 << 12

// decode returns the record in a row, and the hash that is stored with it. When one of the
// two hashes in the row is none, the stored hash is zero, which no record has: whoever folds
// the stream refuses the record, and readers of other streams go on.
func (d *decoder) decode(rows pgx.Rows) (r events.Recorded, stored events.Hash, ok bool) {
	if !d.asked {
		d.asked, d.binary = true, isBinary(rows.FieldDescriptions())
	}
	if !d.binary {
		return d.decodeAny(rows)
	}
	raw := rows.RawValues()
	for i, size := range [...]int{0: 8, 2: 8, 3: 16, 5: 8} {
		if size > 0 && len(raw[i]) != size {
			return r, stored, false
		}
	}
	r.Position = events.Position(binary.BigEndian.Uint64(raw[0]))
	r.Stream = events.StreamID(d.text(raw[1]))
	r.Version = events.Version(binary.BigEndian.Uint64(raw[2]))
	r.ID = [16]byte(raw[3])
	r.Type = d.text(raw[4])
	r.Time = time.UnixMicro(epoch + int64(binary.BigEndian.Uint64(raw[5]))).UTC()
	r.Actor, r.Correlation, r.Reason = d.text(raw[6]), string(raw[7]), string(raw[9])
	if len(raw[8]) == len(r.Causation) {
		r.Causation = [16]byte(raw[8])
	}
	stored = link(&r, raw[10], raw[11])
	r.Data = bytes.Clone(raw[12])
	return r, stored, true
}

// link sets the hash of the record before r and returns that of r, zero when one of them
// has another length.
func link(r *events.Recorded, previous, hash []byte) events.Hash {
	r.Previous = toHash(previous)
	if len(previous) != len(r.Previous) {
		return events.Hash{}
	}
	return toHash(hash)
}

// toHash returns the hash in a column, zero when the value is none.
func toHash(value []byte) (h events.Hash) {
	if len(value) == len(h) {
		copy(h[:], value)
	}
	return h
}

// epoch is the beginning of 2000, from which PostgreSQL counts, in microseconds since 1970.
const epoch = 946_684_800_000_000

func (d *decoder) text(b []byte) string {
	if s, ok := d.texts[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(d.texts) < maxTexts {
		d.texts[s] = s
	}
	return s
}

// isBinary tells of rows of recordFields whether numbers, IDs, times and hashes came as
// bytes, and not as text. Texts look the same both ways.
func isBinary(fields []pgconn.FieldDescription) bool {
	for _, i := range []int{0, 2, 3, 5, 8, 10, 11} {
		if fields[i].Format != pgx.BinaryFormatCode {
			return false
		}
	}
	return true
}

// decodeAny reads a row in whatever form it came. A time that is infinite, which the log
// does not write, is read as zero.
func (d *decoder) decodeAny(rows pgx.Rows) (r events.Recorded, stored events.Hash, ok bool) {
	var id, causation pgtype.UUID
	var at pgtype.Timestamptz
	var micros pgtype.Int8
	var previous, hash []byte
	into := []any{(*int64)(&r.Position), (*string)(&r.Stream), (*int64)(&r.Version), &id, &r.Type, &at, &r.Actor,
		&r.Correlation, &causation, &r.Reason, &previous, &hash, &r.Data}
	if d.sql.texts {
		into[5] = &micros
	}
	for len(into) < len(rows.FieldDescriptions()) {
		into = append(into, nil)
	}
	err := rows.Scan(into...)
	if micros.Valid {
		at.Time = time.UnixMicro(micros.Int64)
	}
	r.ID, r.Causation, r.Time = id.Bytes, causation.Bytes, at.Time.UTC()
	return r, link(&r, d.sql.octets(previous), d.sql.octets(hash)), err == nil
}
