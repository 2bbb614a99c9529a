package pglog

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// schemaVersion is the layout below. A schema with a higher one is refused.
const schemaVersion = 1

// application says in the table layout whose the schema is.
const application = "oatmill log"

// creation are the statements that lay a schema out; %s is its quoted name.
//
// The name of the stream stands in every record. It could be a number, with a join for
// each page that is read; the name costs some twenty bytes and makes the table one that
// people and other programs can read without knowing anything. data is text, not
// json or jsonb, because what was appended has to come back byte for byte, whatever the
// server makes of deep nesting or of \u0000. A cast makes it JSON.
//
// There is no row for a stream that notes where it ends. Each append would have to change
// one, which made a group of 32 appends to 32 streams half as expensive again. The
// end of a stream is its last record, found through the index over streams and versions;
// with its hash noted in it, a change to that record shows like one to any other.
//
// The row of the counter is updated all the time. The free space on its page lets
// PostgreSQL do that in place.
func creation() []string {
	return []string{
		`CREATE TABLE %s.layout (application text NOT NULL, version integer NOT NULL)`,
		`CREATE TABLE %s.counter (
  one boolean PRIMARY KEY CHECK (one),
  position bigint NOT NULL -- of the last record
) WITH (fillfactor = 10)`,
		`CREATE TABLE %s.records (
  position bigint PRIMARY KEY,
  stream text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  id uuid NOT NULL UNIQUE, -- the bytes of the ULID
  type text NOT NULL,
  time timestamptz NOT NULL,
  actor text NOT NULL,
  correlation text NOT NULL,
  causation uuid,
  reason text NOT NULL,
  previous bytea NOT NULL, -- hash of the record before this one in the stream
  hash bytea NOT NULL, -- of this record
  data text NOT NULL, -- JSON
  UNIQUE (stream, version)
)`,
		`CREATE TABLE %s.snapshots (
  name text COLLATE "C" PRIMARY KEY, -- of the stream
  version bigint NOT NULL,
  hash bytea NOT NULL,
  format text NOT NULL,
  data bytea NOT NULL
)`,
		`ALTER TABLE %s.snapshots ALTER COLUMN data SET STORAGE EXTERNAL`,
		`CREATE TABLE %s.checkpoints (
  name text COLLATE "C" PRIMARY KEY,
  position bigint NOT NULL
)`,
		`CREATE VIEW %s.log AS SELECT position, stream, version, time, type, actor, data::json AS data,
  nullif(reason, '') AS reason, id, nullif(correlation, '') AS correlation, causation FROM %[1]s.records`,
		`INSERT INTO %s.counter VALUES (true, 0)`,
	}
}

// guards are the statements that put the triggers in place. They are sent again when one
// is missing.
func guards() []string {
	statements := []string{`CREATE OR REPLACE FUNCTION %s.refuse() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN RAISE EXCEPTION '% of %.% is not allowed: the log is append-only', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME; END$$`}
	for _, g := range guarded() {
		statements = append(statements,
			fmt.Sprintf(`DROP TRIGGER IF EXISTS %s ON %%s.%s`, g.name, g.table),
			fmt.Sprintf(`CREATE TRIGGER %s BEFORE %s ON %%s.%s FOR EACH STATEMENT EXECUTE FUNCTION %%[1]s.refuse()`, g.name, g.event, g.table))
	}
	return statements
}

type guard struct{ name, table, event string }

func guarded() []guard {
	return []guard{
		{"records_append_only", "records", "UPDATE OR DELETE OR TRUNCATE"},
		{"counter_never_deleted", "counter", "DELETE OR TRUNCATE"},
	}
}

// within puts the quoted name of the schema into a statement.
func within(schema, statement string) string {
	quoted := pgx.Identifier{schema}.Sanitize()
	return strings.ReplaceAll(strings.ReplaceAll(statement, "%[1]s", quoted), "%s", quoted)
}

// statements are those that are sent again and again. Types and functions are named with
// their schema, because a session may look for names elsewhere first.
type statements struct {
	texts bool // for connections on which results come as texts, see octets

	lock, heads, byID, insert      string
	allAfter, streamAfter          string // without the number of records and pageEnd
	head                           string
	saveSnapshot, loadSnapshot     string
	saveCheckpoint, loadCheckpoint string
	notify, listen                 string
	strays, counter, whole         string
}

// readOctets returns a statement whose columns in braces hold bytes. Where results are texts,
// they are read in hexadecimal: how the server prints bytes otherwise depends on the session.
func readOctets(statement string, texts bool) string {
	if texts {
		return strings.NewReplacer("{", "pg_catalog.encode(", "}", ", 'hex')").Replace(statement)
	}
	return strings.NewReplacer("{", "", "}", "").Replace(statement)
}

// octets returns the bytes of a column in braces, nil if it cannot be read.
func (s *statements) octets(column []byte) []byte {
	if !s.texts {
		return column
	}
	b, err := hex.DecodeString(string(column))
	if err != nil {
		return nil
	}
	return b
}

func newStatements(schema string, texts bool) *statements {
	in := func(statement string) string { return within(schema, readOctets(statement, texts)) }
	recordFields := recordFields
	if texts {
		recordFields = recordTexts
	}
	return &statements{
		texts: texts,
		lock:  in(`SELECT position FROM %s.counter FOR UPDATE`),
		// The log is what stands at positions from 1 to the counter. Each statement reads the
		// counter itself, so that both are of one moment.
		heads: in(`SELECT c.position, {l.hash}, h.stream, h.version, {h.hash} FROM ` + oneCounter + ` AS c
LEFT JOIN LATERAL (SELECT hash FROM %s.records WHERE position = c.position LIMIT 1) AS l ON true LEFT JOIN LATERAL (
  SELECT r.* FROM pg_catalog.unnest($1::pg_catalog.text[]) AS s (name) CROSS JOIN LATERAL
    (SELECT r.stream, r.version, r.hash FROM %s.records AS r WHERE r.stream = s.name AND ` + inLog + `
    ORDER BY r.version DESC LIMIT 1) AS r) AS h ON true`),
		byID:   in(`SELECT ` + recordFields + ` FROM ` + oneCounter + ` AS c, %s.records AS r WHERE r.id = ANY ($1::pg_catalog.uuid[]) AND ` + inLog),
		insert: in(insertion),
		// There is always a row for the counter, also where there is no record. A page is joined
		// with that one row, which leaves it in its order; allAfter and the chain of a stream
		// would show another one.
		allAfter: in(`SELECT ` + recordFields + `, c.position FROM ` + oneCounter + ` AS c LEFT JOIN LATERAL (
  SELECT * FROM %s.records AS r WHERE r.position > $1 AND ` + inLog + ` ORDER BY r.position LIMIT `),
		streamAfter: in(`SELECT ` + recordFields + `, c.position FROM ` + oneCounter + ` AS c LEFT JOIN LATERAL (
  SELECT * FROM %s.records AS r WHERE r.stream = $1 AND r.version > $2 AND ` + inLog + ` ORDER BY r.stream, r.version LIMIT `),
		head: in(`SELECT r.version, {r.hash} FROM ` + oneCounter + ` AS c LEFT JOIN LATERAL (SELECT r.version, r.hash FROM %s.records AS r
  WHERE r.stream = $1 AND ` + inLog + ` ORDER BY r.version DESC LIMIT 1) AS r ON true`),
		saveSnapshot: in(`INSERT INTO %s.snapshots (name, version, hash, format, data) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (name) DO UPDATE SET version = excluded.version, hash = excluded.hash, format = excluded.format, data = excluded.data`),
		loadSnapshot: in(`SELECT version, {hash}, format, {data} FROM %s.snapshots WHERE name = $1`),
		saveCheckpoint: in(`INSERT INTO %s.checkpoints AS c (name, position) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET position = excluded.position WHERE excluded.position > c.position`),
		loadCheckpoint: in(`SELECT position FROM %s.checkpoints WHERE name = $1`),
		notify:         `SELECT pg_catalog.pg_notify($1, $2)`,
		listen:         in(`LISTEN %s`),
		// Rows that are not part of the log, and in the way of an append.
		strays: in(`SELECT r.position, r.stream, r.version, r.id FROM ` + oneCounter + ` AS c, %s.records AS r
WHERE (r.position < 1 OR r.position > c.position) AND (r.position <= c.position + $1 OR r.stream = ANY ($2::pg_catalog.text[]) OR r.id = ANY ($3::pg_catalog.uuid[]))
ORDER BY r.position LIMIT 1000`),
		counter: in(`SELECT position FROM %s.counter`),
		whole:   in(`SELECT ` + recordFields + ` FROM %s.records AS r ORDER BY position`),
	}
}

// inLog is the condition that the row r is part of the log, with the counter c. The planner
// expects a comparison with <> to hold for nearly all rows, as this one does. Of BETWEEN alone
// it expects few rows, and fetches a whole stream to sort them.
const inLog = `CASE WHEN r.position BETWEEN 1 AND c.position THEN 1 ELSE 0 END <> 0`

// oneCounter is the counter. LIMIT says that it has one row. Of a table that was never analyzed
// the planner expects 2,000, and takes so much for expensive that it compiles the statement
// (JIT), which takes a tenth of a second.
const oneCounter = `(SELECT position FROM %s.counter LIMIT 1)`

// pageEnd is what follows the number of records in a statement that reads a page.
const pageEnd = `) AS r ON true`

// insertion adds records and moves the counter. It does nothing when the counter is not at
// $1, or when the record there has another hash than $15: after a failover that lost the
// end of the log, others may have brought the counter to the same number with records of
// theirs. It yields a row when it has added.
const insertion = `WITH moved AS (
  UPDATE %s.counter SET position = position + $2
  WHERE position = $1 AND (SELECT hash FROM %s.records WHERE position = $1) IS NOT DISTINCT FROM $15::pg_catalog.bytea
  RETURNING position
), added AS (
  INSERT INTO %s.records (position, stream, version, id, type, time, actor, correlation, causation, reason, previous, hash, data)
  SELECT $1 + r.n, r.stream, r.version, r.id, r.type, r.time, r.actor, coalesce(r.correlation, ''), nullif(r.causation, '00000000-0000-0000-0000-000000000000'), coalesce(r.reason, ''), r.previous, r.hash, r.data
  FROM moved, ROWS FROM (
    pg_catalog.unnest($3::pg_catalog.text[]), pg_catalog.unnest($4::bigint[]), pg_catalog.unnest($5::pg_catalog.uuid[]),
    pg_catalog.unnest($6::pg_catalog.text[]), pg_catalog.unnest($7::pg_catalog.timestamptz[]), pg_catalog.unnest($8::pg_catalog.text[]),
    pg_catalog.unnest($9::pg_catalog.text[]), pg_catalog.unnest($10::pg_catalog.uuid[]), pg_catalog.unnest($11::pg_catalog.text[]),
    pg_catalog.unnest($12::pg_catalog.bytea[]), pg_catalog.unnest($13::pg_catalog.bytea[]), pg_catalog.unnest($14::pg_catalog.text[]))
    WITH ORDINALITY AS r (stream, version, id, type, time, actor, correlation, causation, reason, previous, hash, data, n)
)
SELECT position FROM moved`
