package console_test

import (
	"encoding/csv"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oatmill/oatmill/oat"
)

// The activity tells everything, newest first, and filters by what, who, which and when.
// Break it by cutting the page before filtering, or by leaving the last day out.
func TestActivity(t *testing.T) {
	d := newDesk(t)
	day := 24 * time.Hour
	d.Clock.Advance(day)
	ci, _ := d.generate("ci", oat.Never())
	d.Clock.Advance(day)
	d.generate("mirror", oat.Never())
	must(t, d.Service.AddOwner(t.Context(), oat.Actor{User: "bob"}, oat.AddOwner{Organization: "acme", Owner: "dave"}))
	d.Clock.Advance(day)
	must(t, d.Service.Delete(t.Context(), oat.Actor{User: "bob"}, oat.Delete{Organization: "acme", Token: ci.ID}))
	d.catchUp()
	for query, want := range map[string]string{
		"":                                   "deleted added generated generated registered",
		"?action=generated":                  "generated generated",
		"?action=owner-added":                "added",
		"?action=nonsense":                   "",
		"?actor=BOB":                         "deleted added",
		"?actor=set-up":                      "registered",
		"?token=ci":                          "deleted generated",
		"?token=" + ci.ID.String():           "deleted generated",
		"?since=2026-01-03":                  "deleted added generated",
		"?until=2026-01-02":                  "generated registered",
		"?since=2026-01-03&until=2026-01-03": "added generated",
		"?since=soon&until=2026-13-01":       "deleted added generated generated registered",
		"?actor=alice&action=deleted":        "",
	} {
		var got []string
		if page := d.get("/orgs/acme/activity" + query).is(http.StatusOK).page(); page.id("timeline") != nil {
			for _, line := range story(page) {
				words := strings.Fields(strings.ReplaceAll(line, " (automatic)", ""))
				got = append(got, words[1])
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %v, want %s", query, got, want)
		}
	}
	page := d.get("/orgs/acme/activity?action=generated&since=2026-01-03").page()
	if page.value(t, "action") != "generated" || page.value(t, "since") != "2026-01-03" {
		t.Error("the filter forgets what was chosen")
	}
	if got := page.id("export").attrs["href"]; got != prefix+"/orgs/acme/activity.csv?action=generated&since=2026-01-03" {
		t.Errorf("the file of the same filter is %s", got)
	}
}

func TestActivityHasPages(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate("ci", oat.Never())
	for i := range 44 {
		label := strings.Repeat("x", i+1)
		d.edit(token, "alice", oat.Edit{Label: &label})
	}
	for query, want := range map[string][]int{"": {15, 15, 15, 1}, "&actor=alice": {15, 15, 15}} {
		for i, n := range want {
			page := d.get("/orgs/acme/activity?page=" + string(rune('1'+i)) + query).page()
			if got := len(story(page)); got != n {
				t.Errorf("page %d of %q has %d entries", i+1, query, got)
			}
			if next := page.id("next-page"); (next != nil) != (i < len(want)-1) {
				t.Errorf("page %d of %q leads on: %v", i+1, query, next)
			}
		}
	}
}

// The file has one line for each change, oldest first, a byte order mark and CRLF, and what
// is in a cell is no formula. Fails if the cells are written as they are.
func TestActivityAsCSV(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate(`=HYPERLINK("//evil","x")`, oat.Never())
	for _, description := range []string{"+1", "-1", "@SUM(A1)", "a\t=1", "a\n=1", "a\u00a0\n  =1", "|x", "fine, \"quoted\"", "２"} {
		d.edit(token, "alice", oat.Edit{Description: &description})
	}
	answer := d.get("/orgs/acme/activity.csv").is(http.StatusOK)
	if got := answer.Header().Get("Content-Disposition"); got != `attachment; filename="acme-activity.csv"` {
		t.Error(got)
	}
	lines := rows(t, answer, ',')
	if !slices.Equal(lines[0], []string{"time", "actor", "action", "token", "label", "field", "from", "to", "reason", "correlation"}) {
		t.Errorf("the head is %v", lines[0])
	}
	if got := strings.Join(lines[1], "|"); got != "2026-01-01T00:00:00Z|host:set-up|registered|||plan||team||" {
		t.Errorf("the first line is %s", got)
	}
	checkHarmless(t, lines)
	last := lines[len(lines)-1]
	if last[5] != "description" || last[6] != `fine, "quoted"` || last[7] != "２" {
		t.Errorf("the last line is %q", last)
	}
	filtered := rows(t, d.get("/orgs/acme/activity.csv?action=generated"), ',')
	if len(filtered) != 4 || filtered[1][4] != `'=HYPERLINK("//evil","x")` {
		t.Errorf("what was generated: %q", filtered)
	}
}

// rows reads a file as a spreadsheet does that splits cells at a character, and checks what
// holds for the whole of it.
func rows(t *testing.T, a answer, comma rune) [][]string {
	t.Helper()
	text, marked := strings.CutPrefix(a.Body.String(), "\ufeff")
	if !marked || strings.Count(text, "\n") != strings.Count(text, "\r\n") || strings.Count(text, "\r") != strings.Count(text, "\r\n") {
		t.Errorf("no byte order mark, or other line ends than CRLF: %q", text)
	}
	reader := csv.NewReader(strings.NewReader(text))
	reader.Comma, reader.LazyQuotes, reader.FieldsPerRecord = comma, true, -1
	all, err := reader.ReadAll()
	must(t, err)
	return all
}

// checkHarmless demands that no cell is a formula (OWASP, CSV injection), whatever a
// spreadsheet leaves out before it looks.
func checkHarmless(t *testing.T, rows [][]string) {
	t.Helper()
	for _, row := range rows {
		for _, cell := range row {
			if begins := strings.TrimLeft(cell, " \u00a0\u200b\"\t\r\n"); begins != "" && strings.ContainsRune("=+-@|%＝＋－＠", []rune(begins)[0]) {
				t.Errorf("the cell %q is a formula", cell)
			}
		}
	}
}

// Where cells are split at semicolons, as Excel does in most of Europe, or at tabs, as
// LibreOffice offers, a cell begins in the middle of what was typed: quotation marks hold a
// cell together only if they begin it. The cases are OWASP's ("CSV Injection"). Fails if harmless looks at the beginning only, does not look behind
// quotation marks and spaces, or does not know one of the separators.
func TestActivityIsHarmlessHoweverItIsSplit(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate("ci", oat.Never())
	for _, description := range []string{
		"x;=cmd|' /C calc'!A0", "x; =1+1", `x;"=1+1`, `x;" =1+1"`, `";=1`, "x,+1", "x\t@SUM(1)", "x\n=1", "x\n\n;-1", "x;;%1", "a;b;=c", "x;\u00a0=1",
		`=1`, `"=1"`, `'=1`, "x;＝1", `x;""=1`, "x\r\n=1", "x;'=1", "a=b;c-d, e+f",
	} {
		d.edit(token, "alice", oat.Edit{Description: &description})
	}
	for _, comma := range ",;\t|" {
		checkHarmless(t, rows(t, d.get("/orgs/acme/activity.csv").is(http.StatusOK), comma))
	}
	lines := rows(t, d.get("/orgs/acme/activity.csv"), ',')
	if got := lines[len(lines)-1][7]; got != "a=b;c-d, e+f" {
		t.Errorf("what is no formula became %q", got)
	}
}
