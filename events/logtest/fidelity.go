package logtest

import (
	"strings"
	"time"

	"github.com/oatmill/oatmill/events"
)

func fidelityCases() []Case {
	return []Case{{
		"data is kept byte for byte",
		"A column of a JSON type sorts keys, drops repeated ones and rounds numbers. The hash of the record no longer fits, and " +
			"every stream looks tampered with.",
		dataIsKept,
	}, {
		"text is kept as it was written",
		"A collation that folds letters, a server that normalizes Unicode or quoting that eats a backslash changes who did it.",
		textIsKept,
	}, {
		"each event of a batch keeps what is its own",
		"A log that writes a batch in columns takes a column for empty because its first or its last event has nothing in it. The reason " +
			"why a token was deleted is lost.",
		eventsKeepTheirOwn,
	}, {
		"a clock that jumps back changes neither times nor order",
		"A log that orders by time, or mends a time that looks wrong, swaps a deactivation and the edit before it when the clock is set back.",
		timesAreKept,
	}, {
		"records do not change with the slices they came from",
		"A writer reuses its buffer, and rewrites the past of everyone else.",
		recordsDoNotChange,
	}, {
		"streams with similar names stay apart",
		"A wildcard in a name, a key that ignores case or a subject cut at its dots shows one organization the tokens of another.",
		streamsStayApart,
	}}
}

func dataIsKept(s *subject) {
	for _, data := range []string{
		`{}`,
		"{ \"b\" : 1 ,\n\t\"a\":2 }",
		`{"a":1,"a":2}`,
		`{"n":1e400,"z":-0,"f":0.10,"big":123456789012345678901234567890}`,
		`{"escaped":"\u0000\u00e9\ud83d\ude00\/\"\\","lone":"\ud800"}`,
		"{\"raw\":\"é😀\u2028\u202e\x7f\"}",
		`{"html":"<a href='x'>&amp;</a>","sql":"'; DROP TABLE events; --","template":"{{.}} %s $1 ?"}`,
		`{"deep":` + strings.Repeat(`[`, 200) + strings.Repeat(`]`, 200) + `}`,
		`{"":null,"t":true,"nested":{"":{"":[]}}}`,
	} {
		e := s.envelope()
		e.Data = []byte(data)
		s.keeps(acme, e)
	}
}

func textIsKept(s *subject) {
	for _, text := range []string{
		"", " ", "  alice  ", "Alice", "ALICE", "álice", "a\u0301lice", "😀", "\u202eecila", "ﬁ", "İ", "ß",
		"line\nbreak\r\n\ttab", `back\slash "quoted" 'single' %d $1 ? :name`, "\x01\x7f", "null", "0", "true", "\ufeffbom", "\ufffd",
	} {
		e := s.envelope()
		e.Actor, e.Correlation, e.Reason = text, text, text
		s.keeps(acme, e)
	}
	e := s.envelope()
	e.Causation = s.id()
	s.keeps(acme, e)
}

func eventsKeepTheirOwn(s *subject) {
	var want []events.Recorded
	for full := range 3 {
		batch := s.batch(3)
		e := &batch[full]
		e.Actor, e.Correlation, e.Reason, e.Causation = "only one", "only one", "only one", s.id()
		for i, r := range s.append(acme, events.Any, batch...) {
			r.Envelope = batch[i]
			want = append(want, r)
		}
	}
	s.holds(want)
}

func timesAreKept(s *subject) {
	start := time.Date(2026, 3, 29, 1, 59, 59, 999999000, time.UTC)
	for _, jump := range []time.Duration{0, time.Hour, -time.Hour, -10000 * time.Hour, time.Microsecond, 0, -time.Microsecond} {
		e := s.envelope()
		e.Time = start.Add(jump)
		s.keeps(acme, e)
	}
	for i, r := range s.stream(acme, 0) {
		if r.Version != events.Version(i+1) {
			s.Errorf("record %d has version %d", i, r.Version)
		}
	}
}

func recordsDoNotChange(s *subject) {
	batch := s.batch(2)
	var want []events.Recorded
	for _, r := range s.append(acme, 0, batch...) {
		want = append(want, withOwnData(r))
	}
	for i := range batch {
		for j := range batch[i].Data {
			batch[i].Data[j] = 'X'
		}
	}
	s.holds(want)
}

// withOwnData is r with a copy of its data.
func withOwnData(r events.Recorded) events.Recorded {
	r.Data = append([]byte(nil), r.Data...)
	return r
}

func streamsStayApart(s *subject) {
	streams := []events.StreamID{
		"organization/a", "organization/A", "organization/a.b", "organization/a_b", "organization/aXb", "organization/ab",
		"organization/a-b", "organization/a.", "organization/a..b", "usage/a", "usag/ea", "organizations/a", "o/a", "organization/0", "organization/00",
	}
	want := make(map[events.StreamID][]events.Recorded)
	for round := range 2 {
		for _, stream := range streams {
			want[stream] = append(want[stream], s.append(stream, events.Version(round), s.envelope())...)
		}
	}
	for _, stream := range streams {
		s.same("ReadStream "+string(stream), s.stream(stream, 0), want[stream])
	}
	for _, unknown := range []events.StreamID{"organization/b", "organization/a.c", "usage/A", "organization/*", "organization/_", "organization/a%", "organization/>"} {
		records, err := collect(s.log.ReadStream(s.ctx, unknown, 0))
		if len(records) > 0 {
			s.Errorf("ReadStream %s, which does not exist: %d records, error %v", unknown, len(records), err)
		}
	}
}
