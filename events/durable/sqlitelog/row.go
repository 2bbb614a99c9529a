package sqlitelog

import (
	"context"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/oatmill/oatmill/events"
)

// recordColumns are the columns of a record, in order. What is optional and empty is
// NULL, which costs a byte in the file and nothing when it is read.
const recordColumns = "position, stream, version, id, type, time, actor, correlation, causation, reason, previous, hash, data"

// columns is how many there are.
const columns = 13

// bindRecord binds the values of a record's columns, from a parameter on.
func (s *stmt) bindRecord(first int, r *addedRecord) {
	var id [26]byte
	_ = r.ID.MarshalTextTo(id[:]) // the buffer is as long as an ID
	s.bind(first, int64(r.Position), string(r.Stream), int64(r.Version), text(id[:]), r.Type, r.Time.UnixMicro(), r.Actor)
	s.bindOptional(first+7, r.Correlation)
	if r.Causation == (events.Envelope{}).Causation {
		s.bind(first+8, nil)
	} else {
		s.bind(first+8, r.Causation.String())
	}
	s.bindOptional(first+9, r.Reason)
	s.bind(first+10, r.Previous[:], r.hash[:], text(r.Data))
}

func (s *stmt) bindOptional(parameter int, value string) {
	if value == "" {
		s.bind(parameter, nil)
	} else {
		s.bind(parameter, value)
	}
}

// recordFields are recordColumns of records AS r, where the counter is read as well.
const recordFields = "r.position, r.stream, r.version, r.id, r.type, r.time, r.actor, r.correlation, r.causation, r.reason, r.previous, r.hash, r.data"

// recordOf reads a row of recordFields or recordColumns, and returns the record with the
// hash that is stored with it. Where a value cannot be read, the stored hash is zero, which
// no record has: whoever folds the stream refuses the record, and readers of other streams
// go on.
func recordOf(row *stmt) (r events.Recorded, stored events.Hash) {
	r.Position, r.Stream, r.Version = events.Position(row.integer(0)), events.StreamID(row.text(1)), events.Version(row.integer(2))
	sound := r.ID.UnmarshalText(row.bytes(3, sqlite3.SQLITE_TEXT)) == nil
	r.Type, r.Time, r.Actor = row.text(4), time.UnixMicro(row.integer(5)).UTC(), row.text(6)
	r.Correlation, r.Reason = row.optional(7), row.optional(9)
	if !row.isNull(8) {
		sound = r.Causation.UnmarshalText(row.bytes(8, sqlite3.SQLITE_TEXT)) == nil && sound
	}
	var fits bool
	r.Previous, fits = hashOf(row, 10)
	stored, kept := hashOf(row, 11)
	r.Data = append([]byte(nil), row.bytes(12, sqlite3.SQLITE_TEXT)...)
	if odd := row.wasOdd(); odd || !sound || !fits || !kept {
		stored = events.Hash{}
	}
	r.SetStored(stored)
	return r, stored
}

// hashOf returns the hash in a column, which is zero where the value is no hash.
func hashOf(row *stmt, column int) (h events.Hash, fits bool) {
	value := row.bytes(column, sqlite3.SQLITE_BLOB)
	if len(value) != len(h) {
		return h, false
	}
	copy(h[:], value)
	return h, true
}

// counterOf returns the counter, which a query yields in a column of its one row. The
// counter is what says where the log ends, so that a file without it cannot be read.
func counterOf(ctx context.Context, s *stmt) (events.Position, error) {
	end := events.Position(-1)
	err := s.query(ctx, func(row *stmt) error {
		end = events.Position(row.integer(0))
		return errEnough
	})
	if err == nil && end < 0 {
		err = noCounter(s.conn.file)
	}
	return end, err
}

func noCounter(file string) error { return damaged(file, "the counter is missing") }
