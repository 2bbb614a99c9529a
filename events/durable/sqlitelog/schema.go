package sqlitelog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oatmill/oatmill/events"
)

const (
	// applicationID says in the header of the file whose it is: "oatm".
	applicationID = 0x6f61746d
	// schemaVersion is the layout below. A file with a higher one is refused. Layout 1 is
	// this one without distances in its lists of places.
	schemaVersion = 2
)

// object is a table, view or trigger of the schema, and the statement that makes it.
// SQLite keeps the statement as it was given, so that a file can be compared with it.
type object struct{ kind, name, sql string }

// schema is laid out for few changed pages per append, because each one is written
// twice, to the WAL and to the file. An index over (stream, version) would change a
// page per stream: with 64 streams in one commit that was as expensive as everything
// else together. The place of a stream's records is noted in blocks instead. The
// newest are in the tail, in the row of the stream, which an append changes anyway
// to note the head; 32 of them at a time move to a row of their own.
//
// The road not taken is a link from each record to the one before it. It costs even
// less, and makes reading a stream forwards a walk backwards first.
func schema() []object {
	return []object{
		{"table", "streams", `CREATE TABLE streams (
  stream INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  version INTEGER NOT NULL, -- of the last record
  hash BLOB NOT NULL, -- of the last record
  tail TEXT NOT NULL -- positions of the records behind the last full block
) STRICT`},
		{"table", "blocks", `CREATE TABLE blocks (
  stream INTEGER NOT NULL REFERENCES streams (stream),
  block INTEGER NOT NULL, -- 0 has the versions 1 to 32, 1 has 33 to 64
  positions TEXT NOT NULL,
  PRIMARY KEY (stream, block)
) STRICT, WITHOUT ROWID`},
		{"table", "records", `CREATE TABLE records (
  position INTEGER PRIMARY KEY,
  stream INTEGER NOT NULL REFERENCES streams (stream),
  version INTEGER NOT NULL,
  id TEXT NOT NULL UNIQUE, -- ULID
  type TEXT NOT NULL,
  time INTEGER NOT NULL, -- microseconds since 1970, UTC
  actor TEXT NOT NULL,
  correlation TEXT,
  causation TEXT, -- ULID
  reason TEXT,
  previous BLOB NOT NULL, -- hash of the record before this one in the stream
  data TEXT NOT NULL -- JSON
) STRICT`},
		{"table", "snapshots", `CREATE TABLE snapshots (
  name TEXT PRIMARY KEY, -- of the stream
  version INTEGER NOT NULL,
  hash BLOB NOT NULL,
  format TEXT NOT NULL,
  data BLOB
) STRICT`},
		{"table", "checkpoints", `CREATE TABLE checkpoints (
  name TEXT PRIMARY KEY,
  position INTEGER NOT NULL
) STRICT, WITHOUT ROWID`},
		{"view", "log", `CREATE VIEW log AS
SELECT position, name AS stream, records.version,
  strftime('%Y-%m-%dT%H:%M:%S', (time - (time % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
    || printf('.%06dZ', (time % 1000000 + 1000000) % 1000000) AS time,
  type, actor, data, reason, id, correlation, causation, lower(hex(previous)) AS previous
FROM records JOIN streams USING (stream)`},
		guard("records", "UPDATE", "a record is never changed"),
		guard("records", "DELETE", "a record is never deleted"),
		guard("blocks", "UPDATE", "a block is never changed"),
		guard("blocks", "DELETE", "a block is never deleted"),
		guard("streams", "UPDATE OF stream, name", "a stream is never renamed"),
		guard("streams", "DELETE", "a stream is never deleted"),
	}
}

// guard is a trigger that refuses what must not happen to a table.
func guard(table, event, why string) object {
	name := table + "_no_" + map[bool]string{true: "delete", false: "update"}[event == "DELETE"]
	return object{"trigger", name, fmt.Sprintf(
		"CREATE TRIGGER %s BEFORE %s ON %s BEGIN SELECT raise(ABORT, '%s'); END", name, event, table, why)}
}

// prepareFile makes the file a log if it is empty, and checks that it is one of ours
// otherwise. Nothing is written to a file that is not.
func (c *conn) prepareFile(ctx context.Context, cfg Config) error {
	layout, err := c.identify(ctx)
	if err != nil {
		return err
	}
	if c.db.isReadOnly() {
		return fmt.Errorf("%w: %s or its file system cannot be written", events.ErrReadOnly, c.file)
	}
	if err := c.useWAL(ctx); err != nil {
		return err
	}
	if layout > 0 {
		err = c.inspect(ctx, cfg)
	}
	if err != nil || layout == schemaVersion {
		return err
	}
	return c.create(ctx)
}

// identify tells the layout of the file, 0 when it is empty, and refuses it when it is
// neither that nor a log in a layout we know. It asks everything at once, so that it sees
// another process's laying out of the file as a whole or not at all.
func (c *conn) identify(ctx context.Context) (layout int64, err error) {
	const query = `SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema), encoding
FROM pragma_application_id, pragma_user_version, pragma_encoding`
	var id, version, objects int64
	var encoding string
	if err := c.ask(ctx, query, func(row *stmt) error {
		id, version, objects, encoding = row.integer(0), row.integer(1), row.integer(2), row.text(3)
		return nil
	}); err != nil {
		return 0, err
	}
	switch {
	case encoding != "UTF-8":
		return 0, damaged(c.file, "its text is encoded in %s, and not in UTF-8", encoding)
	case id == 0 && version == 0 && objects == 0:
		return 0, nil
	case id != applicationID:
		return 0, damaged(c.file, "a SQLite database of another application (application_id %#x, %d tables and the like)", id, objects)
	case version > schemaVersion:
		return 0, fmt.Errorf("%w: %s has layout %d, this one knows up to %d", events.ErrNewer, c.file, version, schemaVersion)
	case version < 1:
		return 0, damaged(c.file, "layout %d never existed", version)
	}
	return version, nil
}

// useWAL turns the write-ahead log on, which the file then remembers.
func (c *conn) useWAL(ctx context.Context) error {
	return c.ask(ctx, "PRAGMA journal_mode = WAL", func(row *stmt) error {
		if mode := row.text(0); mode != "wal" {
			return fmt.Errorf("%s: the file system cannot hold a write-ahead log (journal mode stays %s)", c.file, mode)
		}
		return nil
	})
}

// create lays the file out, or brings it to our layout, unless another process did so
// first. That process may be one with an older layout.
func (c *conn) create(ctx context.Context) error {
	if err := c.ask(ctx, "BEGIN IMMEDIATE", nil); err != nil {
		return err
	}
	if err := c.layOut(ctx); err != nil {
		return errors.Join(err, c.run("ROLLBACK"))
	}
	return c.run("COMMIT")
}

func (c *conn) layOut(ctx context.Context) error {
	layout, err := c.identify(ctx)
	if err != nil || layout == schemaVersion {
		return err
	}
	if layout == 0 {
		for _, o := range schema() {
			if err := c.run(o.sql); err != nil {
				return err
			}
		}
	}
	// The version has programs that know only older layouts refuse the file.
	return c.run(fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, schemaVersion))
}

// inspect compares the schema of the file with ours, statement by statement. Tables
// that differ cannot be worked with. Guards that are gone are put back: what was
// done while they were gone is for the hash chain to show, and for that the file
// must be opened. What a host added of its own is left alone.
func (c *conn) inspect(ctx context.Context, cfg Config) error {
	found, err := c.objects(ctx)
	if err != nil {
		return err
	}
	for _, o := range schema() {
		sql, ok := found[o.name]
		switch {
		case ok && sql == o.sql:
		case o.kind == "trigger":
			cfg.Logger.Warn("a guard was missing or changed, and is put back", "file", c.file, "trigger", o.name)
			if err := c.run("DROP TRIGGER IF EXISTS " + o.name + "; " + o.sql); err != nil {
				return err
			}
		case !ok:
			return damaged(c.file, "the %s %s is missing", o.kind, o.name)
		default:
			return damaged(c.file, "the %s %s is not as this library made it", o.kind, o.name)
		}
	}
	return nil
}

func (c *conn) objects(ctx context.Context) (map[string]string, error) {
	found := make(map[string]string)
	err := c.ask(ctx, "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL", func(row *stmt) error {
		found[row.text(0)] = row.text(1)
		return nil
	})
	return found, err
}

// pause waits, or returns the error of a context that ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// blockSize is the number of versions in a block.
const blockSize = 32

// blockOf is the block in which the record of a version stands, or will stand.
func blockOf(v events.Version) int64 { return int64(v-1) / blockSize }
