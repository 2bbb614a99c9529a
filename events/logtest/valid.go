package logtest

import (
	"fmt"
	"strings"
	"time"

	"github.com/oatmill/oatmill/events"
)

func validCases() []Case {
	return []Case{{
		"what is malformed is refused",
		"One log takes what another refuses. A program that was tested on the lax one fails in production, and a log with a " +
			"record in it that no other log takes can never be moved.",
		malformedIsRefused,
	}, {
		"what just keeps the limits is recorded",
		"A limit that is one byte too narrow, or that counts characters for bytes, shows first with the largest customer.",
		limitsAreKept,
	}, {
		"the largest batch and the longest one are recorded",
		"A message limit of the server or a cap on statement parameters refuses what the contract allows.",
		largestBatchesAreKept,
	}}
}

// malformed are appends that events.Validate refuses, each as a change to a good one.
func malformed() map[string]func(*proposal) {
	env := func(change func(*events.Envelope)) func(*proposal) {
		return func(p *proposal) { change(&p.batch[len(p.batch)-1]) }
	}
	bad := map[string]func(*proposal){
		"no event":             func(p *proposal) { p.batch = nil },
		"an expected of -2":    func(p *proposal) { p.expected = -2 },
		"one ID twice":         func(p *proposal) { p.batch[1].ID = p.batch[0].ID },
		"no ID":                env(func(e *events.Envelope) { e.ID = [16]byte{} }),
		"no type":              env(func(e *events.Envelope) { e.Type = "" }),
		"a type in capitals":   env(func(e *events.Envelope) { e.Type = "Token.generated.v1" }),
		"a type too long":      env(func(e *events.Envelope) { e.Type = strings.Repeat("t", events.MaxText+1) }),
		"a time elsewhere":     env(func(e *events.Envelope) { e.Time = e.Time.In(time.FixedZone("", 3600)) }),
		"a time too fine":      env(func(e *events.Envelope) { e.Time = e.Time.Add(time.Nanosecond) }),
		"the year 10000":       env(func(e *events.Envelope) { e.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }),
		"the year 0":           env(func(e *events.Envelope) { e.Time = time.Date(0, 12, 31, 0, 0, 0, 0, time.UTC) }),
		"data beyond the size": env(func(e *events.Envelope) { e.Data = object(events.MaxBatchSize) }),
	}
	for _, stream := range []events.StreamID{"", "acme", "/acme", "organization/", "Organization/acme", "organization/a/b",
		"organization/.acme", "organization/a b", "organization/*", "organization/é", "organization/a'b",
		"organization/" + events.StreamID(strings.Repeat("s", events.MaxStreamID))} {
		bad[fmt.Sprintf("stream %.20q", stream)] = func(p *proposal) { p.stream = stream }
	}
	for _, data := range []string{"", "{", "[]", "null", `"x"`, "{}{}", ` {}`, "{\"a\":\"\xff\"}", `{"a":01}`} {
		bad[fmt.Sprintf("data %.20q", data)] = env(func(e *events.Envelope) { e.Data = []byte(data) })
	}
	for _, text := range []string{"a\x00b", "\xff", strings.Repeat("a", events.MaxText+1), strings.Repeat("é", events.MaxText/2) + "a"} {
		bad[fmt.Sprintf("actor %.10q", text)] = env(func(e *events.Envelope) { e.Actor = text })
		bad[fmt.Sprintf("correlation %.10q", text)] = env(func(e *events.Envelope) { e.Correlation = text })
		bad[fmt.Sprintf("reason %.10q", text)] = env(func(e *events.Envelope) { e.Reason = text })
	}
	return bad
}

// proposal is an append before it is made.
type proposal struct {
	stream   events.StreamID
	expected events.Version
	batch    []events.Envelope
}

// object is a JSON object of n bytes.
func object(n int) []byte {
	return fmt.Appendf(nil, `{"a":"%s"}`, strings.Repeat("x", n-len(`{"a":""}`)))
}

func malformedIsRefused(s *subject) {
	s.add(acme, 1)
	bad := malformed()
	bad["too many events"] = func(p *proposal) { p.batch = s.batch(events.MaxBatch + 1) }
	for name, change := range bad {
		p := proposal{acme, 1, s.batch(2)}
		change(&p)
		if events.Validate(p.stream, p.expected, p.batch) == nil {
			s.Fatalf("%s: events.Validate takes it", name)
		}
		s.Logf("refused for %s: %v", name, s.refuses(events.ErrInvalid, p.stream, p.expected, p.batch...))
	}
}

func limitsAreKept(s *subject) {
	plain, wide := strings.Repeat("a", events.MaxText), strings.Repeat("é", events.MaxText/2)
	changes := []func(*events.Envelope){
		func(e *events.Envelope) { e.Type = strings.Repeat("t", events.MaxText) },
		func(e *events.Envelope) { e.Actor, e.Correlation, e.Reason = plain, plain, plain },
		func(e *events.Envelope) { e.Actor, e.Correlation, e.Reason = wide, wide, wide },
		func(e *events.Envelope) { e.Actor, e.Correlation, e.Reason = "", "", "" },
		func(e *events.Envelope) { e.Time = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC) },
		func(e *events.Envelope) { e.Time = time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC) },
		func(e *events.Envelope) { e.Time = time.Date(1969, 12, 31, 23, 59, 59, 999999000, time.UTC) },
		func(e *events.Envelope) { e.Data = []byte(`{}`) },
		func(e *events.Envelope) { e.ID = [16]byte{15: 1} },
		func(e *events.Envelope) { e.ID = [16]byte{0: 0xff, 1: 0xff, 15: 0xff} },
	}
	longest := events.StreamID("k/" + strings.Repeat("s", events.MaxStreamID-len("k/")))
	for _, change := range changes {
		e := s.envelope()
		change(&e)
		s.keeps(longest, e)
	}
	for _, stream := range []events.StreamID{"0/-", "organization/A_b.c-"} {
		s.keeps(stream, s.envelope())
	}
}

func largestBatchesAreKept(s *subject) {
	s.keeps(acme, s.batch(events.MaxBatch)...)
	one := s.envelope()
	one.Data = object(events.MaxBatchSize)
	s.keeps(acme, one)
	four := s.batch(4)
	for i := range four {
		four[i].Data = object(events.MaxBatchSize / 4)
	}
	s.keeps(acme, four...)
}

// keeps appends batch and demands that both reads yield exactly that.
func (s *subject) keeps(stream events.StreamID, batch ...events.Envelope) {
	s.Helper()
	recorded := s.append(stream, events.Any, batch...)
	for i := range batch {
		want := recorded[i]
		want.Envelope = batch[i]
		s.same("what Append returned", recorded[i:i+1], []events.Recorded{want})
	}
	s.same("ReadStream", s.stream(stream, recorded[0].Version-1), recorded)
	s.same("ReadAll", s.all(recorded[0].Position-1), recorded)
	for _, r := range append(recorded, s.stream(stream, recorded[0].Version-1)...) {
		if r.Time.Location() != time.UTC {
			s.Errorf("a time came back in %v, want UTC", r.Time.Location())
		}
	}
}
