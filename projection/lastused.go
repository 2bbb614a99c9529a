package projection

import (
	"cmp"
	"strings"
	"time"

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
	feed[*stream, usage]
	texts    texts
	maxTexts int
}

// Usage is the use of one token. A span is zero when there was no such attempt.
type Usage struct {
	Token    uuid.UUID      `json:"token"`
	Accepted events.UseSpan `json:"accepted,omitzero"`
	Refused  events.UseSpan `json:"refused,omitzero"`
}

// usage is a Usage without pointers, which a garbage collector need not look at. Its slot
// takes two lines of the processor's cache, and the first has what is mostly needed: the
// key, and the attempts that were accepted.
type usage struct {
	accepted, refused attempts
	_                 [16]byte
}

// attempts is a span, with what is known of the latest attempt in it.
type attempts struct {
	first, last               int64 // microseconds since 1970, as exact as records are
	count                     int64 // 0 when there was none
	cause, address, userAgent text
}

// NewLastUsed knows of no use, at position 0.
func NewLastUsed() *LastUsed {
	l := &LastUsed{texts: newTexts(), maxTexts: minTexts}
	l.serve(l)
	return l
}

func (l *LastUsed) begin(string) *stream { return new(stream) }

func (l *LastUsed) fold(_ *stream, d *sight[*stream]) error {
	switch d.payload.(type) {
	case *events.TokenGenerated:
		_, err := l.add(d)
		return err
	case *events.TokenDeleted:
		if _, err := l.find(d); err != nil {
			return err
		}
		l.remove(d)
	}
	return nil
}

func (l *LastUsed) use(u *usage, use *events.UseView) {
	l.merge(&u.accepted, &use.Accepted)
	l.merge(&u.refused, &use.Refused)
	if len(l.texts.list) > l.maxTexts {
		l.forgetTexts()
	}
}

// minTexts is how many texts may always be kept.
const minTexts = 1 << 14

// forgetTexts lets go of the texts that no token was last used with. It goes through all
// tokens, and is therefore done when there are twice as many texts as it left the last
// time, and as many as there are tokens.
func (l *LastUsed) forgetTexts() {
	old := l.texts
	l.texts = newTexts()
	for u := range l.tokens.all() {
		for _, a := range []*attempts{&u.accepted, &u.refused} {
			for _, n := range []*text{&a.cause, &a.address, &a.userAgent} {
				*n = l.texts.number([]byte(old.of(*n)))
			}
		}
	}
	l.maxTexts = max(minTexts, 2*len(l.texts.list), l.tokens.used)
}

// merge adds a span. Neither the order of spans nor how they are grouped makes a
// difference.
func (l *LastUsed) merge(a *attempts, span *events.SpanView) {
	if span.Count < 1 {
		return
	}
	first, last := span.First.UnixMicro(), span.Last.UnixMicro()
	if a.count == 0 {
		a.first = first
	}
	if a.count == 0 || last > a.last || last == a.last && l.tells(a, span) {
		a.last = last
		a.cause, a.address, a.userAgent = l.texts.number(span.Cause), l.texts.number(span.Address), l.texts.number(span.UserAgent)
	}
	a.first = min(a.first, first)
	a.count += span.Count
}

// tells decides for or against span, of the same moment, so that every reader keeps the
// same one. Which one is of no importance.
func (l *LastUsed) tells(a *attempts, span *events.SpanView) bool {
	return cmp.Or(strings.Compare(string(span.Address), l.texts.of(a.address)), strings.Compare(string(span.UserAgent), l.texts.of(a.userAgent)),
		strings.Compare(string(span.Cause), l.texts.of(a.cause))) > 0
}

// Of is the use of a token. It is not found when the token was never used, is
// deleted, or belongs to another organization.
func (l *LastUsed) Of(organization string, id uuid.UUID) (Usage, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	u := l.of(organization, id)
	if u == nil || u.accepted.count == 0 && u.refused.count == 0 {
		return Usage{}, false
	}
	return Usage{Token: id, Accepted: l.span(&u.accepted), Refused: l.span(&u.refused)}, true
}

func (l *LastUsed) span(a *attempts) events.UseSpan {
	if a.count == 0 {
		return events.UseSpan{}
	}
	return events.UseSpan{
		First: time.UnixMicro(a.first).UTC(), Last: time.UnixMicro(a.last).UTC(), Count: a.count,
		Cause: l.texts.of(a.cause), Address: l.texts.of(a.address), UserAgent: l.texts.of(a.userAgent),
	}
}

// text is the number of a text, 0 of the empty one.
type text uint32

// texts numbers texts. Most are the same few: the programs and places tokens are used with.
type texts struct {
	numbers map[string]text
	list    []string
}

func newTexts() texts { return texts{numbers: make(map[string]text), list: []string{""}} }

func (t *texts) number(b []byte) text {
	if len(b) == 0 {
		return 0
	}
	n, known := t.numbers[string(b)]
	if !known {
		n = text(len(t.list))
		t.list = append(t.list, string(b))
		t.numbers[t.list[n]] = n
	}
	return n
}

func (t *texts) of(n text) string { return t.list[n] }
