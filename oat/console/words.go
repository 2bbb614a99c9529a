package console

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
)

// instant is a moment as pages show it: in words, with the exact time behind them.
type instant struct {
	Words string // "3 minutes ago", "never"
	Exact string // "23 Nov 2026, 18:12:43 UTC"; "" when there is no such moment
	ISO   string // for the datetime attribute
}

func (v *visit) instant(at time.Time, none string) instant {
	if at.IsZero() {
		return instant{Words: none}
	}
	return instant{ago(at, v.now), exact(at), at.UTC().Format(time.RFC3339)}
}

// exact shows a time to the second in UTC. Local time would make what two owners read
// to each other differ.
func exact(at time.Time) string { return at.UTC().Format("2 Jan 2006, 15:04:05 UTC") }

// day shows the day of an instant.
func day(at time.Time) string { return at.UTC().Format("2 Jan 2006") }

// ago says how long before now an instant is, rounded down, or how long after, to the
// nearest: what was to last 90 days is "in 90 days" a moment later. What is a few seconds
// ahead is the clock of another machine.
func ago(at, now time.Time) string {
	d := now.Sub(at)
	switch {
	case d > -5*time.Second && d < time.Minute:
		return "just now"
	case d < 0:
		return "in " + span(nearest(-d))
	}
	return span(d) + " ago"
}

// nearest is d so that what is cut off of it by span is nearer to it from below.
func nearest(d time.Duration) time.Duration {
	for _, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute} {
		if d+unit/2 >= 2*unit {
			return d + unit/2
		}
	}
	return d
}

func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return "less than a minute"
	case d < time.Hour:
		return counted(int(d/time.Minute), "minute")
	case d < 2*day:
		return counted(int(d/time.Hour), "hour")
	case d < 100*day:
		return counted(int(d/day), "day")
	case d < 730*day:
		return counted(int(d/(30*day)), "month")
	}
	return counted(int(d/(365*day)), "year")
}

// soon is how long before its expiry a token is said to expire soon.
const soon = 7 * 24 * time.Hour

// status is a token's state in one word for programs and one for people.
type status struct{ Class, Words string }

const (
	expiring = "expiring" // active, and expires soon
	deleted  = "deleted"
)

func statusOf(t *projection.Token, now time.Time) status {
	switch {
	case t.State == projection.Inactive:
		return status{string(projection.Inactive), "Inactive"}
	case t.State == projection.Expired:
		return status{string(projection.Expired), "Expired"}
	case t.ExpiresAt != "" && t.Expires.Sub(now) <= soon:
		return status{expiring, "Expires soon"}
	}
	return status{string(projection.Active), "Active"}
}

// access is what resources open, in words.
type access struct {
	What, Level string   // for a row of the list
	Lines       []string // in full
}

func accessOf(organization string, resources []events.Resource) access {
	var a access
	writable := 0
	for _, r := range resources {
		what, level := resourceInWords(organization, r)
		a.Lines = append(a.Lines, what+", "+level)
		a.What, a.Level = what, level
		if slices.Contains(r.Scopes, oat.ScopePush) {
			writable++
		}
	}
	if n := len(resources); n > 1 {
		a.What = counted(n, "repository")
		switch writable {
		case 0:
			a.Level = "read"
		case n:
			a.Level = "read and write"
		default:
			a.Level = fmt.Sprintf("read and write for %d, read for %d", writable, n-writable)
		}
	}
	return a
}

// Summary is the lines, as far as a tooltip has room for them.
func (a access) Summary() string { return strings.Join(shorten(a.Lines, 3), "\n") }

// shorten keeps at most so many lines, fewer where they are long, and says how many there
// are beside them.
func shorten(lines []string, room int) []string {
	const long = 200
	kept, length := 0, 0
	for kept < len(lines) && kept < room && (kept == 0 || length+len(lines[kept]) <= long) {
		length += len(lines[kept])
		kept++
	}
	if kept == len(lines) {
		return lines
	}
	return append(slices.Clone(lines[:kept]), fmt.Sprintf("and %d more", len(lines)-kept))
}

func resourceInWords(organization string, r events.Resource) (what, level string) {
	what = r.Path
	switch r.Path {
	case oat.PathPublic:
		what = "Public repositories"
	case organization + "/*":
		what = "All repositories"
	}
	switch {
	case r.Type != oat.TypeRepository || len(r.Scopes) == 0:
		return what, "no access"
	case slices.Contains(r.Scopes, oat.ScopePush):
		return what, "read and write"
	case r.Path == oat.PathPublic:
		return what, "read only"
	}
	return what, "read"
}

// isolated returns what somebody typed for a place that takes no markup, between characters
// that keep its direction of writing from the text around it, as <bdi> does elsewhere.
func isolated(typed string) string { return "\u2068" + typed + "\u2069" }

// happening is an entry of a history in words.
type happening struct {
	When    instant
	Actor   string
	Action  string // "generated", "edited"
	Words   string // "generated the token"
	Token   string // id, "" for what is about the organization itself
	Label   string
	Reason  string
	Changes []change
}

type change struct{ Field, From, To string }

func (v *visit) happening(e *projection.Entry) happening {
	h := happening{When: v.instant(e.Time, ""), Actor: actorInWords(e.Actor), Action: actionOf(e.Type), Label: e.Label, Reason: e.Reason}
	h.Words = actionInWords(h.Action)
	if e.Token != uuid.Nil {
		h.Token = e.Token.String()
	}
	for _, c := range e.Changes {
		if h.Action != generatedToken || c.Field != "state" { // every new token is active
			h.Changes = append(h.Changes, v.change(c))
		}
	}
	return h
}

// What happens to tokens and organizations, as filters and the CSV name it.
const (
	generatedToken   = "generated"
	editedToken      = "edited"
	deactivatedToken = "deactivated"
	deletedToken     = "deleted"
	registered       = "registered"
	changedPlan      = "plan-changed"
	addedOwner       = "owner-added"
	removedOwner     = "owner-removed"
)

func actions() []string {
	return []string{generatedToken, editedToken, deactivatedToken, deletedToken, registered, changedPlan, addedOwner, removedOwner}
}

func actionOf(eventType string) string {
	switch eventType {
	case events.TypeTokenGenerated:
		return generatedToken
	case events.TypeTokenEdited:
		return editedToken
	case events.TypeTokenDeactivated:
		return deactivatedToken
	case events.TypeTokenDeleted:
		return deletedToken
	case events.TypeOrganizationRegistered:
		return registered
	case events.TypeOrganizationPlanChanged:
		return changedPlan
	case events.TypeOrganizationOwnerAdded:
		return addedOwner
	case events.TypeOrganizationOwnerRemoved:
		return removedOwner
	}
	return eventType
}

func actionInWords(action string) string {
	switch action {
	case registered:
		return "registered the organization"
	case changedPlan:
		return "changed the plan"
	case addedOwner:
		return "added an owner"
	case removedOwner:
		return "removed an owner"
	}
	return action + " the token"
}

// actorInWords tells a person from the host's own programs.
func actorInWords(actor string) string {
	if part, ok := strings.CutPrefix(actor, "host:"); ok {
		return part + " (automatic)"
	}
	return actor
}

// change puts a change into words. Of access it tells the difference only, and not more
// of it than a page has room for; the CSV has it in full.
func (v *visit) change(c projection.Change) change {
	if c.Field != "resources" {
		return change{fieldInWords(c.Field), valueInWords(c.Field, c.From), valueInWords(c.Field, c.To)}
	}
	const room = 4
	from, to := v.accessInWords(c.From), v.accessInWords(c.To)
	less := slices.DeleteFunc(slices.Clone(from), func(line string) bool { return slices.Contains(to, line) })
	more := slices.DeleteFunc(slices.Clone(to), func(line string) bool { return slices.Contains(from, line) })
	if len(less)+len(more) == 0 {
		less, more = from, to // the order changed, or how it is written down
	}
	return change{fieldInWords(c.Field), strings.Join(shorten(less, room), "; "), strings.Join(shorten(more, room), "; ")}
}

func (v *visit) accessInWords(value string) []string {
	if value == "" {
		return nil
	}
	return accessOf(v.org.Name, parseAccess(value)).Lines
}

func fieldInWords(field string) string {
	switch field {
	case "resources":
		return "Access"
	case "expires_at":
		return "Expires"
	case "state":
		return "Status"
	case "":
		return ""
	}
	return strings.ToUpper(field[:1]) + field[1:]
}

// valueInWords is a value of a [projection.Change]; nothing stays nothing.
func valueInWords(field, value string) string {
	if field == "expires_at" {
		if at, err := time.Parse(time.RFC3339Nano, value); err == nil {
			return exact(at)
		}
	}
	return value
}

// parseAccess reads resources as [projection.Change] writes them.
func parseAccess(text string) (resources []events.Resource) {
	for line := range strings.SplitSeq(text, "; ") {
		path, scopes, _ := strings.Cut(line, ": ")
		resources = append(resources, events.Resource{Type: oat.TypeRepository, Path: path, Scopes: strings.Split(scopes, ", ")})
	}
	return resources
}
