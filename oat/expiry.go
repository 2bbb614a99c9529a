package oat

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Expiry is when a token stops to authenticate: at an instant, or never. It is
// chosen when the token is generated and cannot be changed.
//
// The zero Expiry is no choice, and [Service.Generate] refuses it: a token that
// lives for ever is asked for by name, with [Never], and does not come of a time
// that somebody forgot to set.
type Expiry struct {
	text   string // as it was given
	at     time.Time
	chosen bool
}

// Never is the expiry of a token that lives until it is deactivated or deleted.
func Never() Expiry { return Expiry{chosen: true} }

// ExpiresAt is the expiry at t, to the microsecond. A year above 9999, which no text
// of RFC 3339 can say, is refused by [Service.Generate].
func ExpiresAt(t time.Time) Expiry {
	t = t.UTC().Truncate(time.Microsecond)
	return Expiry{text: t.Format(time.RFC3339Nano), at: t, chosen: true}
}

// ParseExpiry reads an instant in RFC 3339, like "2027-01-31T00:00:00Z". The expiry
// keeps the very text, and every read model gives it back as it was. The error is
// [ErrInvalid] and does not repeat the text, which may be anything somebody pasted.
func ParseExpiry(text string) (Expiry, error) {
	e, err := recordedExpiry(text)
	if err != nil || text == "" || loose(text, e.at) {
		return Expiry{}, fmt.Errorf("%w: expiry: want an instant like 2027-01-31T00:00:00Z", ErrInvalid)
	}
	return e, nil
}

// loose tells of what time.Parse takes for t although RFC 3339 does not have it: an hour
// of one digit, a comma before the fraction, and an offset of a day or with 60 minutes.
// What is recorded is for readers in other languages, too, and they are less kind.
func loose(text string, t time.Time) bool {
	_, offset := t.Zone()
	return text[len("2006-01-02T15")] != ':' || strings.Contains(text, ",") ||
		strings.HasSuffix(text, ":60") || offset <= -86400 || offset >= 86400
}

// recordedExpiry reads what was recorded: nothing for never.
func recordedExpiry(text string) (Expiry, error) {
	if text == "" {
		return Never(), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || len(text) > len(time.RFC3339Nano) || t.Year() < 1 {
		return Expiry{}, fmt.Errorf("expires_at %q is no instant", clip(text))
	}
	return Expiry{text: text, at: t, chosen: true}, nil
}

// recordable tells whether recordedExpiry will read what is recorded. Whatever follows
// the log stops for good at an expiry that it cannot read.
func (e Expiry) recordable() bool {
	_, err := recordedExpiry(e.text)
	return err == nil
}

// Time is the instant, and false for never.
func (e Expiry) Time() (time.Time, bool) { return e.at, e.text != "" }

// String is the instant as it was given, and "" for never.
func (e Expiry) String() string { return e.text }

// MarshalText is [Expiry.String].
func (e Expiry) MarshalText() ([]byte, error) { return []byte(e.text), nil }

// Reached tells whether a token with this expiry has expired at now.
func (e Expiry) Reached(now time.Time) bool { return e.text != "" && !now.Before(e.at) }

// nanoseconds is the instant as a number that times of today can be compared with:
// nanoseconds since 1970. Instants outside their range, some 290 years around 1970,
// are cut off, and never lies at the upper end.
func (e Expiry) nanoseconds() int64 {
	const end = int64(math.MaxInt64) / int64(time.Second)
	switch {
	case e.text == "" || e.at.Unix() >= end:
		return math.MaxInt64
	case e.at.Unix() <= -end:
		return math.MinInt64
	}
	return e.at.UnixNano()
}
