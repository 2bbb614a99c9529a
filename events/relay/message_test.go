package relay_test

import (
	"bufio"
	"bytes"
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/textproto"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/relay"
)

// full is a record with something in every field.
func full() events.Recorded {
	r := events.Recorded{
		Envelope: events.Envelope{
			Type: "token.deleted.v1", Actor: "alice",
			Time:        time.Date(2026, 1, 2, 3, 4, 5, 678900000, time.UTC),
			Correlation: "request 17", Reason: "leaked:\r\n100 % sure ",
			Data: []byte(`{"token":"0190b1c2-7d3e-4f5a-8b9c-0d1e2f3a4b5c"}`),
		},
		Stream: "organization/acme", Version: 17, Position: 4711, Previous: events.Hash{0xab, 31: 0x01},
	}
	r.ID[0], r.ID[15] = 1, 2
	r.Causation[0], r.Causation[15] = 3, 4
	return r
}

func TestMessageIsAsSpecified(t *testing.T) {
	m := relay.ToMessage(full())
	if m.UUID != "01000000000000000000000002" {
		t.Errorf("UUID %s", m.UUID)
	}
	if got := string(m.Payload); got != `{"token":"0190b1c2-7d3e-4f5a-8b9c-0d1e2f3a4b5c"}` {
		t.Errorf("payload %s", got)
	}
	want := message.Metadata{
		"oatmill_type":        "token.deleted.v1",
		"oatmill_stream":      "organization/acme",
		"oatmill_version":     "17",
		"oatmill_position":    "4711",
		"oatmill_time":        "2026-01-02T03:04:05.678900Z",
		"oatmill_previous":    "ab" + strings.Repeat("0", 60) + "01",
		"oatmill_actor":       "alice",
		"oatmill_correlation": "request 17",
		"oatmill_causation":   "03000000000000000000000004",
		"oatmill_reason":      "leaked:%0D%0A100 %25 sure%20",
		"correlation_id":      "request 17",
	}
	if !maps.Equal(m.Metadata, want) {
		t.Errorf("metadata\n got %v\nwant %v", m.Metadata, want)
	}
	if got := middleware.MessageCorrelationID(m); got != "request 17" {
		t.Errorf("Watermill's correlation is %q", got)
	}
}

func TestMessageLeavesOutWhatIsEmpty(t *testing.T) {
	r := full()
	r.Actor, r.Correlation, r.Reason = "", "", ""
	r.Causation = events.Envelope{}.Causation
	m := relay.ToMessage(r)
	if len(m.Metadata) != 6 {
		t.Errorf("metadata %v, want the six that are always there", m.Metadata)
	}
	expectRoundTrip(t, r)
}

func expectRoundTrip(t *testing.T, r events.Recorded) {
	t.Helper()
	back, err := relay.FromMessage(relay.ToMessage(r))
	if err != nil {
		t.Fatalf("%v\nof %+v", err, r)
	}
	if !back.Equal(r) || back.Hash() != r.Hash() {
		t.Fatalf("got %+v\nwant %+v", back, r)
	}
}

// Every record a log can hold comes back as it was. It fails when escape leaves "%"
// as it is, when the layout of times has three digits, or when ToMessage forgets any
// field.
func TestEveryRecordComesBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		expectRoundTrip(t, randomRecord(rng))
	}
}

func randomRecord(rng *rand.Rand) events.Recorded {
	r := full()
	for i := range r.ID {
		r.ID[i], r.Causation[i] = byte(rng.Uint32()), byte(rng.Uint32())
	}
	if rng.IntN(2) == 0 {
		r.Causation = events.Envelope{}.Causation
	}
	for i := range r.Previous {
		r.Previous[i] = byte(rng.Uint32())
	}
	r.Actor, r.Correlation, r.Reason = randomText(rng), randomText(rng), randomText(rng)
	r.Version, r.Position = events.Version(1+rng.Int64N(math.MaxInt64)), events.Position(1+rng.Int64N(math.MaxInt64))
	r.Time = events.Instant(time.UnixMicro(rng.Int64N(200e15) - 50e15))
	return r
}

func randomText(rng *rand.Rand) string {
	const letters = "aZ09%%  \t\r\n\x01\x1f\x7f:;=\"é漢😀\u2028"
	runes := []rune(letters)
	var b strings.Builder
	for range rng.IntN(12) {
		b.WriteRune(runes[rng.IntN(len(runes))])
	}
	return b.String()
}

// Brokers that keep metadata in header lines trim blanks and put lines together. It
// fails when escape leaves line breaks or blanks at the ends as they are.
func TestMetadataSurvivesHeaderLines(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		r := randomRecord(rng)
		m := relay.ToMessage(r)
		carried := message.NewMessage(m.UUID, m.Payload)
		for key, value := range m.Metadata {
			carried.Metadata[key] = throughHeader(t, value)
		}
		back, err := relay.FromMessage(carried)
		if err != nil || !back.Equal(r) {
			t.Fatalf("got %+v, %v\nwant %+v", back, err, r)
		}
	}
}

func throughHeader(t *testing.T, value string) string {
	var wire bytes.Buffer
	if err := (http.Header{"X": {value}}).Write(&wire); err != nil {
		t.Fatal(err)
	}
	wire.WriteString("\r\n")
	header, err := textproto.NewReader(bufio.NewReader(&wire)).ReadMIMEHeader()
	if err != nil {
		t.Fatal(err)
	}
	return header.Get("X")
}

func TestMessageSharesNothingWithTheRecord(t *testing.T) {
	r := full()
	want := bytes.Clone(r.Data)
	m := relay.ToMessage(r)
	back, err := relay.FromMessage(m)
	if err != nil {
		t.Fatal(err)
	}
	m.Payload[2] = 'X'
	if !bytes.Equal(r.Data, want) || !bytes.Equal(back.Data, want) {
		t.Errorf("a changed payload reached a record: %s, %s", r.Data, back.Data)
	}
}

func TestMalformedMessageIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*message.Message)
		want  string
	}{
		"no uuid":               {func(m *message.Message) { m.UUID = "" }, "uuid"},
		"uuid of another kind":  {func(m *message.Message) { m.UUID = "0190b1c2-7d3e-4f5a-8b9c-0d1e2f3a4b5c" }, "uuid"},
		"uuid in lower case":    {func(m *message.Message) { m.UUID = "01000000000000000000abcdef" }, "uuid"},
		"uuid out of range":     {func(m *message.Message) { m.UUID = strings.Repeat("Z", 26) }, "uuid"},
		"uuid zero":             {func(m *message.Message) { m.UUID = strings.Repeat("0", 26) }, "uuid"},
		"no metadata":           {func(m *message.Message) { m.Metadata = nil }, "missing"},
		"no type":               {unset(relay.KeyType), "oatmill_type: missing"},
		"no stream":             {unset(relay.KeyStream), "oatmill_stream: missing"},
		"no version":            {unset(relay.KeyVersion), "oatmill_version: missing"},
		"no position":           {unset(relay.KeyPosition), "oatmill_position: missing"},
		"no time":               {unset(relay.KeyTime), "oatmill_time: missing"},
		"no previous":           {unset(relay.KeyPrevious), "oatmill_previous: missing"},
		"type":                  {set(relay.KeyType, "Token Generated"), "type"},
		"stream":                {set(relay.KeyStream, "acme"), `stream "acme"`},
		"version zero":          {set(relay.KeyVersion, "0"), "oatmill_version"},
		"version padded":        {set(relay.KeyVersion, "07"), "oatmill_version"},
		"position negative":     {set(relay.KeyPosition, "-1"), "oatmill_position"},
		"position too large":    {set(relay.KeyPosition, "9223372036854775808"), "oatmill_position"},
		"position with a sign":  {set(relay.KeyPosition, "+7"), "oatmill_position"},
		"time in seconds":       {set(relay.KeyTime, "2026-01-02T03:04:05Z"), "oatmill_time"},
		"time in another zone":  {set(relay.KeyTime, "2026-01-02T03:04:05.000000+01:00"), "oatmill_time"},
		"time of year 0":        {set(relay.KeyTime, "0000-01-02T03:04:05.000000Z"), "time"},
		"previous too short":    {set(relay.KeyPrevious, "ab"), "oatmill_previous"},
		"previous upper case":   {set(relay.KeyPrevious, strings.Repeat("AB", 32)), "oatmill_previous"},
		"causation":             {set(relay.KeyCausation, "yes"), "oatmill_causation"},
		"causation zero":        {set(relay.KeyCausation, strings.Repeat("0", 26)), "oatmill_causation"},
		"actor cut off":         {set(relay.KeyActor, "alice%2"), "oatmill_actor"},
		"actor escaped twice":   {set(relay.KeyActor, "%61lice"), "oatmill_actor"},
		"actor with line break": {set(relay.KeyActor, "alice\n"), "oatmill_actor"},
		"reason too long":       {set(relay.KeyReason, strings.Repeat("x", events.MaxText+1)), "reason"},
		"correlation not UTF-8": {set(relay.KeyCorrelation, "\xff"), "correlation"},
		"payload empty":         {func(m *message.Message) { m.Payload = nil }, "data"},
		"payload no object":     {func(m *message.Message) { m.Payload = []byte(`"x"`) }, "data"},
	} {
		t.Run(name, func(t *testing.T) {
			m := relay.ToMessage(full())
			c.spoil(m)
			_, err := relay.FromMessage(m)
			if !errors.Is(err, events.ErrInvalid) || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 300 {
				t.Errorf("got %v, want events.ErrInvalid that names %s", err, c.want)
			}
		})
	}
}

func set(key, value string) func(*message.Message) {
	return func(m *message.Message) { m.Metadata[key] = value }
}

func unset(key string) func(*message.Message) {
	return func(m *message.Message) { delete(m.Metadata, key) }
}

func TestUnknownMetadataIsLeftAlone(t *testing.T) {
	m := relay.ToMessage(full())
	m.Metadata[middleware.ReasonForPoisonedKey] = "handler failed"
	m.Metadata["correlation_id"] = "set by someone else"
	r, err := relay.FromMessage(m)
	if err != nil || !r.Equal(full()) {
		t.Errorf("got %+v, %v", r, err)
	}
}

// Whatever FromMessage takes is a record a log could hold, and says of itself what
// the message said.
func FuzzFromMessage(f *testing.F) {
	r := full()
	m := relay.ToMessage(r)
	f.Add(m.UUID, r.Type, string(r.Stream), "17", "4711", m.Metadata[relay.KeyTime], m.Metadata[relay.KeyPrevious], "alice", "c", m.Metadata[relay.KeyCausation], "%25", []byte(r.Data))
	f.Add("", "", "", "0", "-1", "2026-01-02T03:04:05Z", "", "%", "%zz", "", " ", []byte("[]"))
	f.Fuzz(func(t *testing.T, uuid, kind, stream, version, position, at, previous, actor, correlation, causation, reason string, data []byte) {
		m := message.NewMessage(uuid, data)
		m.Metadata = message.Metadata{
			relay.KeyType: kind, relay.KeyStream: stream, relay.KeyVersion: version, relay.KeyPosition: position,
			relay.KeyTime: at, relay.KeyPrevious: previous, relay.KeyActor: actor, relay.KeyCorrelation: correlation,
			relay.KeyCausation: causation, relay.KeyReason: reason,
		}
		r, err := relay.FromMessage(m)
		if err != nil {
			if !errors.Is(err, events.ErrInvalid) {
				t.Fatalf("%v is not events.ErrInvalid", err)
			}
			return
		}
		if err := events.Validate(r.Stream, events.Any, []events.Envelope{r.Envelope}); err != nil {
			t.Fatalf("taken, and no log would: %v", err)
		}
		expectSame(t, m, relay.ToMessage(r))
	})
}

func expectSame(t *testing.T, m, again *message.Message) {
	t.Helper()
	delete(again.Metadata, "correlation_id")
	maps.DeleteFunc(m.Metadata, func(_, value string) bool { return value == "" })
	if m.UUID != again.UUID || !bytes.Equal(m.Payload, again.Payload) || !maps.Equal(m.Metadata, again.Metadata) {
		t.Fatalf("read and written again\n got %v %v\nwant %v %v", again.UUID, again.Metadata, m.UUID, m.Metadata)
	}
}

// Text of any kind comes back through a message.
func FuzzRoundTrip(f *testing.F) {
	f.Add("alice", "request 17", "leaked")
	f.Add(" %", "\r\n", "%25%")
	f.Fuzz(func(t *testing.T, actor, correlation, reason string) {
		for _, s := range []string{actor, correlation, reason} {
			if !utf8.ValidString(s) || strings.Contains(s, "\x00") || len(s) > events.MaxText {
				t.Skip("no log holds this")
			}
		}
		r := full()
		r.Actor, r.Correlation, r.Reason = actor, correlation, reason
		expectRoundTrip(t, r)
	})
}
