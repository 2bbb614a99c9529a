package sqlitelog

import (
	"context"
	"errors"
	"fmt"

	"github.com/oatmill/oatmill/events"
	"time"
)

const (
	// applicationID stands in the header of the file and says whose it is: "oatm".
	applicationID = 0x6f61746d
	// schemaVersion is the layout below. A file with another one is refused.
	schemaVersion = 3
)

// object is a table, view or trigger of the schema, and the statement that makes it.
// SQLite keeps the statement as it was given, so that a file can be compared with it.
type object struct{ kind, name, sql string }

// schema returns the layout. It is as plain as that of package pglog: a record is one row,
// and the end of a stream is its last record, found through the index over streams and
// versions. The index costs a changed page for each stream in a commit. In return two
// records of one version cannot exist, and no second place can contradict the records.
//
// The counter says where the log ends. A row beyond it was not appended by this library and
// is not part of the log.
func schema() []object {
	return []object{
		{"table", "counter", `CREATE TABLE counter (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  position INTEGER NOT NULL -- of the last record
) STRICT`},
		{"table", "records", `CREATE TABLE records (
  position INTEGER PRIMARY KEY CHECK (position > 0),
  stream TEXT NOT NULL,
  version INTEGER NOT NULL,
  id TEXT NOT NULL UNIQUE, -- ULID
  type TEXT NOT NULL,
  time INTEGER NOT NULL, -- microseconds since 1970, UTC
  actor TEXT NOT NULL,
  correlation TEXT,
  causation TEXT, -- ULID
  reason TEXT,
  previous BLOB NOT NULL, -- hash of the record before this one in the stream
  hash BLOB NOT NULL, -- of this record
  data TEXT NOT NULL, -- JSON
  UNIQUE (stream, version)
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
SELECT position, stream, version,
  strftime('%Y-%m-%dT%H:%M:%S', (time - (time % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
    || printf('.%06dZ', (time % 1000000 + 1000000) % 1000000) AS time,
  type, actor, data, reason, id, correlation, causation, lower(hex(previous)) AS previous, lower(hex(hash)) AS hash
FROM records WHERE position <= (SELECT position FROM counter)`},
		guard("records", "update", "UPDATE ON records", "a record is never changed"),
		guard("records", "delete", "DELETE ON records", "a record is never deleted"),
		guard("counter", "update", "UPDATE ON counter WHEN NEW.position < OLD.position", "the counter is never lowered"),
		guard("counter", "delete", "DELETE ON counter", "the counter is never deleted"),
		guard("counter", "insert", "INSERT ON counter WHEN EXISTS (SELECT 1 FROM counter)", "there is one counter"),
	}
}

// guard returns a trigger that refuses what must not happen to a table.
func guard(table, what, event, why string) object {
	name := table + "_no_" + what
	return object{"trigger", name, fmt.Sprintf("CREATE TRIGGER %s BEFORE %s BEGIN SELECT raise(ABORT, '%s'); END", name, event, why)}
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
	if layout == schemaVersion {
		return c.inspect(ctx, cfg)
	}
	return c.create(ctx)
}

// identify returns the layout of the file, which is 0 when the file is empty, and refuses
// every other file that is not a log in our layout. It asks everything at once, so that it
// sees another process's laying out of the file as a whole or not at all.
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
		return 0, fmt.Errorf("%w: %s has layout %d, this one knows %d", events.ErrNewer, c.file, version, schemaVersion)
	case version < 1:
		return 0, damaged(c.file, "layout %d never existed", version)
	case version < schemaVersion:
		return 0, damaged(c.file, "has layout %d, which no release wrote; this version has layout %d. "+
			"The comment of package sqlitelog has the SQL that copies its records to a new file", version, schemaVersion)
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

// create lays the file out, unless another process did so first.
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
	for _, o := range schema() {
		if err := c.run(o.sql); err != nil {
			return err
		}
	}
	return c.run(fmt.Sprintf("INSERT INTO counter VALUES (1, 0); PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, schemaVersion))
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
