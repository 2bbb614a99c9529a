package sqlitelog

import (
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/oatmill/oatmill/events"
)

// recordColumns are the columns of a record, in order. What is optional and empty is
// NULL, which costs a byte in the file and nothing when it is read.
const recordColumns = "position, stream, version, id, type, time, actor, correlation, causation, reason, previous, data"

// columns is how many there are.
const columns = 12

// bindRecord binds the values of a record's columns, from a parameter on.
func (s *stmt) bindRecord(first int, stream int64, r *events.Recorded) {
	var id [26]byte
	_ = r.ID.MarshalTextTo(id[:]) // the buffer is as long as an ID
	s.bind(first, int64(r.Position), stream, int64(r.Version), text(id[:]), r.Type, r.Time.UnixMicro(), r.Actor)
	s.bindOptional(first+7, r.Correlation)
	if r.Causation == (events.Envelope{}).Causation {
		s.bind(first+8, nil)
	} else {
		s.bind(first+8, r.Causation.String())
	}
	s.bindOptional(first+9, r.Reason)
	s.bind(first+10, r.Previous[:], text(r.Data))
}

func (s *stmt) bindOptional(parameter int, value string) {
	if value == "" {
		s.bind(parameter, nil)
	} else {
		s.bind(parameter, value)
	}
}

// recordFields are recordColumns where other tables are read as well.
const recordFields = "position, stream, version, records.id, records.type, time, actor, correlation, causation, reason, previous, data"

// recordOf reads a row of recordFields.
func recordOf(row *stmt, name events.StreamID) (r events.Recorded, err error) {
	r.Stream, r.Position, r.Version = name, events.Position(row.integer(0)), events.Version(row.integer(2))
	sound := r.ID.UnmarshalText(row.bytes(3, sqlite3.SQLITE_TEXT)) == nil
	r.Type, r.Time, r.Actor = row.text(4), time.UnixMicro(row.integer(5)).UTC(), row.text(6)
	r.Correlation, r.Reason = row.optional(7), row.optional(9)
	if !row.isNull(8) {
		sound = r.Causation.UnmarshalText(row.bytes(8, sqlite3.SQLITE_TEXT)) == nil && sound
	}
	previous, fits := hashOf(row, 10)
	r.Previous = previous
	r.Data = append([]byte(nil), row.bytes(11, sqlite3.SQLITE_TEXT)...)
	if row.wasOdd() || !sound || !fits {
		return events.Recorded{}, damaged(row.conn.file, "the record at position %d cannot be read", r.Position)
	}
	return r, nil
}

// streamFields are the columns of a stream.
const streamFields = "stream, version, hash, tail"

// streamOf reads a row of streamFields.
func streamOf(row *stmt, name events.StreamID) (key int64, head events.Head, tail string, err error) {
	hash, fits := hashOf(row, 2)
	key, head, tail = row.integer(0), events.Head{Version: events.Version(row.integer(1)), Hash: hash}, row.text(3)
	if row.wasOdd() || !fits {
		return 0, events.Head{}, "", damaged(row.conn.file, "the head of %s cannot be read", name)
	}
	return key, head, tail, nil
}

func hashOf(row *stmt, column int) (h events.Hash, fits bool) {
	value := row.bytes(column, sqlite3.SQLITE_BLOB)
	return h, copy(h[:], value) == len(h) && len(value) == len(h)
}
