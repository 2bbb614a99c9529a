package pglog

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/oatmill/oatmill/events"
)

// prepare makes the schema if there is none, and checks that it is one of ours otherwise.
// Nothing is written to one that is not. Who only finds everything in order needs no
// right to change it.
func (l *Log) prepare(ctx context.Context) error {
	if err := l.server(ctx); err != nil {
		return l.explain(err)
	}
	s, err := l.inspect(ctx, l.pool)
	if err == nil && (s.fresh || s.unguarded) {
		err = l.layOut(ctx)
		if err == nil {
			s, err = l.inspect(ctx, l.pool)
		}
	}
	if err == nil {
		err = s.rights(l)
	}
	if err != nil {
		return l.explain(err)
	}
	return nil
}

// server looks at settings that the log depends on.
func (l *Log) server(ctx context.Context) error {
	var encoding, client, commit, sync string
	var standby, readOnly bool
	err := l.pool.QueryRow(ctx, `SELECT pg_catalog.current_setting('server_encoding'), pg_catalog.current_setting('client_encoding'),
pg_catalog.current_setting('synchronous_commit'), pg_catalog.current_setting('fsync'), pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only')::boolean`).
		Scan(&encoding, &client, &commit, &sync, &standby, &readOnly)
	switch {
	case err != nil:
		return err
	case encoding != "UTF8":
		return fmt.Errorf("the database has encoding %s, and must have UTF8", encoding)
	case client != "UTF8":
		return fmt.Errorf("sessions of the pool have client_encoding %s, and must have UTF8: set it in the address, or RESET it for the user and the database", client)
	case standby || readOnly:
		return fmt.Errorf("%w: a standby, or set to read only", events.ErrReadOnly)
	}
	for setting, value := range map[string]string{"synchronous_commit": commit, "fsync": sync} {
		if value == "off" {
			l.cfg.Logger.Warn("appends are not durable with this setting of the database", "schema", l.cfg.Schema, "setting", setting, "value", value)
		}
	}
	return nil
}

// state is what is found of a schema.
type state struct {
	exists    bool
	fresh     bool // nothing is there
	unguarded bool
	tables    map[string]string // columns and constraints by name
	denied    []string          // rights that are missing
}

// inspect compares the schema with ours. What a host added of its own is left alone.
func (l *Log) inspect(ctx context.Context, q executor) (*state, error) {
	s := &state{tables: make(map[string]string)}
	if err := q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)`, l.cfg.Schema).Scan(&s.exists); err != nil {
		return nil, err
	}
	if err := s.readTables(ctx, q, l.cfg.Schema); err != nil {
		return nil, err
	}
	if len(s.tables) == 0 {
		s.fresh = true
		return s, nil
	}
	if err := s.identify(ctx, q, l); err != nil {
		return nil, err
	}
	for name, want := range layout() {
		switch got, ok := s.tables[name]; {
		case !ok:
			return nil, l.damaged("the table %s is missing", name)
		case got != want:
			return nil, l.damaged("the table %s is not as this library made it: has %s, want %s", name, got, want)
		}
	}
	return s, s.readGuards(ctx, q, l)
}

// readTables describes every table of the schema by its columns, then its keys. It reads the
// catalog and not what PostgreSQL's own functions print, which depends on the session.
func (s *state) readTables(ctx context.Context, q executor, schema string) error {
	rows, err := q.Query(ctx, `SELECT c.relname::pg_catalog.text,
  coalesce((SELECT pg_catalog.string_agg(a.attname || ' ' || CASE WHEN tn.nspname = 'pg_catalog' THEN '' ELSE tn.nspname || '.' END || t.typname
      || CASE WHEN a.atttypmod < 0 THEN '' ELSE '(' || a.atttypmod || ')' END, ', ' ORDER BY a.attnum)
    FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.typnamespace
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '')
  || coalesce((SELECT pg_catalog.string_agg(k.key, '' ORDER BY k.key COLLATE pg_catalog."C") FROM (
    SELECT '; ' || CASE WHEN k.contype = 'p' THEN 'primary key (' ELSE 'unique (' END
      || (SELECT pg_catalog.string_agg(a.attname, ', ' ORDER BY p.place) FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY AS p (attnum, place)
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = p.attnum)
      || ')' || CASE WHEN k.condeferrable THEN ' deferrable' ELSE '' END AS key
    FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u')) AS k), ''),
  CASE WHEN c.relkind IN ('r', 'p') THEN pg_catalog.array_to_string(ARRAY(
    SELECT r FROM pg_catalog.unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS r WHERE NOT pg_catalog.has_table_privilege(c.oid, r)), ',') ELSE '' END
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')`, schema)
	if err != nil {
		return err
	}
	var name, description, denied string
	_, err = pgx.ForEachRow(rows, []any{&name, &description, &denied}, func() error {
		s.tables[name] = description
		for right := range strings.SplitSeq(denied, ",") {
			if strings.Contains(needs(name), right) && right != "" {
				s.denied = append(s.denied, right+" on "+name)
			}
		}
		return nil
	})
	return err
}

// layout describes the tables of the log as readTables does.
func layout() map[string]string {
	return map[string]string{
		"layout":  "application text, version int4",
		"counter": "one bool, position int8; primary key (one)",
		"records": "position int8, stream text, version int8, id uuid, type text, time timestamptz, actor text, " +
			"correlation text, causation uuid, reason text, previous bytea, hash bytea, data text; primary key (position); unique (id); unique (stream, version)",
		"snapshots":   "name text, version int8, hash bytea, format text, data bytea; primary key (name)",
		"checkpoints": "name text, position int8; primary key (name)",
	}
}

// needs are the rights on a table without which the log does not work.
func needs(table string) string {
	return map[string]string{
		"layout": "SELECT", "counter": "SELECT UPDATE", "records": "SELECT INSERT",
		"snapshots": "SELECT INSERT UPDATE", "checkpoints": "SELECT INSERT UPDATE",
	}[table]
}

func (s *state) rights(l *Log) error {
	if len(s.denied) > 0 {
		return fmt.Errorf("%w: schema %q: the database user lacks %s", events.ErrDenied, l.cfg.Schema, strings.Join(s.denied, ", "))
	}
	return nil
}

// identify refuses a schema that is not ours, or not in a layout we know.
func (s *state) identify(ctx context.Context, q executor, l *Log) error {
	if s.tables["layout"] != layout()["layout"] {
		return l.damaged("it has %d tables and the like, and is no log; a log has a schema of its own", len(s.tables))
	}
	var whose string
	var version int
	err := q.QueryRow(ctx, within(l.cfg.Schema, `SELECT application, version FROM %s.layout`)).Scan(&whose, &version)
	switch {
	case err == pgx.ErrNoRows || err == nil && whose != application:
		return l.damaged("the table layout says %q, not %q", whose, application)
	case err != nil:
		return err
	case version > schemaVersion:
		return fmt.Errorf("%w: schema %q has layout %d, this one knows up to %d", events.ErrNewer, l.cfg.Schema, version, schemaVersion)
	case version < 1:
		return l.damaged("layout %d never existed", version)
	}
	return nil
}

// readGuards looks for the triggers that keep the log append-only.
func (s *state) readGuards(ctx context.Context, q executor, l *Log) error {
	var found int
	err := q.QueryRow(ctx, `SELECT pg_catalog.count(*) FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgname::pg_catalog.text || ' ' || c.relname = ANY ($2::pg_catalog.text[])`, l.cfg.Schema, guardNames()).Scan(&found)
	s.unguarded = found < len(guarded())
	return err
}

func guardNames() (names []string) {
	for _, g := range guarded() {
		names = append(names, g.name+" "+g.table)
	}
	return names
}

// layOut makes what is missing, in one transaction. Processes that start at the same time
// do so one after the other, and all but the first find nothing left to do.
func (l *Log) layOut(ctx context.Context) error {
	return pgx.BeginTxFunc(ctx, l.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_catalog.pg_advisory_xact_lock($1)`, l.lockKey()); err != nil {
			return err
		}
		// The names of types in what creates the tables are PostgreSQL's.
		if _, err := tx.Exec(ctx, `SET LOCAL search_path = pg_catalog`); err != nil {
			return err
		}
		s, err := l.inspect(ctx, tx)
		switch {
		case err != nil:
			return err
		case s.fresh:
			return l.create(ctx, tx, s.exists)
		case s.unguarded:
			return l.restoreGuards(ctx, tx)
		}
		return nil
	})
}

// lockKey stands for the schema among the advisory locks of the database.
func (l *Log) lockKey() int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(application + "\x00" + l.cfg.Schema))
	return int64(h.Sum64())
}

func (l *Log) create(ctx context.Context, tx pgx.Tx, exists bool) error {
	statements := append(creation(), guards()...)
	if !exists {
		statements = append([]string{`CREATE SCHEMA %s`}, statements...)
	}
	for _, statement := range statements {
		if _, err := tx.Exec(ctx, within(l.cfg.Schema, statement)); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, within(l.cfg.Schema, `INSERT INTO %s.layout VALUES ($1, $2)`), application, schemaVersion)
	return err
}

// restoreGuards puts back triggers that are gone or disabled, where the database user may do
// that. What was done without them is for the hash chain to show, and for that the log
// must be opened.
func (l *Log) restoreGuards(ctx context.Context, tx pgx.Tx) error {
	err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		for _, statement := range guards() {
			if _, err := tx.Exec(ctx, within(l.cfg.Schema, statement)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && code(err) != codeDenied {
		return err
	}
	l.cfg.Logger.Warn("guards of the log were missing or disabled", "schema", l.cfg.Schema, "put back", err == nil)
	return nil
}
