package console

import (
	"bytes"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
)

// pageSize keeps the list below 100 KB, whatever the tokens are called.
const pageSize = 20

// maxSearch is how many bytes of a search are looked at.
const maxSearch = 200

// listPage is the page Access tokens.
type listPage struct {
	frame
	Room    room
	Rows    []row
	Total   int // that were found
	Search  string
	Status  string
	Filters []choice
	Columns []column
	Pager   pager
	// Sort is carried on by the search form.
	Sort string
}

// row is one token of the list.
type row struct {
	ID, Label, Description, Creator string
	Status                          status
	Access                          access
	Created, Used                   instant
	Expires                         instant
	Editable                        bool   // otherwise it can only be deleted
	Refused                         string // how often it was, which is how a leak shows
}

// choice is an option of a select element.
type choice struct {
	Value, Words string
	Chosen       bool
}

// column is the head of one column, and the link that sorts by it.
type column struct {
	Words string
	Link  string // "" for what is not sorted by
	Sort  string // for aria-sort, "" when it is not the order
}

// room is how many tokens there are, and how many there may be.
type room struct {
	Count, Limit int
	Plan         string
	Share        int    // of the limit, in percent, at most 100
	Full         string // why nothing can be generated, "" when something can
}

func (v *visit) room() room {
	count, _ := v.cfg.Counts.Of(v.org.Name, v.now)
	r := room{Count: count.Total, Limit: count.Limit, Plan: v.org.Plan}
	switch {
	case count.Limit == 0 && v.org.Plan == "":
		r.Full = "The organization has no plan. Organization access tokens need one that has them."
	case count.Limit == 0:
		r.Full = "The plan " + v.org.Plan + " has no organization access tokens. Those that are left from another plan do not open anything."
	case count.Remaining == 0:
		r.Full = "All " + strconv.Itoa(count.Limit) + " tokens of the plan " + v.org.Plan + " are in use. Delete one to generate another."
	}
	if count.Limit > 0 {
		r.Share = min(100, 100*count.Total/count.Limit)
	}
	return r
}

// tokens shows the list.
func (v *visit) tokens() {
	query := v.r.URL.Query()
	p := listPage{frame: v.frame("Access tokens", "tokens"), Room: v.room(), Search: clip(query.Get("q")), Status: query.Get("status")}
	found := v.find(p.Search, p.Status)
	p.Total, p.Sort = len(found), v.sort(found, query.Get("sort"))
	p.Filters = filters(p.Status)
	p.Columns = columns(query, p.Sort)
	p.Pager = newPager(query, len(found), pageSize)
	for _, t := range found[p.Pager.from:p.Pager.to] {
		p.Rows = append(p.Rows, v.row(t))
	}
	v.render(http.StatusOK, "list", p)
}

// listed is a token with what it is sorted by beside its own fields.
type listed struct {
	projection.Token
	used    time.Time
	refused int64 // attempts with the right secret
	status  status
}

// find is every token that a search and a filter leave. A search looks for the text in
// what the list shows of a token, letter case aside.
func (v *visit) find(search, only string) (found []*listed) {
	search = strings.ToLower(search)
	for _, t := range v.cfg.Tokens.List(v.org.Name, projection.Query{At: v.now}).Tokens {
		l := &listed{Token: t, status: statusOf(&t, v.now)}
		if usage, ok := v.cfg.LastUsed.Of(v.org.Name, t.ID); ok {
			l.used, l.refused = usage.Accepted.Last, usage.Refused.Count
		}
		if l.shows(search) && l.is(only) {
			found = append(found, l)
		}
	}
	return found
}

func (l *listed) shows(search string) bool {
	if search == "" {
		return true
	}
	texts := []string{l.Label, l.Description, l.CreatedBy, l.ID.String()}
	for _, r := range l.Resources {
		texts = append(texts, r.Path)
	}
	return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(strings.ToLower(text), search) })
}

// is tells whether the token passes a filter. A token that expires soon is active; a
// filter nobody knows leaves everything.
func (l *listed) is(only string) bool {
	switch only {
	case string(projection.Active):
		return l.State == projection.Active
	case string(projection.Inactive), string(projection.Expired), expiring:
		return l.status.Class == only
	}
	return true
}

func filters(chosen string) []choice {
	all := []choice{{"", "All", false}, {"active", "Active", false}, {expiring, "Expires soon", false}, {"inactive", "Inactive", false}, {"expired", "Expired", false}}
	for i := range all {
		all[i].Chosen = all[i].Value == chosen
	}
	return all
}

// newest is the order of a list that nobody sorted.
const newest = "-created"

// sort sorts by a column's name, with a "-" before it the other way around, and returns
// the order it took. Tokens that are equal in it are sorted by id, so that pages never
// overlap.
func (v *visit) sort(tokens []*listed, order string) string {
	compare := comparison(strings.TrimPrefix(order, "-"))
	if compare == nil {
		order, compare = newest, comparison("created")
	}
	slices.SortFunc(tokens, func(a, b *listed) int {
		if order[0] == '-' {
			a, b = b, a
		}
		if order := compare(a, b); order != 0 {
			return order
		}
		return bytes.Compare(a.ID[:], b.ID[:])
	})
	return order
}

func comparison(column string) func(a, b *listed) int {
	switch column {
	case "label":
		return func(a, b *listed) int { return strings.Compare(strings.ToLower(a.Label), strings.ToLower(b.Label)) }
	case "status":
		return func(a, b *listed) int { return strings.Compare(a.status.Words, b.status.Words) }
	case "created":
		return func(a, b *listed) int { return a.CreatedAt.Compare(b.CreatedAt) }
	case "used":
		return func(a, b *listed) int { return a.used.Compare(b.used) }
	case "expires":
		return func(a, b *listed) int { return a.end().Compare(b.end()) }
	}
	return nil
}

// end is when the token expires; what never does comes last.
func (l *listed) end() time.Time {
	if l.ExpiresAt == "" {
		return time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return l.Expires
}

// columns are the heads of the list. The link of the column that is the order turns it
// around.
func columns(query url.Values, order string) []column {
	heads := []struct{ name, words string }{
		{"label", "Label"}, {"status", "Status"}, {"", "Access"}, {"created", "Created"}, {"used", "Last used"}, {"expires", "Expires"},
	}
	all := make([]column, len(heads))
	for i, head := range heads {
		all[i].Words = head.words
		if head.name == "" {
			continue
		}
		next := head.name
		switch order {
		case head.name:
			all[i].Sort, next = "ascending", "-"+head.name
		case "-" + head.name:
			all[i].Sort = "descending"
		}
		all[i].Link = with(query, "sort", next)
	}
	return all
}

func (v *visit) row(t *listed) row {
	r := row{
		ID: t.ID.String(), Label: t.Label, Description: beginning(t.Description), Creator: actorInWords(t.CreatedBy),
		Status: t.status, Access: accessOf(v.org.Name, t.Resources), Editable: t.State == projection.Active,
		Created: v.instant(t.CreatedAt, ""), Used: v.instant(t.used, "Never"), Expires: v.expiry(&t.Token),
	}
	if t.refused > 0 {
		r.Refused = counted(int(t.refused), "time") + " refused"
	}
	return r
}

// beginning is as much of a description as a row has room for.
func beginning(description string) string {
	if runes := []rune(description); len(runes) > 80 {
		return string(runes[:80]) + "…"
	}
	return description
}

func (v *visit) expiry(t *projection.Token) instant {
	if t.ExpiresAt == "" {
		return instant{Words: "Never"}
	}
	return v.instant(t.Expires, "")
}

// pager leads from one page of something to the others.
type pager struct {
	Page, Pages, Total int
	First, Last        int // of the things on this page, counted from 1
	Previous, Next     string
	from, to           int
}

// newPager cuts n things into pages. A page number that is none is the first page, and
// one that is too high the last.
func newPager(query url.Values, n, size int) pager {
	p := pager{Pages: max(1, (n+size-1)/size), Total: n}
	p.Page, _ = strconv.Atoi(query.Get("page"))
	p.Page = min(max(p.Page, 1), p.Pages)
	p.from = (p.Page - 1) * size
	p.to = min(p.from+size, n)
	p.First, p.Last = min(p.from+1, n), p.to
	if p.Page > 1 {
		p.Previous = with(query, "page", strconv.Itoa(p.Page-1))
	}
	if p.Page < p.Pages {
		p.Next = with(query, "page", strconv.Itoa(p.Page+1))
	}
	return p
}

// with is a query with one value set and no notice. Whoever sets another value than the
// page starts at the first page again.
func with(query url.Values, name, value string) string {
	next := url.Values{}
	for _, keep := range []string{"q", "status", "sort", "page", "action", "actor", "token", "since", "until"} {
		if v := query.Get(keep); v != "" && (keep != "page" || name == "page") {
			next.Set(keep, clip(v))
		}
	}
	next.Set(name, value)
	return "?" + next.Encode()
}

// clip cuts what somebody typed into a search to what is looked at, and makes it text.
func clip(s string) string {
	return oat.CleanText(strings.ToValidUTF8(s[:min(len(s), maxSearch)], ""))
}
