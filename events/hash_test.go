package events_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oklog/ulid/v2"
)

// vector is a record with something in every field.
func vector() events.Recorded {
	return events.Recorded{
		Envelope: events.Envelope{
			ID:          ulid.MustParse("01JGK3Q6ZX0123456789ABCDEF"),
			Type:        "token.generated.v1",
			Time:        time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC),
			Actor:       "alice",
			Correlation: "request-7",
			Causation:   ulid.MustParse("01JGK3Q6ZW0123456789ABCDEF"),
			Reason:      "für die Tests",
			Data:        []byte(`{"token":"0190b1c2-7d3e-4f5a-8b9c-0d1e2f3a4b5c"}`),
		},
		Stream:   "organization/acme",
		Version:  7,
		Position: 42,
		Previous: events.Hash(bytes.Repeat([]byte{0xab}, 32)),
	}
}

// specified is the hash as the package comment describes it, written for plainness.
func specified(r events.Recorded) events.Hash {
	var version, micros [8]byte
	binary.BigEndian.PutUint64(version[:], uint64(r.Version))
	binary.BigEndian.PutUint64(micros[:], uint64(r.Time.Unix()*1_000_000+int64(r.Time.Nanosecond()/1000)))
	hash := sha256.New()
	for _, field := range [][]byte{
		[]byte("oatmill record v1"), []byte(r.Stream), version[:], r.ID[:], []byte(r.Type), micros[:], []byte(r.Actor),
		[]byte(r.Correlation), r.Causation[:], []byte(r.Reason), r.Previous[:], r.Data,
	} {
		binary.Write(hash, binary.BigEndian, int64(len(field)))
		hash.Write(field)
	}
	return events.Hash(hash.Sum(nil))
}

// The vectors are never edited: chains that were written stay valid for ever. Adding
// another is all that is allowed.
func TestHashVectors(t *testing.T) {
	full, early, large := vector(), vector(), vector()
	early.Time = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	large.Data = []byte(`{"a":"` + strings.Repeat("x", 100_000) + `"}`)
	for name, c := range map[string]struct {
		record events.Recorded
		want   string
	}{
		"every field":            {full, "fe00717194f0b68bd2675afd9c0a626db6592a86e6f66d2bb45e364beb72b127"},
		"no field":               {events.Recorded{}, "5ad67ef23206ce805da38e66d7faacbabe0cc7cd0d61d216eb424426ea49ea00"},
		"a time before 1970":     {early, "3354af5739585e654df5ebd70649787fd871c178640e6c7fbb64e84d5a3e5592"},
		"more than fits a stack": {large, "1fe0ea4f441801f5e0cce9fae7ea34439a3d46bc556180bfd4374a29ee7c978e"},
	} {
		if got := c.record.Hash().String(); got != c.want {
			t.Errorf("%s: the hash is %s, want %s", name, got, c.want)
		}
		if got := specified(c.record); got != c.record.Hash() {
			t.Errorf("%s: the specification gives %s, the record %s", name, got, c.record.Hash())
		}
	}
}

// Every field but the position is covered, and no byte can move to the field beside
// it unseen.
//
// Leaving any appendField out of Recorded.Hash makes this fail, and so does writing
// a field without its length.
func TestHashCoversEveryField(t *testing.T) {
	changes := map[string]func(*events.Recorded){
		"stream":                           func(r *events.Recorded) { r.Stream = "usage/acme" },
		"version":                          func(r *events.Recorded) { r.Version++ },
		"ID":                               func(r *events.Recorded) { r.ID[15]++ },
		"type":                             func(r *events.Recorded) { r.Type = "token.deleted.v1" },
		"time":                             func(r *events.Recorded) { r.Time = r.Time.Add(time.Microsecond) },
		"actor":                            func(r *events.Recorded) { r.Actor = "bob" },
		"correlation":                      func(r *events.Recorded) { r.Correlation = "" },
		"causation":                        func(r *events.Recorded) { r.Causation = ulid.ULID{} },
		"reason":                           func(r *events.Recorded) { r.Reason += " " },
		"previous":                         func(r *events.Recorded) { r.Previous[0]++ },
		"data":                             func(r *events.Recorded) { r.Data = []byte(`{}`) },
		"a byte from actor to correlation": func(r *events.Recorded) { r.Actor, r.Correlation = "alic", "e"+r.Correlation },
		"actor and correlation swapped":    func(r *events.Recorded) { r.Actor, r.Correlation = r.Correlation, r.Actor },
	}
	original := vector()
	seen := map[events.Hash]string{original.Hash(): "no change"}
	for name, change := range changes {
		r := vector()
		change(&r)
		if other, ok := seen[r.Hash()]; ok {
			t.Errorf("%s: the same hash as with %s", name, other)
		}
		seen[r.Hash()] = name
	}
	moved := vector()
	moved.Position = 1
	if moved.Hash() != original.Hash() {
		t.Error("the position is in the hash, and a stream could not be carried to another log")
	}
}
