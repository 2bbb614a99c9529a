package memlog_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
)

func envelope(n int) events.Envelope {
	e := events.Envelope{
		Type: "token.generated.v1", Actor: "alice", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Data: []byte(`{"token":"0190b1c2-7d3e-4f5a-8b9c-0d1e2f3a4b5c","label":"` + strings.Repeat("x", 200) + `"}`),
	}
	binary.BigEndian.PutUint64(e.ID[8:], uint64(n))
	return e
}

// What a reader appends to the data of one record is nowhere in the next. To see it fail,
// let keep leave room behind the data.
func TestDataHasNoRoom(t *testing.T) {
	log := filled(t, 2)
	want := envelope(2).Data
	for r, err := range log.ReadAll(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Position == 2 && string(r.Data) != string(want) {
			t.Errorf("the second record has become %s", r.Data)
		}
		_ = append(r.Data, "overwritten"...)
	}
}

// filled is a log of n records in 100 streams.
func filled(b testing.TB, n int) *memlog.Log {
	log := memlog.New()
	for i := range n {
		stream := events.OrganizationStream("org-" + string(rune('a'+i%26)))
		if _, err := log.Append(b.Context(), stream, events.Any, envelope(i+1)); err != nil {
			b.Fatal(err)
		}
	}
	return log
}

func BenchmarkReadAll(b *testing.B) {
	const n = 100_000
	log := filled(b, n)
	b.ReportAllocs()
	for b.Loop() {
		read := 0
		for _, err := range log.ReadAll(b.Context(), 0) {
			if err != nil {
				b.Fatal(err)
			}
			read++
		}
		if read != n {
			b.Fatalf("read %d records, want %d", read, n)
		}
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "records/s")
}

// The baseline of an append is the least it cannot do without: checking the batch
// and hashing it.
func BenchmarkAppend(b *testing.B) {
	b.Run("append", func(b *testing.B) {
		log, i := memlog.New(), 0
		b.ReportAllocs()
		for b.Loop() {
			i++
			if _, err := log.Append(b.Context(), "organization/acme", events.Any, envelope(i)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("baseline", func(b *testing.B) {
		var head events.Head
		i := 0
		for b.Loop() {
			i++
			batch := []events.Envelope{envelope(i)}
			if err := events.Validate("organization/acme", events.Any, batch); err != nil {
				b.Fatal(err)
			}
			_, head = events.Seal("organization/acme", head, batch)
		}
	})
}

// What Append returned stays as it is when the writer uses its buffer again.
//
// Leaving out the copy in commit makes this fail.
func TestReturnedRecordsHaveTheirOwnData(t *testing.T) {
	e := envelope(1)
	recorded, err := memlog.New().Append(t.Context(), "organization/acme", 0, e)
	if err != nil {
		t.Fatal(err)
	}
	clear(e.Data)
	if string(recorded[0].Data) != string(envelope(1).Data) {
		t.Errorf("the returned data is %q", recorded[0].Data)
	}
}

// Waiting for a position that needs several appends sleeps through the first of them.
func TestWaitIsExact(t *testing.T) {
	log := memlog.New()
	done := make(chan error, 1)
	go func() { done <- log.Wait(t.Context(), 2) }()
	for i := range 3 {
		select {
		case err := <-done:
			t.Fatalf("Wait for position 3 returned %v with %d records", err, i)
		default:
		}
		if _, err := log.Append(t.Context(), "organization/acme", events.Any, envelope(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestSnapshotsAreChecked(t *testing.T) {
	log := memlog.New()
	if err := log.SaveSnapshot(t.Context(), "acme", events.Snapshot{}); !errors.Is(err, events.ErrInvalid) {
		t.Errorf("a snapshot of a malformed stream: %v", err)
	}
	large := events.Snapshot{Data: make([]byte, events.MaxSnapshotSize+1)}
	if err := log.SaveSnapshot(t.Context(), "organization/acme", large); !errors.Is(err, events.ErrInvalid) {
		t.Errorf("a snapshot beyond the size: %v", err)
	}
}
