package sqlview

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"

	"github.com/oatmill/oatmill/events"
)

// Open opens the view whose tables stand in db, which it makes or brings up to date where
// that is needed. Several processes may do so at the same time. Tables of an older layout
// are emptied, and filled again from the log.
//
// Tables of these names that are not as this library makes them are [events.ErrDamaged], and
// those of a newer version [events.ErrNewer]; nothing is changed then.
//
// The db stays the host's. A view has nothing to close.
func Open(ctx context.Context, db *sql.DB, cfg Config) (*View, error) {
	cfg = cfg.withDefaults()
	if db == nil {
		return nil, errors.New("open sqlview: no database")
	}
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("open sqlview: %w", err)
	}
	v := &View{schema: schema{Dialect: cfg.Dialect, prefix: cfg.Prefix}, db: db, plans: cfg.Plans, logger: cfg.Logger}
	var found int
	if err := v.transact(ctx, func(q querier) (err error) {
		found, err = v.prepare(ctx, q, cfg.Schema)
		return err
	}); err != nil {
		return nil, fmt.Errorf("open sqlview %s: %w", v.t("*"), err)
	}
	if found != 0 && found != layout {
		v.logger.WarnContext(ctx, "tables of an older layout were emptied and are filled again from the log", "table", v.t(state), "layout", found)
	}
	return v, nil
}

// prepare makes the tables, or brings them up to date, and returns the layout that it found.
func (v *View) prepare(ctx context.Context, q querier, schema string) (found int, err error) {
	if err := v.enterSchema(ctx, q, schema); err != nil {
		return 0, err
	}
	if err := v.alone(ctx, q); err != nil {
		return 0, err
	}
	v.live = &set{schema: v.schema, v: v}
	if found, err = v.found(ctx, q); err != nil {
		return 0, err
	}
	switch found {
	case 0:
		err = v.execAll(ctx, q, v.create())
	case 1:
		err = v.upgrade(ctx, q)
	}
	if err != nil {
		return 0, err
	}
	if err := v.inspect(ctx, q); err != nil {
		return 0, err
	}
	if _, v.live.known, err = v.live.scanState(q.QueryRowContext(ctx, v.live.readState())); err != nil {
		return 0, err
	}
	if v.live.shut, err = v.live.suspects(ctx, q); err != nil {
		return 0, err
	}
	return found, v.writePlans(ctx, q)
}

// enterSchema finds out where tables stand, once, so that no connection of the host's with
// another search path looks for them elsewhere. After it, names without a schema are
// PostgreSQL's own, until the end of the transaction.
func (v *View) enterSchema(ctx context.Context, q querier, name string) error {
	if v.Dialect == SQLite {
		return nil
	}
	var current sql.NullString
	var encoding string
	if err := q.QueryRowContext(ctx, "SELECT pg_catalog.current_schema()::pg_catalog.text, pg_catalog.current_setting('client_encoding')").Scan(&current, &encoding); err != nil {
		return err
	}
	if encoding != "UTF8" {
		return fmt.Errorf("sessions of the database handle have client_encoding %s, and must have UTF8: set it in the address, or RESET it for the user and the database", encoding)
	}
	if err := v.execAll(ctx, q, []string{"SET LOCAL search_path = pg_catalog"}); err != nil {
		return err
	}
	if name == "" {
		if !current.Valid {
			return errors.New("the connection's search path names no schema that exists: set Config.Schema")
		}
		v.name = quote(current.String) + "."
		return nil
	}
	v.name = quote(name) + "."
	if err := v.alone(ctx, q); err != nil {
		return err
	}
	var there bool
	if err := q.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1::pg_catalog.text)", name).Scan(&there); err != nil || there {
		return err
	}
	// Asked even where the schema is there, CREATE … IF NOT EXISTS wants a right to make it.
	return v.execAll(ctx, q, []string{"CREATE SCHEMA " + quote(name)})
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// alone has everyone else who would lay out these tables wait until the end of the
// transaction. In SQLite they wait already.
func (v *View) alone(ctx context.Context, q querier) error {
	if v.Dialect == SQLite {
		return nil
	}
	hash := fnv.New64a()
	_, _ = hash.Write([]byte("oatmill sqlview " + v.t("")))
	_, err := q.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1::bigint)", int64(hash.Sum64()))
	return err
}

// found returns the layout of the tables that are there, 0 when there are none. It takes no
// lock, so that a role that may only read can open the view.
func (v *View) found(ctx context.Context, q querier) (version int, err error) {
	there, err := v.kindOf(ctx, q, v.t(state))
	if err != nil {
		return 0, err
	}
	if there == "" {
		return 0, v.nothingElse(ctx, q)
	}
	if err := v.compare(ctx, q, table{name: state, columns: oldestState()}); err != nil {
		return 0, err
	}
	err = q.QueryRowContext(ctx, "SELECT layout FROM "+v.t(state)+" WHERE one = 1").Scan(&version)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("%w: table %s has lost its row", events.ErrDamaged, v.t(state))
	}
	if err != nil {
		return 0, err
	}
	return version, v.knows(version)
}

// knows tells whether a layout is one we can work with, or bring up to date.
func (v *View) knows(version int) error {
	switch {
	case version > layout:
		return fmt.Errorf("%w: %s has layout %d, this one knows up to %d", events.ErrNewer, v.t(state), version, layout)
	case version < 1:
		return fmt.Errorf("%w: %s: layout %d never existed", events.ErrDamaged, v.t(state), version)
	}
	return nil
}

// nothingElse refuses to make tables where some of them are there without the state.
func (v *View) nothingElse(ctx context.Context, q querier) error {
	names := append(views(), plans)
	for _, t := range folded() {
		names = append(names, t.name)
	}
	for _, name := range names {
		if kind, err := v.kindOf(ctx, q, v.t(name)); err != nil || kind != "" {
			return errors.Join(err, fmt.Errorf("%w: %s %s is there, and table %s is not: not made by this library, or lost in part", events.ErrDamaged, kind, v.t(name), v.t(state)))
		}
	}
	return nil
}

// create makes the tables and views where there are none.
func (v *View) create() []string {
	statements := append(v.live.createSet(), v.live.create(plansTable())...)
	statements = append(statements, v.live.createViews()...)
	return append(statements, v.live.begin(""))
}

// upgrade brings tables of layout 1 to layout 2. What was folded into them is not checked
// against the hash chain, so that they are emptied. They stay, with the host's indexes,
// grants and views.
func (v *View) upgrade(ctx context.Context, q querier) error {
	for _, t := range append(folded(), plansTable()) {
		if err := v.expect(ctx, q, "table", t.name); err != nil {
			return err
		}
	}
	if v.Dialect == PostgreSQL { // processes of the older version lock the row before they change tables
		if _, err := q.ExecContext(ctx, "SELECT FROM "+v.t(state)+" WHERE one = 1 FOR UPDATE"); err != nil {
			return err
		}
	}
	hash, closed := column{"hash", text, false}, column{"closed", text, true}
	statements := v.live.empty()
	statements = append(statements,
		v.live.add(stateTable(), hash, "''"), v.live.add(stateTable(), column{"generation", number, false}, "1"),
		v.live.add(organizationsTable(), hash, "''"), v.live.add(organizationsTable(), closed, "NULL"),
	)
	statements = append(statements, v.live.createIndexes(organizationsTable())...)
	statements = append(statements, v.live.replaceViews()...)
	statements = append(statements, fmt.Sprintf("UPDATE %s SET layout = %d, position = 0, build = '' WHERE one = 1", v.t(state), layout))
	return v.execAll(ctx, q, statements)
}

// add adds a column to a table, with a value for the rows that are there.
func (s *set) add(t table, c column, value string) string {
	null := ""
	if !c.nullable {
		null = " NOT NULL"
	}
	return fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s %s%s DEFAULT %s", s.t(t.name), c.name, s.typeOf(c.kind), null, value)
}

// empty removes all that was folded.
func (s *set) empty() (statements []string) {
	for _, t := range folded() {
		statements = append(statements, "DELETE FROM "+s.t(t.name))
	}
	return statements
}

// begin is the statement that puts an empty set at position 0.
func (s *set) begin(build string) string {
	return fmt.Sprintf("INSERT INTO %s (one, layout, position, build, hash, generation) VALUES (1, %d, 0, '%s', '', 1)", s.t(state), layout, build)
}

// inspect compares tables and views with what they should be. What a host adds of its own,
// indexes or triggers or columns, is left alone.
func (v *View) inspect(ctx context.Context, q querier) error {
	for _, t := range append(folded(), stateTable(), plansTable()) {
		if err := v.compare(ctx, q, t); err != nil {
			return err
		}
	}
	for _, name := range views() {
		if err := v.expect(ctx, q, "view", name); err != nil {
			return err
		}
	}
	return nil
}

func (v *View) expect(ctx context.Context, q querier, kind, name string) error {
	switch found, err := v.kindOf(ctx, q, v.t(name)); {
	case err != nil:
		return err
	case found == "":
		return fmt.Errorf("%w: %s %s is missing", events.ErrDamaged, kind, v.t(name))
	case found != kind:
		return fmt.Errorf("%w: %s is a %s, not a %s", events.ErrDamaged, v.t(name), found, kind)
	}
	return nil
}

// compare returns an error unless a table has our columns in our types. It reads the types from
// the catalog: what PostgreSQL's own functions print depends on the session.
func (v *View) compare(ctx context.Context, q querier, t table) error {
	if err := v.expect(ctx, q, "table", t.name); err != nil {
		return err
	}
	statement := `SELECT a.attname, n.nspname || '.' || t.typname || CASE WHEN a.atttypmod < 0 THEN '' ELSE '(' || a.atttypmod || ')' END
FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid JOIN pg_namespace AS n ON n.oid = t.typnamespace
WHERE a.attrelid = to_regclass($1::text) AND a.attnum > 0 AND NOT a.attisdropped`
	if v.Dialect == SQLite {
		statement = "SELECT name, type FROM pragma_table_info($1)"
	}
	rows, err := q.QueryContext(ctx, v.sql(statement), v.t(t.name))
	if err != nil {
		return err
	}
	types := make(map[string]string)
	if err := scanAll(rows, func(rows *sql.Rows) error {
		var name, kind string
		err := rows.Scan(&name, &kind)
		types[name] = kind
		return err
	}); err != nil {
		return err
	}
	for _, c := range t.columns {
		if want := v.typeOf(c.kind); types[c.name] != want {
			return fmt.Errorf("%w: table %s: column %s has type %q, want %q: not made by this library, or changed since", events.ErrDamaged, v.t(t.name), c.name, types[c.name], want)
		}
	}
	return nil
}

// kindOf is "table", "view" or another word for what has the name, empty when nothing has.
func (v *View) kindOf(ctx context.Context, q querier, name string) (kind string, err error) {
	statement := "SELECT CASE relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' ELSE 'relation of kind ' || relkind::text END FROM pg_class WHERE oid = to_regclass($1::text)"
	if v.Dialect == SQLite {
		statement = "SELECT type FROM sqlite_schema WHERE name = $1"
	}
	err = q.QueryRowContext(ctx, v.sql(statement), name).Scan(&kind)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return kind, err
}

// writePlans makes the table plans what the configuration says, if it is not.
func (v *View) writePlans(ctx context.Context, q querier) error {
	rows, err := q.QueryContext(ctx, "SELECT plan, tokens FROM "+v.t(plans))
	if err != nil {
		return err
	}
	stored := make(map[string]int)
	if err := scanAll(rows, func(rows *sql.Rows) error {
		var name string
		var limit int
		err := rows.Scan(&name, &limit)
		stored[name] = limit
		return err
	}); err != nil {
		return err
	}
	limits := make(map[string]int)
	for name, plan := range v.plans {
		limits[name] = plan.Tokens
	}
	if maps.Equal(stored, limits) {
		return nil
	}
	if _, err := q.ExecContext(ctx, "DELETE FROM "+v.t(plans)); err != nil || len(limits) == 0 {
		return err
	}
	var list [][]any
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		list = append(list, []any{name, limits[name]})
	}
	parameter, err := encode(list)
	if err != nil {
		return err
	}
	_, err = q.ExecContext(ctx, v.sql(v.live.insert(plansTable(), "", "")), parameter)
	return err
}
