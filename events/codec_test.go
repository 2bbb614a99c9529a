package events_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oklog/ulid/v2"
)

func TestDecodeRefusesUnknownTypes(t *testing.T) {
	for _, name := range []string{"token.generated.v2", "", "Token.generated.v1", strings.Repeat("x", 5000)} {
		p, err := events.Decode(name, []byte(`{}`))
		var unknown *events.UnknownTypeError
		if p != nil || !errors.Is(err, events.ErrUnknownType) || !errors.As(err, &unknown) || unknown.Type != name || unknown.Position != 0 {
			t.Errorf("Decode(%.20q) is %v, %v", name, p, err)
		}
		if len(err.Error()) > 300 {
			t.Errorf("an unknown type of %d bytes makes a message of %d", len(name), len(err.Error()))
		}
	}
}

func TestDecodeNamesDamage(t *testing.T) {
	p, err := events.Decode(events.TypeTokenDeleted, []byte(`{"token":7}`))
	if p != nil || !errors.Is(err, events.ErrDamaged) || !strings.Contains(err.Error(), events.TypeTokenDeleted) {
		t.Errorf("Decode of damaged data is %v, %v", p, err)
	}
}

func TestPayload(t *testing.T) {
	r := vector()
	r.Type, r.Data = events.TypeTokenDeleted, []byte(`{"token":"t"}`)
	first, err := r.Payload()
	if want := (&events.TokenDeleted{Token: "t"}); err != nil || !reflect.DeepEqual(first, want) {
		t.Fatalf("Payload is %+v, %v, want %+v", first, err, want)
	}
	if again, _ := r.Payload(); again != first {
		t.Error("Payload decodes again what it has decoded")
	}
}

// An error says where in the log the record stands, because the one who reads it has
// millions to search.
func TestPayloadErrorsSayWhere(t *testing.T) {
	r := vector()
	r.Type = "token.generated.v9"
	_, err := r.Payload()
	var unknown *events.UnknownTypeError
	if !errors.As(err, &unknown) || *unknown != (events.UnknownTypeError{Type: r.Type, Stream: r.Stream, Position: r.Position}) {
		t.Errorf("Payload of an unknown type: %v", err)
	}
	r = vector()
	r.Data = []byte(`{"token":`)
	if _, err := r.Payload(); !errors.Is(err, events.ErrDamaged) || !strings.Contains(err.Error(), "position 42 in organization/acme") {
		t.Errorf("Payload of damaged data: %v", err)
	}
}

func TestNewEnvelope(t *testing.T) {
	id, at := ulid.ULID{1}, time.Date(2026, 1, 2, 3, 4, 5, 678901999, time.FixedZone("", 3600))
	got, err := events.NewEnvelope(id, at, "alice", &events.TokenDeleted{Token: "t"})
	want := events.Envelope{
		ID: id, Type: events.TypeTokenDeleted, Time: time.Date(2026, 1, 2, 2, 4, 5, 678901000, time.UTC), Actor: "alice", Data: []byte(`{"token":"t"}`),
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("NewEnvelope is %+v, %v, want %+v", got, err, want)
	}
	impossible := &events.UsageRecorded{Uses: []events.Use{{Accepted: &events.UseSpan{First: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}}}}
	if got, err := events.NewEnvelope(id, at, "alice", impossible); err == nil || !strings.Contains(err.Error(), events.TypeUsageRecorded) {
		t.Errorf("NewEnvelope of what JSON cannot say is %+v, %v", got, err)
	}
}

// Leaving any field out of Recorded.Equal makes this fail.
func TestRecordedEqual(t *testing.T) {
	if a, b := vector(), vector(); !a.Equal(b) {
		t.Error("a record is not equal to itself")
	}
	for name, change := range map[string]func(*events.Recorded){
		"stream":      func(r *events.Recorded) { r.Stream = "usage/acme" },
		"version":     func(r *events.Recorded) { r.Version++ },
		"position":    func(r *events.Recorded) { r.Position++ },
		"previous":    func(r *events.Recorded) { r.Previous[0]++ },
		"ID":          func(r *events.Recorded) { r.ID[0]++ },
		"type":        func(r *events.Recorded) { r.Type = "" },
		"time":        func(r *events.Recorded) { r.Time = r.Time.Add(1) },
		"actor":       func(r *events.Recorded) { r.Actor = "" },
		"correlation": func(r *events.Recorded) { r.Correlation = "" },
		"causation":   func(r *events.Recorded) { r.Causation[0]++ },
		"reason":      func(r *events.Recorded) { r.Reason = "" },
		"data":        func(r *events.Recorded) { r.Data = nil },
	} {
		changed := vector()
		if change(&changed); changed.Equal(vector()) || vector().Equal(changed) {
			t.Errorf("a record with another %s is equal", name)
		}
	}
	elsewhere := vector()
	elsewhere.Time = elsewhere.Time.In(time.FixedZone("", 3600))
	if _, err := elsewhere.Payload(); err != nil || !elsewhere.Equal(vector()) {
		t.Errorf("a record is not equal to itself when decoded, or with the same instant in another zone: %v", err)
	}
}

// Errors carry their data, match their sentinel and no other.
func TestErrorsMatchTheirSentinels(t *testing.T) {
	sentinels := []error{events.ErrConflict, events.ErrDuplicate, events.ErrInvalid, events.ErrUnknownOutcome, events.ErrClosed,
		events.ErrDamaged, events.ErrUnknownType, events.ErrBrokenChain}
	for _, c := range []struct {
		err, is error
		says    []string
	}{
		{&events.ConflictError{Stream: acme, Expected: 3, Actual: 5}, events.ErrConflict, []string{"organization/acme", "3", "5"}},
		{&events.DuplicateError{Stream: acme, ID: vector().ID}, events.ErrDuplicate, []string{"organization/acme", vector().ID.String()}},
		{&events.UnknownTypeError{Type: "a.v9", Stream: acme, Position: 7}, events.ErrUnknownType, []string{"a.v9", "organization/acme", "7"}},
		{&events.ChainError{Stream: acme, Version: 4, Problem: "missing"}, events.ErrBrokenChain, []string{"organization/acme", "4", "missing"}},
	} {
		for _, sentinel := range sentinels {
			if got := errors.Is(c.err, sentinel); got != (sentinel == c.is) {
				t.Errorf("%T is %q: %v", c.err, sentinel, got)
			}
		}
		for _, part := range c.says {
			if !strings.Contains(c.err.Error(), part) {
				t.Errorf("%q does not say %q", c.err, part)
			}
		}
	}
}

// BenchmarkDecode measures Decode after its baseline, encoding/json reading the same
// bytes, and reports how many times as long the baseline took.
func BenchmarkDecode(b *testing.B) {
	for name, p := range map[string]events.Payload{
		"token.generated": golden()[events.TypeTokenGenerated][0],
		"usage.recorded":  golden()[events.TypeUsageRecorded][0],
	} {
		eventType, data, err := events.Encode(p)
		if err != nil {
			b.Fatal(err)
		}
		var baseline float64
		b.Run(name+"/baseline", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				fresh := reflect.New(reflect.TypeOf(p).Elem()).Interface()
				if err := json.Unmarshal(data, fresh); err != nil {
					b.Fatal(err)
				}
			}
			baseline = float64(b.Elapsed().Nanoseconds()) / float64(b.N)
		})
		b.Run(name+"/decode", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := events.Decode(eventType, data); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(baseline*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "x-baseline")
		})
	}
}
