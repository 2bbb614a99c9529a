package sqlview

import (
	"fmt"
	"strings"
)

// layout is the version of the tables and views below. Tables with a higher one are
// refused, those with a lower one are brought up to it by [View.upgrade].
const layout = 2

// kind is what a column holds; the dialect says in which type.
type kind int

const (
	text kind = iota
	identifier
	moment
	number
	boolean
	document
)

type column struct {
	name     string
	kind     kind
	nullable bool
}

type table struct {
	name    string
	columns []column
	key     []string
	indexes [][]string
}

// The names of tables and views, behind the prefix.
const (
	state         = "state"
	plans         = "plans"
	organizations = "organizations"
	tokens        = "tokens"
	resources     = "resources"
	lastUsed      = "last_used"

	tokenStatus = "token_status"
	counts      = "counts"
	owners      = "owners"
)

// folded are the tables that hold what was folded from the log. A rebuild fills a
// second set of them, with a state of its own.
func folded() []table {
	return []table{organizationsTable(), tokensTable(), resourcesTable(), lastUsedTable()}
}

func stateTable() table {
	return table{
		name:    state,
		columns: append(oldestState(), column{"hash", text, false}, column{"generation", number, false}),
		key:     []string{"one"},
	}
}

// oldestState returns the columns that state has in every layout.
func oldestState() []column {
	return []column{{"one", number, false}, {"layout", number, false}, {"position", number, false}, {"build", text, false}}
}

func plansTable() table {
	return table{
		name:    plans,
		columns: []column{{"plan", text, false}, {"tokens", number, false}},
		key:     []string{"plan"},
	}
}

func organizationsTable() table {
	return table{
		name: organizations,
		columns: []column{
			{"organization", text, false}, {"plan", text, false}, {"owners", document, false},
			{"registered_at", moment, false}, {"modified_at", moment, false}, {"modified_by", text, false}, {"modified_version", number, false},
			{"version", number, false}, {"tokens", number, false}, {"inactive", number, false},
			{"hash", text, false}, {"closed", text, true},
		},
		key: []string{"organization"},
		// Finds the closed ones, see [set.suspects].
		indexes: [][]string{{"closed"}},
	}
}

func tokensTable() table {
	return table{
		name: tokens,
		columns: []column{
			{"id", identifier, false}, {"organization", text, false},
			{"label", text, false}, {"label_folded", text, false}, {"description", text, false},
			{"inactive", boolean, false}, {"resources", document, false},
			{"created_at", moment, false}, {"created_by", text, false},
			{"expires_at", moment, true}, {"expires_nanos", number, false}, {"expires_text", text, false},
			{"modified_at", moment, false}, {"modified_by", text, false}, {"version", number, false},
		},
		key: []string{"id", "organization"},
		// Finds an organization's tokens, and counts those that had expired at an instant
		// without looking at the others.
		indexes: [][]string{{"organization", "inactive", "expires_at"}},
	}
}

func resourcesTable() table {
	return table{
		name: resources,
		columns: []column{
			{"id", identifier, false}, {"organization", text, false}, {"ordinal", number, false},
			{"type", text, false}, {"path", text, false}, {"pull", boolean, false}, {"push", boolean, false},
		},
		key:     []string{"id", "organization", "ordinal"},
		indexes: [][]string{{"path"}},
	}
}

func lastUsedTable() table {
	columns := []column{{"id", identifier, false}, {"organization", text, false}}
	for _, outcome := range outcomes() {
		columns = append(columns,
			column{outcome + "_first", moment, true}, column{outcome + "_last", moment, true}, column{outcome + "_count", number, false},
			column{outcome + "_cause", text, false}, column{outcome + "_address", text, false}, column{outcome + "_user_agent", text, false})
	}
	return table{name: lastUsed, columns: columns, key: []string{"id", "organization"}}
}

func outcomes() []string { return []string{"accepted", "refused"} }

// names are the columns' names, each after prefix.
func (t table) names(prefix string) []string {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = prefix + c.name
	}
	return names
}

// rest is the columns that are not in the key.
func (t table) rest() (rest []string) {
	keys := "," + strings.Join(t.key, ",") + ","
	for _, c := range t.columns {
		if !strings.Contains(keys, ","+c.name+",") {
			rest = append(rest, c.name)
		}
	}
	return rest
}

// create makes a table. A set that is being built need not survive a crash of the
// server, because the rebuild does not: the next one starts over. What makes that safe
// is that its state is lost with it.
func (s *set) create(t table) (statements []string) {
	var lines []string
	for _, c := range t.columns {
		line := "  " + c.name + " " + s.typeOf(c.kind)
		if !c.nullable {
			line += " NOT NULL"
		}
		lines = append(lines, line)
	}
	lines = append(lines, "  PRIMARY KEY ("+strings.Join(t.key, ", ")+")")
	word, end := "TABLE", ""
	switch {
	case s.Dialect == SQLite:
		end = " STRICT"
	case s.suffix != "":
		word = "UNLOGGED TABLE"
	}
	create := fmt.Sprintf("CREATE %s %s (\n%s\n)%s", word, s.t(t.name), strings.Join(lines, ",\n"), end)
	return append([]string{create}, s.createIndexes(t)...)
}

// createIndexes makes the indexes of a table.
func (s *set) createIndexes(t table) (statements []string) {
	for i, columns := range t.indexes {
		statements = append(statements, fmt.Sprintf("CREATE INDEX %s%s%s_%d ON %s (%s)", s.prefix, t.name, s.suffix, i+1, s.t(t.name), strings.Join(columns, ", ")))
	}
	return statements
}

// createSet makes the tables of a set, at position 0.
func (s *set) createSet() (statements []string) {
	for _, t := range append([]table{stateTable()}, folded()...) {
		statements = append(statements, s.create(t)...)
	}
	return statements
}

// dropSet removes them again.
func (s *set) dropSet() (statements []string) {
	for _, t := range append([]table{stateTable()}, folded()...) {
		statements = append(statements, "DROP TABLE IF EXISTS "+s.t(t.name))
	}
	return statements
}

// replaceViews makes the views in place of those of an older layout. In PostgreSQL the
// host's grants, and its own views of them, stay.
func (s *set) replaceViews() (statements []string) {
	for i, create := range s.createViews() {
		if s.Dialect == PostgreSQL {
			create = strings.Replace(create, "CREATE", "CREATE OR REPLACE", 1)
		} else {
			statements = append(statements, "DROP VIEW "+s.t(views()[i]))
		}
		statements = append(statements, create)
	}
	return statements
}

// views returns the names of the views, in the order of createViews.
func views() []string { return []string{tokenStatus, counts, owners} }

// createViews makes the views. Columns that a later layout adds go to the end, see
// replaceViews.
func (s *set) createViews() []string {
	now := s.now()
	status := fmt.Sprintf("CASE WHEN t.inactive = TRUE THEN 'inactive' WHEN t.expires_at <= %s THEN 'expired' ELSE 'active' END", now)
	return []string{
		fmt.Sprintf(`CREATE VIEW %s AS
SELECT t.id, t.organization, t.label, t.description,
  %s AS status,
  (t.inactive = FALSE AND (t.expires_at IS NULL OR t.expires_at > %s) AND coalesce(p.tokens, 0) > 0 AND o.closed IS NULL) AS usable,
  t.created_at, t.created_by, t.expires_at, t.modified_at, t.modified_by,
  u.accepted_last AS last_used_at, coalesce(u.accepted_count, 0) AS used_count, u.accepted_address AS last_used_from, u.accepted_user_agent AS last_used_with,
  u.refused_last AS last_refused_at, coalesce(u.refused_count, 0) AS refused_count, u.refused_address AS last_refused_from, u.refused_cause AS last_refused_cause,
  o.closed
FROM %s t
JOIN %s o ON o.organization = t.organization
LEFT JOIN %s p ON p.plan = o.plan
LEFT JOIN %s u ON u.id = t.id AND u.organization = t.organization`,
			s.t(tokenStatus), status, now, s.t(tokens), s.t(organizations), s.t(plans), s.t(lastUsed)),
		fmt.Sprintf(`CREATE VIEW %s AS
SELECT organization, plan, total, CASE WHEN closed IS NULL THEN total - inactive - expired ELSE 0 END AS active, inactive, expired, token_limit,
  CASE WHEN closed IS NULL AND token_limit > total THEN token_limit - total ELSE 0 END AS remaining,
  closed
FROM (SELECT o.organization, o.plan, o.tokens AS total, o.inactive, o.closed, coalesce(p.tokens, 0) AS token_limit,
    (SELECT count(*) FROM %s t WHERE t.organization = o.organization AND t.inactive = FALSE AND t.expires_at <= %s) AS expired
  FROM %s o LEFT JOIN %s p ON p.plan = o.plan) c`,
			s.t(counts), s.t(tokens), now, s.t(organizations), s.t(plans)),
		fmt.Sprintf("CREATE VIEW %s AS\nSELECT o.organization, x.value AS owner, %s AS ordinal\nFROM %s o, %s\nWHERE o.closed IS NULL",
			s.t(owners), s.ordinal(), s.t(organizations), s.elements("o.owners")),
	}
}
