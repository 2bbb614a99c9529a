package console

import (
	"testing"
	"time"
)

// What was is rounded down, so that nothing is said to be older than it is, and what is to
// come to the nearest.
func TestAgo(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for before, want := range map[time.Duration]string{
		0: "just now", 59 * time.Second: "just now", -4 * time.Second: "just now", -30 * time.Second: "in less than a minute",
		time.Minute: "1 minute ago", 3*time.Minute + 59*time.Second: "3 minutes ago", -time.Hour: "in 1 hour", 47 * time.Hour: "47 hours ago",
		-90*day + time.Second: "in 90 days", -3*day - 11*time.Hour: "in 3 days", -3*day - 13*time.Hour: "in 4 days", -2*day + time.Minute: "in 2 days",
		-90*time.Minute - time.Second: "in 2 hours", -2*time.Minute + time.Second: "in 2 minutes", -61 * time.Second: "in 1 minute",
		2 * day: "2 days ago", 99 * day: "99 days ago", 100 * day: "3 months ago", -730 * day: "in 2 years", 9000 * day: "24 years ago",
	} {
		if got := ago(now.Add(-before), now); got != want {
			t.Errorf("%s before: %q, want %q", before, got, want)
		}
	}
}

// Where a cell begins that a spreadsheet takes for a formula there is an apostrophe, and
// nowhere else.
func TestHarmless(t *testing.T) {
	for cell, want := range map[string]string{
		"": "", " ": " ", "api": "api", "a=1": "a=1", "'=1": "'=1", "=1": "'=1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "\tx": "'\tx", "\r=": "'\r'=", "\n=": "'\n'=",
		"  =1": "'  =1", "\u00a0=1": "'\u00a0=1", "|x": "'|x", "%x": "'%x", "＝1": "'＝1", "\xff=1": "\xff=1",
		"x;=1": "x;'=1", "x; \"=1": "x;' \"=1", "a;b,+c\n-d": "a;b,'+c\n'-d", ";": ";",
	} {
		if got := harmless(cell); got != want {
			t.Errorf("%q becomes %q, want %q", cell, got, want)
		}
	}
}
