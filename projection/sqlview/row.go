package sqlview

import (
	"cmp"
	"database/sql"
	"slices"
	"strings"
	"time"

	"github.com/oatmill/oatmill/events"
)

// organization is a row of organizations. Moments here and below are in microseconds since
// 1970, as exact as records are.
type organization struct {
	name, plan           string
	owners               []string
	registered, modified int64
	modifiedBy           string
	modifiedVersion      events.Version
	head                 events.Head // of its stream, up to the last record in the rows
	tokens, inactive     int
	closed               string // why it is closed, empty when it is open
	problem              error  // what closed it in this fold
	changed              bool
}

// maxReason is how many bytes of a reason are stored, of which PostgreSQL keeps all in an
// index.
const maxReason = 1000

// close closes the organization because of err.
func (o *organization) close(err error) {
	reason := clean(strings.ToValidUTF8(err.Error(), "\uFFFD"))
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "") + "…"
	}
	o.closed, o.problem, o.changed = reason, err, true
}

func (o *organization) deactivate(t *token) {
	if !t.inactive {
		t.inactive = true
		o.inactive++
	}
}

// token is a row of tokens, with what becomes of it in the batch. A nil one does not exist.
type token struct {
	key
	label, description string
	inactive           bool
	resources          []events.Resource // only when the batch grants them, nil otherwise
	resourcesJSON      string
	created            int64
	createdBy          string
	expires            sql.NullInt64 // rounded up
	expiresNanos       int64         // by how much
	expiresText        string
	modified           int64
	modifiedBy         string
	version            events.Version

	stored  bool // in the table when the batch began
	live    bool // in it when the batch ends
	fresh   bool // generated in the batch
	changed bool
}

func (t *token) exists() bool { return t != nil && t.live }

func (t *token) generate(r *events.Recorded, p *events.TokenGenerated, expires time.Time) {
	t.label, t.description, t.resources = p.Label, p.Description, nonNil(p.Resources)
	t.created, t.createdBy = r.Time.UnixMicro(), r.Actor
	t.expiresText = p.ExpiresAt
	if p.ExpiresAt != "" {
		t.expires.Int64, t.expiresNanos = roundUp(expires)
		t.expires.Valid = true
	}
	t.changed, t.modified, t.modifiedBy, t.version = true, r.Time.UnixMicro(), r.Actor, r.Version
}

func (t *token) edit(p *events.TokenEdited) {
	if p.Label != nil {
		t.label = *p.Label
	}
	if p.Description != nil {
		t.description = *p.Description
	}
	if p.Resources != nil {
		t.resources = p.Resources
	}
}

// roundUp is a moment in microseconds, and by how many nanoseconds it was rounded up. At a
// moment in whole microseconds a token has expired exactly when the rounded one has come.
func roundUp(t time.Time) (micros, nanos int64) {
	micros, nanos = t.UnixMicro(), int64(t.Nanosecond()%1000)
	if nanos == 0 {
		return micros, 0
	}
	return micros + 1, 1000 - nanos
}

// reach is what a resource lets a token do. What is not understood, or reaches outside the
// organization, opens nothing, as in the verifier.
func reach(organization string, r events.Resource) (pull, push bool) {
	ours := strings.HasPrefix(r.Path, organization+"/") && len(r.Path) > len(organization)+1
	if r.Type != "TYPE_REPO" || !ours && r.Path != "*/*/public" {
		return false, false
	}
	push = slices.Contains(r.Scopes, "scope-image-push")
	pull = push || slices.Contains(r.Scopes, "scope-image-pull")
	return pull, push && ours
}

// usage is what a batch adds to a row of last_used.
type usage struct{ accepted, refused span }

// span is an [events.UseSpan] in which nothing is shared with the record it came in.
type span struct {
	first, last               int64
	count                     int64
	cause, address, userAgent string
}

// merge adds a span, as [set.mergeUses] does.
func (s *span) merge(o *events.UseSpan) {
	if o == nil || o.Count < 1 {
		return
	}
	first, last := o.First.UnixMicro(), o.Last.UnixMicro()
	if s.count == 0 {
		*s = span{first, last, o.Count, o.Cause, o.Address, o.UserAgent}
		return
	}
	s.first = min(s.first, first)
	s.count += o.Count
	if c := cmp.Compare(last, s.last); c > 0 || c == 0 && s.compare(o) < 0 {
		s.last, s.cause, s.address, s.userAgent = last, o.Cause, o.Address, o.UserAgent
	}
}

// compare decides between attempts of the same moment, so that every reader keeps the same
// one. Which one is of no importance.
func (s *span) compare(o *events.UseSpan) int {
	return cmp.Or(strings.Compare(s.address, o.Address), strings.Compare(s.userAgent, o.UserAgent), strings.Compare(s.cause, o.Cause))
}

// nonNil has an absent list stored as an empty one.
func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
