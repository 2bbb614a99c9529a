package sqlview

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/projection"
)

// Get is a token as of an instant, as [projection.Tokens.Get] has it. A deleted token is not
// found, and neither is one of another organization.
func (v *View) Get(ctx context.Context, organization string, id uuid.UUID, at time.Time) (projection.Token, bool, error) {
	statement := fmt.Sprintf("SELECT %s FROM %s l WHERE id = %s AND organization = $2", v.live.selected(tokensTable(), "l."), v.t(tokens), v.idParameter(1))
	t, err := v.live.scanToken(v.db.QueryRowContext(ctx, v.sql(statement), id.String(), organization))
	if errors.Is(err, sql.ErrNoRows) {
		return projection.Token{}, false, nil
	}
	if err != nil {
		return projection.Token{}, false, v.failed("token", organization, err)
	}
	shown, err := v.show(t, at)
	return shown, err == nil, err
}

// List is a page of an organization's tokens, as [projection.Tokens.List] has it.
func (v *View) List(ctx context.Context, organization string, q projection.Query) (projection.Page, error) {
	statement, parameters := v.list(organization, q)
	rows, err := v.db.QueryContext(ctx, v.sql(statement), parameters...)
	if err != nil {
		return projection.Page{}, v.failed("tokens", organization, err)
	}
	page := projection.Page{Tokens: []projection.Token{}}
	if err := scanAll(rows, func(rows *sql.Rows) error { return v.scanListed(rows, &page, q.At) }); err != nil {
		return projection.Page{}, v.failed("tokens", organization, err)
	}
	return page, nil
}

// scanListed adds a row of a list to its page. The row of an empty page has the number of hits
// and nothing else, and is looked at before it is scanned for a token.
func (v *View) scanListed(rows *sql.Rows, page *projection.Page, at time.Time) error {
	if len(page.Tokens) == 0 {
		into := []any{&page.Total}
		for range tokensTable().columns {
			into = append(into, new(any))
		}
		if err := rows.Scan(into...); err != nil || *into[1].(*any) == nil {
			return err
		}
	}
	t, err := v.live.scanToken(countedRow{rows, &page.Total})
	if err != nil {
		return err
	}
	shown, err := v.show(t, at)
	page.Tokens = append(page.Tokens, shown)
	return err
}

// countedRow is a row with a number before its columns.
type countedRow struct {
	row   scanner
	count *int
}

func (r countedRow) Scan(into ...any) error { return r.row.Scan(append([]any{r.count}, into...)...) }

// list is the statement for a page. It yields at least one row, because the number of all
// hits must be told even where the page is empty, and by the same statement: another one
// might see another state.
func (v *View) list(organization string, q projection.Query) (string, []any) {
	parameters := []any{organization, strings.ToLower(q.Label)}
	where := "organization = $1 AND " + v.contains("label_folded", 2)
	if len(q.States) > 0 {
		at := v.instant(q.At)
		parameters = append(parameters, at.floor, at.next, at.nanos)
		where += fmt.Sprintf(" AND CASE WHEN inactive = TRUE THEN 'inactive' WHEN %s THEN 'expired' ELSE 'active' END IN (%s)", v.expired(3, 4, 5), literals(q.States))
	}
	order := v.order(q.Sort, q.Descending)
	limit, offset := bounds(q.Page, q.PageSize)
	return fmt.Sprintf(`WITH hits AS (SELECT %s FROM %s WHERE %s)
SELECT (SELECT count(*) FROM hits), %s
FROM (SELECT 1 AS one) o LEFT JOIN (SELECT * FROM hits p ORDER BY %s LIMIT %d OFFSET %d) p ON TRUE
ORDER BY %s`,
		strings.Join(tokensTable().names(""), ", "), v.t(tokens), where, v.live.selected(tokensTable(), "p."), order, limit, offset, order), parameters
}

// literals are states as SQL. There are three, and what else is asked for nothing has.
func literals(states []projection.State) string {
	list := []string{"''"}
	for _, s := range []projection.State{projection.Active, projection.Inactive, projection.Expired} {
		if slices.Contains(states, s) {
			list = append(list, "'"+string(s)+"'")
		}
	}
	return strings.Join(list, ", ")
}

// order is the ORDER BY of a list, whose tokens are called p.
func (v *View) order(by projection.Order, descending bool) string {
	up, down := " ASC", " DESC"
	if descending {
		up, down = down, up
	}
	id := ", p.id" + up
	switch by {
	case projection.ByModified:
		return "p.modified_at" + up + id
	case projection.ByExpires:
		return "(p.expires_at IS NULL)" + up + ", p.expires_at" + up + ", p.expires_nanos" + down + id
	case projection.ByLabel:
		return v.bytewise("p.label_folded") + up + ", " + v.bytewise("p.label") + up + id
	}
	return "p.created_at" + up + id
}

// bounds is the LIMIT and OFFSET of a page.
func bounds(page, size int) (limit, offset int64) {
	page = max(page, 1)
	switch {
	case size < 1 && page == 1:
		return math.MaxInt64, 0
	case size < 1:
		return 0, 0
	case int64(page-1) > math.MaxInt64/int64(size):
		return 0, 0
	}
	return int64(size), int64(page-1) * int64(size)
}

// Count is the count of an organization's tokens as of an instant, as
// [projection.Counts.Of] has it, by the limits of Config.Plans.
func (v *View) Count(ctx context.Context, organization string, at time.Time) (projection.Count, bool, error) {
	statement := fmt.Sprintf(`SELECT plan, tokens, inactive,
  (SELECT count(*) FROM %s t WHERE t.organization = o.organization AND t.inactive = FALSE AND t.expires_at <= %s AND %s)
FROM %s o WHERE organization = $1 AND version > 0`, v.t(tokens), v.momentParameter(3), v.expired(2, 3, 4), v.t(organizations))
	i := v.instant(at)
	c := projection.Count{Organization: organization}
	err := v.db.QueryRowContext(ctx, v.sql(statement), organization, i.floor, i.next, i.nanos).Scan(&c.Plan, &c.Total, &c.Inactive, &c.Expired)
	if errors.Is(err, sql.ErrNoRows) {
		return projection.Count{}, false, nil
	}
	if err != nil {
		return projection.Count{}, false, v.failed("count", organization, err)
	}
	plan := v.plans[c.Plan]
	c.Active = c.Total - c.Inactive - c.Expired
	c.Limit, c.Remaining = plan.Tokens, plan.Remaining(c.Total)
	return c, true, nil
}

// Usage is the use of a token, as [projection.LastUsed.Of] has it. It is not found when the
// token was never used, is deleted, or belongs to another organization.
func (v *View) Usage(ctx context.Context, organization string, id uuid.UUID) (projection.Usage, bool, error) {
	statement := fmt.Sprintf("SELECT %s FROM %s l WHERE id = %s AND organization = $2", v.live.selected(lastUsedTable(), "l."), v.t(lastUsed), v.idParameter(1))
	var skipped string
	into := []any{&skipped, &skipped}
	var spans [2]scannedSpan
	for i := range spans {
		into = append(into, spans[i].fields()...)
	}
	err := v.db.QueryRowContext(ctx, v.sql(statement), id.String(), organization).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return projection.Usage{}, false, nil
	}
	if err != nil {
		return projection.Usage{}, false, v.failed("usage", organization, err)
	}
	return projection.Usage{Token: id, Accepted: spans[0].span(), Refused: spans[1].span()}, true, nil
}

// scannedSpan is a span on its way out of the table.
type scannedSpan struct {
	first, last sql.NullInt64
	events.UseSpan
}

func (s *scannedSpan) fields() []any {
	return []any{&s.first, &s.last, &s.Count, &s.Cause, &s.Address, &s.UserAgent}
}

func (s *scannedSpan) span() events.UseSpan {
	if s.last.Valid {
		s.First, s.Last = moments(s.first.Int64), moments(s.last.Int64)
	}
	return s.UseSpan
}

// Organization is what is known about an organization beside its tokens, as
// [projection.Tokens.Organization] has it.
func (v *View) Organization(ctx context.Context, name string) (projection.Organization, bool, error) {
	found, err := v.organizations(ctx, " WHERE organization = $1 AND version > 0", name)
	if err != nil {
		return projection.Organization{}, false, v.failed("organization", name, err)
	}
	if len(found) == 0 {
		return projection.Organization{}, false, nil
	}
	return found[0], true, nil
}

// Organizations is every organization, by name, as [projection.Tokens.Organizations] has it.
func (v *View) Organizations(ctx context.Context) ([]projection.Organization, error) {
	found, err := v.organizations(ctx, " WHERE version > 0 ORDER BY "+v.bytewise("l.organization"))
	if err != nil {
		return nil, v.failed("organizations", "", err)
	}
	return found, nil
}

func (v *View) organizations(ctx context.Context, clause string, parameters ...any) ([]projection.Organization, error) {
	statement := fmt.Sprintf("SELECT %s FROM %s l%s", v.live.selected(organizationsTable(), "l."), v.t(organizations), clause)
	rows, err := v.db.QueryContext(ctx, v.sql(statement), parameters...)
	if err != nil {
		return nil, err
	}
	found := []projection.Organization{}
	err = scanAll(rows, func(rows *sql.Rows) error {
		o, err := v.live.scanOrganization(rows)
		if err == nil {
			found = append(found, projection.Organization{
				Name: o.name, Plan: o.plan, Owners: o.owners, RegisteredAt: moments(o.registered),
				ModifiedAt: moments(o.modified), ModifiedBy: o.modifiedBy, Version: o.modifiedVersion,
			})
		}
		return err
	})
	return found, err
}

// show is a row as package projection shows it.
func (v *View) show(t *token, at time.Time) (projection.Token, error) {
	shown := projection.Token{
		ID: t.id, Organization: t.organization, Label: t.label, Description: t.description, State: projection.Active,
		CreatedAt: moments(t.created), CreatedBy: t.createdBy, ExpiresAt: t.expiresText,
		ModifiedAt: moments(t.modified), ModifiedBy: t.modifiedBy, Version: t.version,
	}
	if t.inactive {
		shown.State = projection.Inactive
	}
	var err error
	if shown.Expires, err = parseExpiry(t.expiresText); err != nil {
		return projection.Token{}, fmt.Errorf("%w: table %s, token %s: expires_text %q: %w", events.ErrDamaged, v.t(tokens), t.id, t.expiresText, err)
	}
	if err := json.Unmarshal([]byte(t.resourcesJSON), &shown.Resources); err != nil {
		return projection.Token{}, fmt.Errorf("%w: table %s, token %s: resources: %w", events.ErrDamaged, v.t(tokens), t.id, err)
	}
	shown.State = shown.StateAt(at)
	return shown, nil
}

func moments(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

// instant is a moment as parameters. Moments of the tables are in microseconds, and those
// that hosts ask about may be finer.
type instant struct {
	floor, next any // whole microseconds: not after the instant, and after it
	nanos       int64
}

func (v *View) instant(at time.Time) instant {
	// No record is near these bounds, and PostgreSQL knows no moment far beyond them.
	earliest, latest := time.Date(-4000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)
	switch {
	case at.Before(earliest):
		at = earliest
	case at.After(latest):
		at = latest
	}
	micros := at.UnixMicro()
	return instant{v.moment(micros), v.moment(micros + 1), 1000 - int64(at.Nanosecond()%1000)}
}

// expired tells whether a token's expiry has come at an instant, given as parameters: its
// whole microsecond, the next one, and how many nanoseconds it is before that. An expiry
// that was rounded up to the next microsecond may have come all the same.
func (v *View) expired(floor, next, nanos int) string {
	return fmt.Sprintf("(expires_at <= %s OR (expires_at = %s AND expires_nanos >= $%d))", v.momentParameter(floor), v.momentParameter(next), nanos)
}

func (v *View) failed(what, organization string, err error) error {
	return fmt.Errorf("sqlview %s: %s of %q: %w", v.t("*"), what, organization, err)
}
