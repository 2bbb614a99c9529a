package events_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oklog/ulid/v2"
)

func TestValidate(t *testing.T) {
	text := func(n int) string { return strings.Repeat("a", n) }
	data := func(n int) []byte { return fmt.Appendf(nil, `{"a":"%s"}`, text(n-len(`{"a":""}`))) }
	for _, c := range []struct {
		name   string
		wrong  string // what the message must name, "" when the append is valid
		change func(stream *events.StreamID, expected *events.Version, batch []events.Envelope) []events.Envelope
	}{
		{"stream", "stream", stream("acme")},
		{"stream of 255 bytes", "", stream("k/" + text(253))},
		{"stream of 256 bytes", "stream", stream("k/" + text(254))},
		{"expected 0", "", expected(0)},
		{"expected Any", "", expected(events.Any)},
		{"expected -2", "expected version -2", expected(-2)},
		{"empty batch", "not 0", size(0)},
		{"batch of 1000", "", size(1000)},
		{"batch of 1001", "not 1001", size(1001)},
		{"ID twice among few", "twice", envelope(func(e *events.Envelope) { e.ID = ulid.ULID{0: 1, 15: 1} })},
		{"ID twice among many", "twice", func(_ *events.StreamID, _ *events.Version, _ []events.Envelope) []events.Envelope {
			b := proposals(100, 1)
			b[99].ID = b[0].ID
			return b
		}},
		{"no ID", "event 1: no ID", envelope(func(e *events.Envelope) { e.ID = ulid.ULID{} })},
		{"no type", "type", envelope(func(e *events.Envelope) { e.Type = "" })},
		{"type with a dash", "type", envelope(func(e *events.Envelope) { e.Type = "token-generated" })},
		{"type of 1024 bytes", "", envelope(func(e *events.Envelope) { e.Type = text(events.MaxText) })},
		{"type of 1025 bytes", "type", envelope(func(e *events.Envelope) { e.Type = text(events.MaxText + 1) })},
		{"actor of 1024 bytes", "", envelope(func(e *events.Envelope) { e.Actor = text(events.MaxText) })},
		{"actor of 1025 bytes", "actor", envelope(func(e *events.Envelope) { e.Actor = text(events.MaxText + 1) })},
		{"actor of 513 times two bytes", "actor", envelope(func(e *events.Envelope) { e.Actor = strings.Repeat("é", events.MaxText/2+1) })},
		{"correlation with NUL", "correlation", envelope(func(e *events.Envelope) { e.Correlation = "a\x00b" })},
		{"reason in Latin-1", "reason", envelope(func(e *events.Envelope) { e.Reason = "\xe9" })},
		{"no actor, correlation, reason", "", envelope(func(e *events.Envelope) { e.Actor, e.Correlation, e.Reason = "", "", "" })},
		{"local time", "UTC", envelope(func(e *events.Envelope) { e.Time = e.Time.In(time.FixedZone("X", 60)) })},
		{"zone at zero that is not UTC", "UTC", envelope(func(e *events.Envelope) { e.Time = e.Time.In(time.FixedZone("UTC", 0)) })},
		{"nanoseconds", "microseconds", envelope(func(e *events.Envelope) { e.Time = e.Time.Add(999) })},
		{"year 1", "", envelope(func(e *events.Envelope) { e.Time = time.Time{} })},
		{"year 0", "year", envelope(func(e *events.Envelope) { e.Time = time.Time{}.Add(-time.Microsecond) })},
		{"year 9999", "", envelope(func(e *events.Envelope) { e.Time = time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC) })},
		{"year 10000", "year", envelope(func(e *events.Envelope) { e.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) })},
		{"no data", "data", envelope(func(e *events.Envelope) { e.Data = nil })},
		{"data null", "data", envelope(func(e *events.Envelope) { e.Data = []byte("null") })},
		{"data array", "data", envelope(func(e *events.Envelope) { e.Data = []byte("[]") })},
		{"data unfinished", "data", envelope(func(e *events.Envelope) { e.Data = []byte(`{"a":`) })},
		{"data twice", "data", envelope(func(e *events.Envelope) { e.Data = []byte(`{}{}`) })},
		{"data not UTF-8", "data", envelope(func(e *events.Envelope) { e.Data = []byte("{\"a\":\"\xff\"}") })},
		{"data of 512 KiB with the others", "", envelope(func(e *events.Envelope) { e.Data = data(events.MaxBatchSize - len(`{"token":"t"}`)) })},
		{"data of one byte more", "bytes of data", envelope(func(e *events.Envelope) { e.Data = data(events.MaxBatchSize - len(`{"token":"t"}`) + 1) })},
	} {
		id, version := acme, events.Version(3)
		batch := c.change(&id, &version, proposals(2, 1))
		checkRefusal(t, c.name, events.Validate(id, version, batch), c.wrong)
	}
}

// checkRefusal demands an error that names what is wrong, or none.
func checkRefusal(t *testing.T, name string, err error, wrong string) {
	t.Helper()
	switch {
	case wrong == "" && err != nil:
		t.Errorf("%s: %v", name, err)
	case wrong != "" && (!errors.Is(err, events.ErrInvalid) || !strings.Contains(err.Error(), wrong)):
		t.Errorf("%s: %v, want %q that names %q", name, err, events.ErrInvalid, wrong)
	case err != nil && len(err.Error()) > 400:
		t.Errorf("%s: a message of %d bytes", name, len(err.Error()))
	}
}

type appendChange = func(*events.StreamID, *events.Version, []events.Envelope) []events.Envelope

func stream(id string) appendChange {
	return func(s *events.StreamID, _ *events.Version, b []events.Envelope) []events.Envelope {
		*s = events.StreamID(id)
		return b
	}
}

func expected(v events.Version) appendChange {
	return func(_ *events.StreamID, e *events.Version, b []events.Envelope) []events.Envelope { *e = v; return b }
}

// envelope changes the second of two.
func envelope(change func(*events.Envelope)) appendChange {
	return func(_ *events.StreamID, _ *events.Version, b []events.Envelope) []events.Envelope {
		change(&b[1])
		return b
	}
}

func size(n int) appendChange {
	return func(*events.StreamID, *events.Version, []events.Envelope) []events.Envelope {
		b := make([]events.Envelope, n)
		for i := range b {
			b[i] = proposals(1, 1)[0]
			b[i].ID = ulid.ULID{0: 1, 14: byte(i >> 8), 15: byte(i)}
		}
		return b
	}
}
