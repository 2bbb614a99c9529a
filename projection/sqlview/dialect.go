package sqlview

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// typeOf returns the type of a column as the database's catalog spells it: in PostgreSQL with
// its schema, because a session may look for names elsewhere first.
func (d Dialect) typeOf(k kind) string {
	if d == SQLite {
		switch k {
		case moment, number, boolean:
			return "INTEGER"
		}
		return "TEXT"
	}
	switch k {
	case identifier:
		return "pg_catalog.uuid"
	case moment:
		return "pg_catalog.timestamptz"
	case number:
		return "pg_catalog.int8"
	case boolean:
		return "pg_catalog.bool"
	case document:
		return "pg_catalog.jsonb"
	}
	return "pg_catalog.text"
}

// sql is a statement with its parameters, written $1, $2 …, as the dialect wants them.
// No statement of ours for SQLite has a $ otherwise.
func (d Dialect) sql(statement string) string {
	if d == SQLite {
		return strings.ReplaceAll(statement, "$", "?")
	}
	return statement
}

// rows makes rows x, with one column value, of a parameter that is a JSON array of arrays.
//
// Many rows go to the database as one parameter, so that a statement does not depend on
// how many there are. The road not taken is a long VALUES list: it has a limit, which
// differs by driver, and is another statement for every number of rows. Arrays of the
// driver's are no road at all behind database/sql.
func (d Dialect) rows(parameter int) string {
	if d == SQLite {
		return fmt.Sprintf("json_each($%d) x", parameter)
	}
	return fmt.Sprintf("jsonb_array_elements($%d::pg_catalog.text::pg_catalog.jsonb) x", parameter)
}

// field is element i of a row x, of the kind.
func (d Dialect) field(i int, k kind) string {
	if d == SQLite {
		return fmt.Sprintf("x.value ->> %d", i)
	}
	return fmt.Sprintf("(x.value ->> %d)::%s", i, d.typeOf(k))
}

// elements makes rows x of a column that is a JSON array of strings.
func (d Dialect) elements(column string) string {
	if d == SQLite {
		return fmt.Sprintf("json_each(%s) x", column)
	}
	return fmt.Sprintf("jsonb_array_elements_text(%s) WITH ORDINALITY x (value, number)", column)
}

// ordinal counts such rows from 0.
func (d Dialect) ordinal() string {
	if d == SQLite {
		return "x.key"
	}
	return "x.number - 1"
}

// read is a column as it is scanned: moments as microseconds, ids and documents as text.
func (d Dialect) read(name string, k kind) string {
	if d == SQLite {
		return name
	}
	switch k {
	case moment:
		return fmt.Sprintf("(extract(epoch FROM %s) * 1000000)::bigint", name)
	case identifier, document:
		return name + "::pg_catalog.text"
	}
	return name
}

// moment is the value of a parameter, or of an element of a row, for a moment given in
// microseconds since 1970.
func (d Dialect) moment(micros int64) any {
	if d == SQLite {
		return micros
	}
	t := time.UnixMicro(micros).UTC()
	if year := t.Year(); year <= 0 { // which Go calls 0 is the year 1 BC
		return fmt.Sprintf("%04d-%s BC", 1-year, t.Format("01-02 15:04:05.000000Z"))
	}
	return t.Format("2006-01-02 15:04:05.000000Z")
}

// momentParameter is parameter n, which is a moment.
func (d Dialect) momentParameter(n int) string {
	if d == SQLite {
		return fmt.Sprintf("$%d", n)
	}
	return fmt.Sprintf("$%d::pg_catalog.text::pg_catalog.timestamptz", n)
}

// idParameter is parameter n, which is a token id.
func (d Dialect) idParameter(n int) string {
	if d == SQLite {
		return fmt.Sprintf("$%d", n)
	}
	return fmt.Sprintf("$%d::pg_catalog.text::pg_catalog.uuid", n)
}

// bytewise has a text compared by its bytes, as Go does.
func (d Dialect) bytewise(expression string) string {
	if d == SQLite {
		return expression
	}
	return expression + ` COLLATE "C"`
}

// contains tells whether a text contains another.
func (d Dialect) contains(expression string, parameter int) string {
	if d == SQLite {
		return fmt.Sprintf("instr(%s, $%d) > 0", expression, parameter)
	}
	return fmt.Sprintf("strpos(%s, $%d::pg_catalog.text) > 0", expression, parameter)
}

// now is the time of the statement, or of the transaction in PostgreSQL, to be compared
// with moments. SQLite knows the time to the millisecond.
func (d Dialect) now() string {
	if d == SQLite {
		return "CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000"
	}
	return "now()"
}

// readState reads the state of a set, to be scanned by [stand.fields].
func (s *set) readState() string {
	return "SELECT layout, position, hash, generation, build FROM " + s.t(state) + " WHERE one = 1"
}

// lockState takes the lock under which a set is changed, and reads its state. In SQLite
// the transaction has it already.
func (s *set) lockState() string {
	lock := ""
	if s.Dialect == PostgreSQL {
		lock = " FOR UPDATE"
	}
	return s.readState() + lock
}

// The rest makes statements of tables.

// insert puts rows of $1 into a table. source is what more they come from, and under which
// condition; conflict what happens where there is a row with the key.
func (s *set) insert(t table, source, conflict string) string {
	fields := make([]string, len(t.columns))
	for i, c := range t.columns {
		fields[i] = s.field(i, c.kind)
	}
	return fmt.Sprintf("INSERT INTO %s AS l (%s)\nSELECT %s FROM %s%s%s",
		s.t(t.name), strings.Join(t.names(""), ", "), strings.Join(fields, ", "), s.rows(1), cmp.Or(source, " WHERE TRUE"), conflict)
}

// replace is the conflict clause by which a row takes the place of the one with its key.
func (t table) replace() string {
	set := make([]string, 0, len(t.columns))
	for _, name := range t.rest() {
		set = append(set, name+" = excluded."+name)
	}
	return fmt.Sprintf("\nON CONFLICT (%s) DO UPDATE SET %s", strings.Join(t.key, ", "), strings.Join(set, ", "))
}

// remove deletes what belongs to the tokens that rows of $1 name.
func (s *set) remove(t string) string {
	return fmt.Sprintf("DELETE FROM %s WHERE (id, organization) IN (SELECT %s, %s FROM %s)",
		s.t(t), s.field(0, identifier), s.field(1, text), s.rows(1))
}

// load selects the rows of a table whose keys are in rows of $1.
func (s *set) load(t table) string {
	on := make([]string, len(t.key))
	for i, name := range t.key {
		on[i] = fmt.Sprintf("l.%s = %s", name, s.field(i, t.columns[i].kind))
	}
	return fmt.Sprintf("SELECT %s FROM %s CROSS JOIN %s l WHERE %s", s.selected(t, "l."), s.rows(1), s.t(t.name), strings.Join(on, " AND "))
}

// selected is all columns of a table, to be scanned.
func (s *set) selected(t table, prefix string) string {
	list := make([]string, len(t.columns))
	for i, c := range t.columns {
		list[i] = s.read(prefix+c.name, c.kind) + " AS " + c.name
	}
	return strings.Join(list, ", ")
}

// mergeUses adds spans to what is there. Neither the order of spans nor how they are grouped
// makes a difference: the earliest and latest times stay, and what else is known of the
// latest attempt; of attempts at the same moment the one stays whose texts are greater.
func (s *set) mergeUses() string {
	t := lastUsedTable()
	var set []string
	for _, o := range outcomes() {
		newer := fmt.Sprintf("(l.%[1]s_last IS NULL OR (%[2]s) > (%[3]s))", o, s.attempt("excluded."+o), s.attempt("l."+o))
		set = append(set,
			fmt.Sprintf("%[1]s_first = CASE WHEN l.%[1]s_first IS NULL OR excluded.%[1]s_first < l.%[1]s_first THEN excluded.%[1]s_first ELSE l.%[1]s_first END", o),
			fmt.Sprintf("%[1]s_count = l.%[1]s_count + excluded.%[1]s_count", o))
		for _, field := range []string{"last", "cause", "address", "user_agent"} {
			set = append(set, fmt.Sprintf("%[1]s_%[2]s = CASE WHEN %[3]s THEN excluded.%[1]s_%[2]s ELSE l.%[1]s_%[2]s END", o, field, newer))
		}
	}
	// A CROSS JOIN tells SQLite which way round to go.
	there := fmt.Sprintf("\nCROSS JOIN %s t WHERE t.id = %s AND t.organization = %s", s.t(tokens), s.field(0, identifier), s.field(1, text))
	return s.insert(t, there, "\nON CONFLICT (id, organization) DO UPDATE SET\n  "+strings.Join(set, ",\n  "))
}

// attempt is what two attempts are compared by.
func (s *set) attempt(outcome string) string {
	return fmt.Sprintf("%s_last, %s, %s, %s", outcome, s.bytewise(outcome+"_address"), s.bytewise(outcome+"_user_agent"), s.bytewise(outcome+"_cause"))
}
