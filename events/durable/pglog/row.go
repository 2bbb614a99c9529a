package pglog

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/oatmill/oatmill/events"
)

// recordFields are the columns that scan reads, in order.
const recordFields = "position, stream, version, id, type, time, actor, correlation, causation, reason, previous, data"

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
		causations[i] = pgtype.UUID{Bytes: r.Causation, Valid: r.Causation != (events.Envelope{}).Causation}
		previous[i], hashes[i], data[i] = r.Previous[:], p.hashes[i][:], string(r.Data)
	}
	return []any{
		int64(p.end.position), int64(n),
		streams, versions, pgtype.FlatArray[pgtype.UUID](ids), types, times, actors, trimmed(correlations),
		pgtype.FlatArray[pgtype.UUID](trimmed(causations)), trimmed(reasons), previous, hashes, data,
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

// scan reads rows of recordFields to their end, or until each has enough.
func (l *Log) scan(rows pgx.Rows, each func(events.Recorded) (more bool)) error {
	defer rows.Close()
	d := decoder{texts: make(map[string]string)}
	for more := true; more && rows.Next(); {
		r, ok := d.decode(rows)
		if !ok {
			return l.damaged("the record at position %d cannot be read", r.Position)
		}
		more = each(r)
	}
	rows.Close()
	return rows.Err()
}

// decoder makes records of rows. It reads the bytes as they came, which is twice as fast as
// to have the driver find out for every row anew what is to become of each column.
type decoder struct {
	texts  map[string]string // texts that many records share, once each
	binary bool              // the columns that come in two forms came in the short one
	asked  bool
}

// maxTexts bounds how many texts one page remembers.
const maxTexts = 1 << 12

func (d *decoder) decode(rows pgx.Rows) (r events.Recorded, ok bool) {
	if !d.asked {
		d.asked, d.binary = true, isBinary(rows.FieldDescriptions())
	}
	if !d.binary {
		return decodeAny(rows)
	}
	raw := rows.RawValues()
	for i, size := range [...]int{0: 8, 2: 8, 3: 16, 5: 8, 10: len(events.Hash{})} {
		if size > 0 && len(raw[i]) != size {
			return r, false
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
	copy(r.Previous[:], raw[10])
	r.Data = bytes.Clone(raw[11])
	return r, true
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
	for _, i := range []int{0, 2, 3, 5, 8, 10} {
		if fields[i].Format != pgx.BinaryFormatCode {
			return false
		}
	}
	return true
}

// decodeAny reads a row in whatever form it came.
func decodeAny(rows pgx.Rows) (r events.Recorded, ok bool) {
	var id, causation pgtype.UUID
	var previous []byte
	err := rows.Scan((*int64)(&r.Position), (*string)(&r.Stream), (*int64)(&r.Version), &id, &r.Type, &r.Time, &r.Actor,
		&r.Correlation, &causation, &r.Reason, &previous, &r.Data)
	r.ID, r.Causation, r.Time = id.Bytes, causation.Bytes, r.Time.UTC()
	return r, err == nil && copy(r.Previous[:], previous) == len(r.Previous)
}
