package console

import (
	"encoding/csv"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/projection"
)

// activityPage is everything that was decided about an organization, newest first.
type activityPage struct {
	frame
	Filter  filter
	Actions []choice
	Entries []happening
	Pager   pager
	CSV     string // the same as a file
	Any     bool   // whether a filter is set
}

// filter says which happenings to tell.
type filter struct {
	Action string // one of actions, "" for all
	Actor  string // a part of who did it
	Token  string // a part of the label, or the id
	Since  string // the first day, "" for the beginning
	Until  string // the last day, "" for today
}

// activitySize keeps the page below 100 KB, whatever tokens are called.
const activitySize = 15

func readFilter(query url.Values) filter {
	return filter{
		Action: clip(query.Get("action")), Actor: clip(query.Get("actor")), Token: clip(query.Get("token")),
		Since: dayOrNothing(query.Get("since")), Until: dayOrNothing(query.Get("until")),
	}
}

// dayOrNothing leaves out what is no day.
func dayOrNothing(s string) string {
	if _, err := time.Parse(time.DateOnly, s); err != nil {
		return ""
	}
	return s
}

// span is the part of the story between the days of the filter.
func (f filter) span() projection.Span {
	s := projection.Span{Descending: true}
	s.Since, _ = time.Parse(time.DateOnly, f.Since) // zero for nothing
	if until, err := time.Parse(time.DateOnly, f.Until); err == nil {
		s.Until = until.AddDate(0, 0, 1)
	}
	return s
}

func (f filter) admits(e *projection.Entry) bool {
	contains := func(text, part string) bool { return strings.Contains(strings.ToLower(text), strings.ToLower(part)) }
	switch {
	case f.Action != "" && actionOf(e.Type) != f.Action:
		return false
	case f.Actor != "" && !contains(actorInWords(e.Actor), f.Actor):
		return false
	case f.Token != "" && (e.Token == uuid.Nil || !contains(e.Label, f.Token) && e.Token.String() != f.Token):
		return false
	}
	return true
}

// plain tells whether only the days are filtered by, so that pages can be cut before
// anything is told.
func (f filter) plain() bool { return f.Action == "" && f.Actor == "" && f.Token == "" }

// activity shows one page of the story.
func (v *visit) activity() {
	query := v.r.URL.Query()
	f := readFilter(query)
	p := activityPage{frame: v.frame("Activity", "activity"), Filter: f, Any: f != filter{}}
	entries, total := v.story(f, query)
	p.Pager = newPager(query, total, activitySize)
	for i := range entries {
		p.Entries = append(p.Entries, v.happening(&entries[i]))
	}
	p.Actions = []choice{{"", "Everything", f.Action == ""}}
	for _, action := range actions() {
		words := actionInWords(action)
		p.Actions = append(p.Actions, choice{action, strings.ToUpper(words[:1]) + words[1:], action == f.Action})
	}
	p.CSV = v.at("activity.csv") + "?" + f.query().Encode()
	v.render(http.StatusOK, "activity", p)
}

// query is the filter as it stands in an address.
func (f filter) query() url.Values {
	query := make(url.Values)
	for name, value := range map[string]string{"action": f.Action, "actor": f.Actor, "token": f.Token, "since": f.Since, "until": f.Until} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query
}

// story is the page of what the filter admits, and how much that is on all pages.
func (v *visit) story(f filter, query url.Values) ([]projection.Entry, int) {
	span := f.span()
	if f.plain() {
		span.PageSize = 1
		total := v.cfg.History.Organization(v.org.Name, span).Total
		span.Page, span.PageSize = newPager(query, total, activitySize).Page, activitySize
		return v.cfg.History.Organization(v.org.Name, span).Entries, total
	}
	var admitted []projection.Entry
	all := v.cfg.History.Organization(v.org.Name, span).Entries
	for i := range all {
		if f.admits(&all[i]) {
			admitted = append(admitted, all[i])
		}
	}
	pager := newPager(query, len(admitted), activitySize)
	return admitted[pager.from:pager.to], len(admitted)
}

// byteOrderMark has Excel read the file as UTF-8 instead of in the code page of the machine.
const byteOrderMark = "\ufeff"

// activityCSV is everything that the filter admits as a file, oldest first, one line for
// each thing that changed.
func (v *visit) activityCSV() {
	f := readFilter(v.r.URL.Query())
	span := f.span()
	span.Descending = false
	v.w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
	v.w.Header().Set("Content-Disposition", `attachment; filename="`+v.org.Name+`-activity.csv"`)
	_, _ = io.WriteString(v.w, byteOrderMark)
	out := csv.NewWriter(v.w)
	out.UseCRLF = true // RFC 4180, 2
	_ = out.Write([]string{"time", "actor", "action", "token", "label", "field", "from", "to", "reason", "correlation"})
	all := v.cfg.History.Organization(v.org.Name, span).Entries
	for i := range all {
		if f.admits(&all[i]) {
			writeEntry(out, &all[i])
		}
	}
	if out.Flush(); out.Error() != nil {
		v.log(v.r, slog.LevelInfo, "activity was not read to its end", out.Error())
	}
}

// writeEntry leaves errors to the flush, which reports the first one.
func writeEntry(out *csv.Writer, e *projection.Entry) {
	token := ""
	if e.Token != uuid.Nil {
		token = e.Token.String()
	}
	changes := e.Changes
	if len(changes) == 0 {
		changes = []projection.Change{{}}
	}
	for _, c := range changes {
		line := []string{e.Time.UTC().Format(time.RFC3339Nano), e.Actor, actionOf(e.Type), token, e.Label, c.Field, c.From, c.To, e.Reason, e.Correlation}
		for i := range line {
			line[i] = harmless(line[i])
		}
		_ = out.Write(line)
	}
}

// harmless keeps a spreadsheet from taking what somebody typed for a formula: it puts an
// apostrophe before what spreadsheets start formulas with, wherever a cell can begin. That
// is at the beginning, and after what they split cells at, whichever is set or usual in the
// country, since quotation marks do not hold cells together that are split at something
// else. Spaces, quotation marks and what cannot be seen do not count. A tab or a line break
// that begins the text gets an apostrophe as well (OWASP, CSV injection).
func harmless(cell string) string {
	var b strings.Builder
	written, start, begins := 0, 0, true // start is where the cell begins that i is in
	for i, r := range cell {
		separates := strings.ContainsRune(",;\t\r\n", r)
		if begins && strings.ContainsRune("=+-@|%＝＋－＠", r) || separates && i == 0 && r != ',' && r != ';' {
			b.WriteString(cell[written:start])
			b.WriteByte('\'')
			written, begins = start, false
		}
		switch {
		case separates:
			start, begins = i+1, true
		case unicode.IsPrint(r) && r != ' ' && r != '"':
			begins = false
		}
	}
	b.WriteString(cell[written:])
	return b.String()
}
