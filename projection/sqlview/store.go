package sqlview

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
)

// load reads the rows that the batch decides about. A record that cannot be decoded decides
// about no token.
func (f *fold) load(ctx context.Context, q querier, batch []events.Recorded) error {
	names, keys := make(map[string]bool), make(map[key]bool)
	for i := range batch {
		r := &batch[i]
		if r.Stream.Kind() != events.KindOrganization {
			continue
		}
		names[r.Stream.Name()] = true
		p, err := r.Payload()
		if err != nil {
			continue
		}
		if id, ok := decidedToken(p); ok {
			if parsed, err := parseToken(r, id); err == nil {
				keys[key{parsed, r.Stream.Name()}] = true
			}
		}
	}
	if err := f.loadOrganizations(ctx, q, names); err != nil {
		return err
	}
	return f.loadTokens(ctx, q, keys)
}

// decidedToken is the token that a payload is about.
func decidedToken(p events.Payload) (id string, ok bool) {
	switch p := p.(type) {
	case *events.TokenGenerated:
		return p.Token, true
	case *events.TokenEdited:
		return p.Token, true
	case *events.TokenDeactivated:
		return p.Token, true
	case *events.TokenDeleted:
		return p.Token, true
	}
	return "", false
}

func (f *fold) loadOrganizations(ctx context.Context, q querier, names map[string]bool) error {
	var wanted [][]any
	for name := range names {
		wanted = append(wanted, []any{name})
	}
	return f.set.each(ctx, q, f.set.load(organizationsTable()), wanted, func(rows *sql.Rows) error {
		o, err := f.set.scanOrganization(rows)
		if err == nil {
			f.organizations[o.name] = o
		}
		return err
	})
}

func (f *fold) loadTokens(ctx context.Context, q querier, keys map[key]bool) error {
	var wanted [][]any
	for k := range keys {
		wanted = append(wanted, k.row())
		f.tokens[k] = nil
	}
	return f.set.each(ctx, q, f.set.load(tokensTable()), wanted, func(rows *sql.Rows) error {
		t, err := f.set.scanToken(rows)
		if err == nil {
			t.stored, t.live = true, true
			f.tokens[t.key] = t
		}
		return err
	})
}

func (k key) row() []any { return []any{k.id.String(), k.organization} }

// each calls scan with every row that a statement about the given rows yields.
func (s *set) each(ctx context.Context, q querier, statement string, about [][]any, scan func(*sql.Rows) error) (err error) {
	if len(about) == 0 {
		return nil
	}
	parameter, err := encode(about)
	if err != nil {
		return err
	}
	rows, err := q.QueryContext(ctx, s.sql(statement), parameter)
	if err != nil {
		return err
	}
	return scanAll(rows, scan)
}

// scanAll calls scan with every row, and closes them.
func scanAll(rows *sql.Rows, scan func(*sql.Rows) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// scanner is a row.
type scanner interface{ Scan(into ...any) error }

func (s *set) scanOrganization(row scanner) (*organization, error) {
	var o organization
	var owners, hash string
	var closed sql.NullString
	err := row.Scan(&o.name, &o.plan, &owners, &o.registered, &o.modified, &o.modifiedBy, &o.modifiedVersion,
		&o.head.Version, &o.tokens, &o.inactive, &hash, &closed)
	if err != nil {
		return nil, err
	}
	o.closed = closed.String
	if o.head.Hash, err = parseHash(hash); err != nil {
		return nil, fmt.Errorf("%w: table %s, organization %s: hash: %w", events.ErrDamaged, s.t(organizations), o.name, err)
	}
	if err := json.Unmarshal([]byte(owners), &o.owners); err != nil {
		return nil, fmt.Errorf("%w: table %s, organization %s: owners: %w", events.ErrDamaged, s.t(organizations), o.name, err)
	}
	return &o, nil
}

func (s *set) scanToken(row scanner) (*token, error) {
	var t token
	var id, folded string
	if err := row.Scan(
		&id, &t.organization, &t.label, &folded, &t.description, &t.inactive, &t.resourcesJSON, &t.created, &t.createdBy,
		&t.expires, &t.expiresNanos, &t.expiresText, &t.modified, &t.modifiedBy, &t.version,
	); err != nil {
		return nil, err
	}
	var err error
	if t.id, err = uuid.Parse(id); err != nil {
		return nil, fmt.Errorf("%w: table %s, organization %s: id %q: %w", events.ErrDamaged, s.t(tokens), t.organization, id, err)
	}
	return &t, nil
}

// write brings the rows that the batch changed into the tables.
func (f *fold) write(ctx context.Context, q querier) error {
	c, err := f.changes()
	if err != nil {
		return err
	}
	s := f.set
	// Tokens go before uses, which are added only to tokens that are there.
	for _, step := range []struct {
		statement string
		rows      [][]any
	}{
		{s.insert(organizationsTable(), "", organizationsTable().replace()), c.organizations},
		{s.remove(tokens), c.gone},
		{s.remove(resources), c.unreachable},
		{s.remove(lastUsed), c.unused},
		{s.insert(tokensTable(), "", tokensTable().replace()), c.tokens},
		{s.insert(resourcesTable(), "", ""), c.resources},
		{s.mergeUses(), c.uses},
	} {
		for rows := range slices.Chunk(step.rows, maxTransaction) {
			parameter, err := encode(rows)
			if err != nil {
				return err
			}
			if _, err := q.ExecContext(ctx, s.sql(step.statement), parameter); err != nil {
				return err
			}
		}
	}
	return nil
}

// changes are the rows of each statement.
type changes struct {
	organizations, gone, unreachable, unused, tokens, resources, uses [][]any
}

func (f *fold) changes() (c changes, err error) {
	for _, o := range f.organizations {
		if o.changed {
			c.organizations = append(c.organizations, f.set.organizationRow(o))
		}
	}
	for _, t := range f.tokens {
		if err := c.addToken(f.set, t); err != nil {
			return c, err
		}
	}
	for k, u := range f.uses {
		if u.accepted.count+u.refused.count > 0 {
			c.uses = append(c.uses, slices.Concat(k.row(), f.set.spanRow(u.accepted), f.set.spanRow(u.refused)))
		}
	}
	return c, nil
}

func (c *changes) addToken(s *set, t *token) error {
	if t == nil {
		return nil
	}
	if t.stored && !t.live {
		c.gone = append(c.gone, t.row())
	}
	if t.stored && (!t.live || t.resources != nil) {
		c.unreachable = append(c.unreachable, t.row())
	}
	if t.stored && (!t.live || t.fresh) {
		c.unused = append(c.unused, t.row())
	}
	if !t.live || !t.changed {
		return nil
	}
	row, err := s.tokenRow(t)
	if err != nil {
		return err
	}
	c.tokens = append(c.tokens, row)
	for i, r := range t.resources {
		pull, push := reach(t.organization, r)
		c.resources = append(c.resources, []any{t.id.String(), t.organization, i, clean(r.Type), clean(r.Path), pull, push})
	}
	return nil
}

func (s *set) organizationRow(o *organization) []any {
	owners := make([]string, len(o.owners))
	for i, owner := range o.owners {
		owners[i] = clean(owner)
	}
	list, _ := json.Marshal(owners) // strings always can
	return []any{
		o.name, clean(o.plan), string(list), s.moment(o.registered), s.moment(o.modified), clean(o.modifiedBy), o.modifiedVersion,
		o.head.Version, o.tokens, o.inactive, hashText(o.head.Hash), nullText(o.closed),
	}
}

// nullText returns a text for a column that holds NULL instead of an empty one.
func nullText(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// hashText returns a hash as the tables hold it: in hexadecimal digits, and nothing for none.
func hashText(h events.Hash) string {
	if h == (events.Hash{}) {
		return ""
	}
	return h.String()
}

// parseHash is the reverse of hashText.
func parseHash(text string) (events.Hash, error) {
	if text == "" {
		return events.Hash{}, nil
	}
	return events.ParseHash(text)
}

func (s *set) tokenRow(t *token) ([]any, error) {
	if t.resources != nil {
		list, err := json.Marshal(cleanResources(t.resources))
		if err != nil {
			return nil, fmt.Errorf("encode resources of token %s: %w", t.id, err)
		}
		t.resourcesJSON = string(list)
	}
	var expires any
	if t.expires.Valid {
		expires = s.moment(t.expires.Int64)
	}
	label := clean(t.label)
	return append(t.row(), label, strings.ToLower(label), clean(t.description), t.inactive, t.resourcesJSON, s.moment(t.created), clean(t.createdBy),
		expires, t.expiresNanos, t.expiresText, s.moment(t.modified), clean(t.modifiedBy), t.version), nil
}

func (s *set) spanRow(u span) []any {
	if u.count == 0 {
		return []any{nil, nil, 0, "", "", ""}
	}
	return []any{s.moment(u.first), s.moment(u.last), u.count, clean(u.cause), clean(u.address), clean(u.userAgent)}
}

// clean replaces what PostgreSQL has no room for in a text, and does the same for SQLite, so
// that both show the same.
func clean(s string) string { return strings.ReplaceAll(s, "\x00", "\uFFFD") }

func cleanResources(list []events.Resource) []events.Resource {
	cleaned := make([]events.Resource, len(list))
	for i, r := range list {
		cleaned[i] = events.Resource{Type: clean(r.Type), Path: clean(r.Path), Scopes: make([]string, len(r.Scopes))}
		for j, scope := range r.Scopes {
			cleaned[i].Scopes[j] = clean(scope)
		}
	}
	return cleaned
}

// encode makes rows a parameter for [Dialect.rows].
func encode(rows [][]any) (string, error) {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(rows)
	return b.String(), err
}
