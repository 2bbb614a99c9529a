package projection

import (
	"cmp"
	"context"
	"encoding/binary"
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
	feed
	organizations map[string]*stream
	tokens        table[usage]
	uses          uses
	seen          map[string]*attempt // to be shared, by their texts one behind the other
	said          []byte              // these texts of the attempt in hand
}

// Usage is the use of one token. A span is zero when there was no such attempt.
type Usage struct {
	Token    uuid.UUID      `json:"token"`
	Accepted events.UseSpan `json:"accepted,omitzero"`
	Refused  events.UseSpan `json:"refused,omitzero"`
}

// usage is a Usage in 64 bytes: a rebuild spends most of its time on getting hold
// of them.
type usage struct{ accepted, refused attempts }

// attempts is a span, with what is known of the latest attempt in it.
type attempts struct {
	first, last int64 // microseconds since 1970, as exact as records are
	count       int64
	latest      *attempt // nil when there was none; never changed
}

type attempt struct{ cause, address, userAgent string }

// NewLastUsed knows of no use, at position 0.
func NewLastUsed() *LastUsed {
	return &LastUsed{organizations: make(map[string]*stream), tokens: newTable[usage](), seen: make(map[string]*attempt)}
}

// Apply implements [Projection].
func (l *LastUsed) Apply(ctx context.Context, batch []events.Recorded) error {
	return l.apply(ctx, batch, l)
}

func (l *LastUsed) decided(organization string, r *events.Recorded, p events.Payload) error {
	return advance(l, l.organizations, organization, r, p)
}

func (l *LastUsed) begin(string) *stream { return new(stream) }

func (l *LastUsed) fold(o *stream, r *events.Recorded, p events.Payload) error {
	switch p := p.(type) {
	case *events.TokenGenerated:
		key, err := vacant(&l.tokens, o, r, p.Token)
		if err == nil {
			l.tokens.put(key, usage{})
		}
		return err
	case *events.TokenDeleted:
		key, _, err := find(&l.tokens, o, r, p.Token)
		if err == nil {
			l.tokens.remove(key)
		}
		return err
	}
	return nil
}

func (l *LastUsed) used(organization string, r *events.Recorded) error {
	used, err := l.uses.in(r)
	if err != nil {
		return err
	}
	o, ok := l.organizations[organization]
	if !ok {
		return nil
	}
	for i, id := range l.uses.tokens {
		if u := l.tokens.get(tokenKey{o.number, id}); u != nil {
			l.merge(&u.accepted, &used[i].Accepted)
			l.merge(&u.refused, &used[i].Refused)
		}
	}
	return nil
}

// merge adds a span. Neither the order of spans nor how they are grouped makes a
// difference.
func (l *LastUsed) merge(a *attempts, span *events.SpanView) {
	if span.Count < 1 {
		return
	}
	first, last := span.First.UnixMicro(), span.Last.UnixMicro()
	if a.latest == nil {
		*a = attempts{first, last, span.Count, l.remember(span)}
		return
	}
	a.first = min(a.first, first)
	a.count += span.Count
	if last > a.last || last == a.last && a.latest.tells(span) {
		a.last, a.latest = last, l.remember(span)
	}
}

// maxSeen bounds how many attempts are kept to be shared.
const maxSeen = 1 << 14

// remember is what is kept of a span. Most tokens share it, because most are used by the
// same few programs from the same few places.
func (l *LastUsed) remember(span *events.SpanView) *attempt {
	l.said = l.said[:0]
	for _, text := range [][]byte{span.Cause, span.Address, span.UserAgent} {
		l.said = binary.AppendUvarint(l.said, uint64(len(text)))
		l.said = append(l.said, text...)
	}
	if known, ok := l.seen[string(l.said)]; ok {
		return known
	}
	if len(l.seen) >= maxSeen {
		clear(l.seen)
	}
	a := &attempt{string(span.Cause), string(span.Address), string(span.UserAgent)}
	l.seen[string(l.said)] = a
	return a
}

// tells decides for or against span, of the same moment, so that every reader keeps the
// same one. Which one is of no importance.
func (a *attempt) tells(span *events.SpanView) bool {
	return cmp.Or(strings.Compare(string(span.Address), a.address), strings.Compare(string(span.UserAgent), a.userAgent), strings.Compare(string(span.Cause), a.cause)) > 0
}

// Of is the use of a token. It is not found when the token was never used, is
// deleted, or belongs to another organization.
func (l *LastUsed) Of(organization string, id uuid.UUID) (Usage, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	o, ok := l.organizations[organization]
	if !ok {
		return Usage{}, false
	}
	u := l.tokens.get(tokenKey{o.number, id})
	if u == nil || u.accepted.latest == nil && u.refused.latest == nil {
		return Usage{}, false
	}
	return Usage{Token: id, Accepted: u.accepted.span(), Refused: u.refused.span()}, true
}

func (a *attempts) span() events.UseSpan {
	if a.latest == nil {
		return events.UseSpan{}
	}
	return events.UseSpan{
		First: time.UnixMicro(a.first).UTC(), Last: time.UnixMicro(a.last).UTC(), Count: a.count,
		Cause: a.latest.cause, Address: a.latest.address, UserAgent: a.latest.userAgent,
	}
}
