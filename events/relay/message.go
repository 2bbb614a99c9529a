package relay

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/oatmill/oatmill/events"
)

// The metadata keys of a message made from a record. The package comment says what
// stands under each.
const (
	KeyType        = "oatmill_type"
	KeyStream      = "oatmill_stream"
	KeyVersion     = "oatmill_version"
	KeyPosition    = "oatmill_position"
	KeyTime        = "oatmill_time"
	KeyPrevious    = "oatmill_previous"
	KeyActor       = "oatmill_actor"
	KeyCorrelation = "oatmill_correlation"
	KeyCausation   = "oatmill_causation"
	KeyReason      = "oatmill_reason"
)

// keyWatermillCorrelation is where Watermill's correlation middleware looks. Its own
// constant is in a package that would bring all the other middleware along.
const keyWatermillCorrelation = "correlation_id"

const timeLayout = "2006-01-02T15:04:05.000000Z"

// ToMessage is the record as a message, to be read by [FromMessage]. The record must
// be one that a log returned. The message shares nothing with it.
func ToMessage(r events.Recorded) *message.Message {
	m := message.NewMessage(r.ID.String(), bytes.Clone(r.Data))
	m.Metadata = message.Metadata{
		KeyType:     r.Type,
		KeyStream:   string(r.Stream),
		KeyVersion:  formatNumber(r.Version),
		KeyPosition: formatNumber(r.Position),
		KeyTime:     formatTime(r.Time),
		KeyPrevious: r.Previous.String(),
	}
	setUnlessEmpty(m.Metadata, KeyActor, escape(r.Actor))
	setUnlessEmpty(m.Metadata, KeyCorrelation, escape(r.Correlation))
	setUnlessEmpty(m.Metadata, keyWatermillCorrelation, escape(r.Correlation))
	setUnlessEmpty(m.Metadata, KeyReason, escape(r.Reason))
	if !r.Causation.IsZero() {
		m.Metadata[KeyCausation] = r.Causation.String()
	}
	return m
}

func setUnlessEmpty(m message.Metadata, key, value string) {
	if value != "" {
		m[key] = value
	}
}

// FromMessage is the record that [ToMessage] made m of. A message that is not such a
// one is [events.ErrInvalid], with words that name the message and the field. The
// record shares nothing with m.
func FromMessage(m *message.Message) (events.Recorded, error) {
	f := fields{metadata: m.Metadata}
	r := events.Recorded{
		Envelope: events.Envelope{
			Type:        f.required(KeyType),
			Time:        parse(&f, KeyTime, f.required(KeyTime), parseTime, formatTime),
			Actor:       f.text(KeyActor),
			Correlation: f.text(KeyCorrelation),
			Reason:      f.text(KeyReason),
			Data:        bytes.Clone(m.Payload),
		},
		Stream:   events.StreamID(f.required(KeyStream)),
		Version:  parse(&f, KeyVersion, f.required(KeyVersion), parseNumber[events.Version], formatNumber),
		Position: parse(&f, KeyPosition, f.required(KeyPosition), parseNumber[events.Position], formatNumber),
		Previous: parse(&f, KeyPrevious, f.required(KeyPrevious), events.ParseHash, events.Hash.String),
	}
	f.id("uuid", m.UUID, &r.ID)
	if causation := m.Metadata[KeyCausation]; causation != "" {
		f.id(KeyCausation, causation, &r.Causation)
	}
	if f.err != nil {
		return events.Recorded{}, fmt.Errorf("%w: message %q: %w", events.ErrInvalid, clip(m.UUID), f.err)
	}
	if err := events.Validate(r.Stream, events.Any, []events.Envelope{r.Envelope}); err != nil {
		return events.Recorded{}, fmt.Errorf("message %s is no record of a log: %w", m.UUID, err)
	}
	return r, nil
}

// fields reads the metadata of one message and keeps the first error.
type fields struct {
	metadata message.Metadata
	err      error
}

func (f *fields) fail(key string, err error) {
	if f.err == nil {
		f.err = fmt.Errorf("%s: %w", key, err)
	}
}

func (f *fields) required(key string) string {
	value, ok := f.metadata[key]
	if !ok {
		f.fail(key, errors.New("missing"))
	}
	return value
}

func (f *fields) text(key string) string {
	return parse(f, key, f.metadata[key], unescape, escape)
}

// identifier is the pointer to an event ID.
type identifier interface {
	encoding.TextUnmarshaler
	fmt.Stringer
	IsZero() bool
}

// id reads an event ID. Reading is lenient about letters, so only the comparison
// tells whether value is one.
func (f *fields) id(key, value string, into identifier) {
	err := into.UnmarshalText([]byte(value))
	if err == nil && (into.IsZero() || into.String() != value) {
		err = errors.New("not an event ID")
	}
	if err != nil {
		f.fail(key, fmt.Errorf("%q: %w", clip(value), err))
	}
}

// parse reads a value and insists that it is written as format writes it, so that a
// message and its record tell each other exactly.
func parse[T any](f *fields, key, value string, read func(string) (T, error), format func(T) string) T {
	v, err := read(value)
	if err == nil && format(v) != value {
		err = fmt.Errorf("want it as %q", clip(format(v)))
	}
	if err != nil {
		f.fail(key, fmt.Errorf("%q: %w", clip(value), err))
	}
	return v
}

func parseNumber[T ~int64](s string) (T, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		// strconv quotes its input whole, however long it is.
		return 0, errors.Unwrap(err)
	}
	if n < 1 {
		return 0, errors.New("want a number above 0")
	}
	return T(n), nil
}

func formatNumber[T ~int64](n T) string { return strconv.FormatInt(int64(n), 10) }

func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(timeLayout, s)
	if err != nil {
		return time.Time{}, errors.New("want a time like " + timeLayout)
	}
	return t, nil
}

func formatTime(t time.Time) string { return t.UTC().Format(timeLayout) }

// clip keeps a message short, whatever it quotes.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
