package projection

import (
	"cmp"
	"strings"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
)

// LastUsed is how each token was used: when first and last, how often, from where;
// and the same for attempts that were refused although they had the right secret,
// which is how a leak shows.
//
// Several processes record the uses of one token side by side. They are merged by
// the earliest and latest time, and what else is known of an attempt is kept of
// the latest, so their order does not matter. A deleted token is dropped, and what
// is recorded of it afterwards is ignored: use is recorded with a delay and may
// well come after.
type LastUsed struct {
	model[map[uuid.UUID]Usage]
}

// Usage is the use of one token. A span is zero when there was no such attempt.
type Usage struct {
	Token    uuid.UUID      `json:"token"`
	Accepted events.UseSpan `json:"accepted,omitzero"`
	Refused  events.UseSpan `json:"refused,omitzero"`
}

// NewLastUsed returns a read model at position 0.
func NewLastUsed() *LastUsed {
	l := new(LastUsed)
	l.init(l)
	return l
}

func (l *LastUsed) begin(string) map[uuid.UUID]Usage { return make(map[uuid.UUID]Usage) }

func (l *LastUsed) fold(tokens map[uuid.UUID]Usage, d *reading) error {
	return foldExistence(tokens, d)
}

func (l *LastUsed) use(tokens map[uuid.UUID]Usage, token uuid.UUID, use *events.UseView) {
	u, found := tokens[token]
	if !found {
		return
	}
	u.Token = token
	merge(&u.Accepted, &use.Accepted)
	merge(&u.Refused, &use.Refused)
	tokens[token] = u
}

// merge adds a span. Neither the order of spans nor how they are grouped makes a
// difference.
func merge(into *events.UseSpan, span *events.SpanView) {
	if span.Count < 1 {
		return
	}
	first, last := span.First.UTC(), span.Last.UTC()
	if into.Count == 0 || first.Before(into.First) {
		into.First = first
	}
	if into.Count == 0 || last.After(into.Last) || last.Equal(into.Last) && precedes(into, span) {
		into.Last = last
		setText(&into.Cause, span.Cause)
		setText(&into.Address, span.Address)
		setText(&into.UserAgent, span.UserAgent)
	}
	into.Count += span.Count
}

// precedes reports whether span replaces what is known of another attempt at the same
// instant. Which of the two is kept does not matter, only that every reader keeps the same.
func precedes(kept *events.UseSpan, span *events.SpanView) bool {
	return cmp.Or(strings.Compare(string(span.Address), kept.Address), strings.Compare(string(span.UserAgent), kept.UserAgent),
		strings.Compare(string(span.Cause), kept.Cause)) > 0
}

// setText copies text that differs, which saves an allocation for most uses.
func setText(into *string, text []byte) {
	if *into != string(text) {
		*into = string(text)
	}
}

// Of returns the use of a token. It is not found when the token was never used, is
// deleted, or belongs to another organization.
func (l *LastUsed) Of(organization string, id uuid.UUID) (Usage, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	tokens, _ := l.state(organization)
	u := tokens[id]
	return u, u.Accepted.Count > 0 || u.Refused.Count > 0
}
