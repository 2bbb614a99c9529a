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

// The file has one line for each change, oldest first, and what is in a cell is no
// formula. Break it by writing the cells as they are.
func TestActivityAsCSV(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate(`=HYPERLINK("//evil","x")`, oat.Never())
	for _, description := range []string{"+1", "-1", "@SUM(A1)", "\t=1", "\n=1", "  =1", "|x", "fine, \"quoted\"", "２"} {
		d.edit(token, "alice", oat.Edit{Description: &description})
	}
	answer := d.get("/orgs/acme/activity.csv").is(http.StatusOK)
	if got := answer.Header().Get("Content-Disposition"); got != `attachment; filename="acme-activity.csv"` {
		t.Error(got)
	}
	lines, err := csv.NewReader(answer.Body).ReadAll()
	must(t, err)
	if !slices.Equal(lines[0], []string{"time", "actor", "action", "token", "label", "field", "from", "to", "reason", "correlation"}) {
		t.Errorf("the head is %v", lines[0])
	}
	if got := strings.Join(lines[1], "|"); got != "2026-01-01T00:00:00Z|host:set-up|registered|||plan||team||" {
		t.Errorf("the first line is %s", got)
	}
	for _, line := range lines[1:] {
		for _, cell := range line {
			if strings.ContainsAny(strings.TrimLeft(cell, " \u00a0")+" ", "=+-@\t\n|") && strings.IndexAny(strings.TrimLeft(cell, " "), "=+-@\t\n|") == 0 {
				t.Errorf("the cell %q is a formula", cell)
			}
		}
	}
	last := lines[len(lines)-1]
	if last[5] != "description" || last[6] != `fine, "quoted"` || last[7] != "２" {
		t.Errorf("the last line is %q", last)
	}
	filtered, err := csv.NewReader(d.get("/orgs/acme/activity.csv?action=generated").Body).ReadAll()
	must(t, err)
	if len(filtered) != 4 || filtered[1][4] != `'=HYPERLINK("//evil","x")` {
		t.Errorf("what was generated: %q", filtered)
	}
}
