package sqlitelog

import (
	"database/sql/driver"
	"time"

	"github.com/oatmill/oatmill/events"
)

// recordColumns are the columns of a row, in order.
const recordColumns = "position, stream, version, id, type, time, actor, correlation, causation, reason, previous, data"

// row is an event as it is stored. What is optional and empty is NULL, which costs a
// byte in the file and nothing when it is read.
type row []driver.Value

// rowsOf are the rows of a batch as far as its writer knows them. The rest is filled in
// by place. They are made by the goroutine that appends, because the one that commits
// is what many of those wait for.
func rowsOf(batch []events.Envelope) []row {
	rows := make([]row, len(batch))
	for i := range batch {
		e := &batch[i]
		var causation driver.Value
		if e.Causation != (events.Envelope{}).Causation {
			causation = e.Causation.String()
		}
		rows[i] = row{
			nil, nil, nil, e.ID.String(), e.Type, e.Time.UnixMicro(), e.Actor,
			optional(e.Correlation), causation, optional(e.Reason), nil, string(e.Data),
		}
	}
	return rows
}

func (w row) place(stream int64, r *events.Recorded) {
	w[0], w[1], w[2], w[10] = int64(r.Position), stream, int64(r.Version), r.Previous[:]
}

func optional(s string) driver.Value {
	if s == "" {
		return nil
	}
	return s
}

// recordFields are recordColumns as recordOf reads them. The data comes as bytes, which
// saves a copy of it.
const recordFields = "position, stream, version, records.id, records.type, time, actor, correlation, causation, reason, previous, CAST(data AS BLOB)"

// recordOf reads a row of recordFields.
func recordOf(file string, row []driver.Value, name events.StreamID) (r events.Recorded, err error) {
	position, ok1 := row[0].(int64)
	version, ok2 := row[2].(int64)
	id, ok3 := row[3].(string)
	kind, ok4 := row[4].(string)
	micros, ok5 := row[5].(int64)
	actor, ok6 := row[6].(string)
	data, ok7 := row[11].([]byte)
	r.Stream, r.Version, r.Position = name, events.Version(version), events.Position(position)
	r.Type, r.Time, r.Actor, r.Data = kind, time.UnixMicro(micros).UTC(), actor, data
	r.Correlation, _ = row[7].(string)
	r.Reason, _ = row[9].(string)
	ok8 := r.ID.UnmarshalText([]byte(id)) == nil
	if causation, there := row[8].(string); there {
		ok8 = ok8 && r.Causation.UnmarshalText([]byte(causation)) == nil
	}
	previous, ok9 := hashOf(row[10])
	r.Previous = previous
	if !(ok1 && ok2 && ok3 && ok4 && ok5 && ok6 && ok7 && ok8 && ok9) {
		return events.Recorded{}, damaged(file, "the record at position %v cannot be read", row[0])
	}
	return r, nil
}

// headOf reads the first three columns of a stream: key, version and hash.
func headOf(file string, name events.StreamID, row []driver.Value) (key int64, head events.Head, err error) {
	key, ok1 := row[0].(int64)
	version, ok2 := row[1].(int64)
	hash, ok3 := hashOf(row[2])
	if !(ok1 && ok2 && ok3) {
		return 0, events.Head{}, damaged(file, "the head of %s cannot be read", name)
	}
	return key, events.Head{Version: events.Version(version), Hash: hash}, nil
}

func hashOf(v driver.Value) (h events.Hash, ok bool) {
	b, _ := v.([]byte)
	return h, copy(h[:], b) == len(h) && len(b) == len(h)
}
