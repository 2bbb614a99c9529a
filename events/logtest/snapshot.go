package logtest

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/oatmill/oatmill/events"
)

func snapshotCases() []Case {
	return []Case{{
		"a snapshot comes back as it was saved",
		"A snapshot that is cut off or changed on the way is folded into a state that never was.",
		snapshotsAreKept,
	}, {
		"a newer snapshot replaces the older one",
		"Snapshots pile up, or the first one is loaded for ever and starting gets slower every day.",
		snapshotsAreReplaced,
	}, {
		"a snapshot belongs to its stream",
		"One organization starts with the tokens of another.",
		snapshotsBelongToStreams,
	}, {
		"a snapshot of the greatest size is kept",
		"The organization with the most tokens, which needs its snapshot most, is the one that cannot save it.",
		largeSnapshotsAreKept,
	}, {
		"snapshots leave the log alone",
		"Saving a snapshot counts as a record, and followers stumble over it.",
		snapshotsAreNoRecords,
	}}
}

// long repeats s until it has n bytes.
func long(s string, n int) string { return strings.Repeat(s, n/len(s)+1)[:n] }

// snapshots is the log's ability. The test is skipped where the harness denies it.
func (s *subject) snapshots() events.Snapshots {
	s.Helper()
	if s.h.NoSnapshots {
		s.Skip("the harness declares that the log has no snapshots")
	}
	return s.log.(events.Snapshots)
}

// saveSnapshot must succeed.
func (s *subject) saveSnapshot(stream events.StreamID, snapshot events.Snapshot) {
	s.Helper()
	if err := s.snapshots().SaveSnapshot(s.ctx, stream, snapshot); err != nil {
		s.Fatalf("SaveSnapshot of %s: %v", stream, err)
	}
}

// snapshotIs demands what LoadSnapshot returns.
func (s *subject) snapshotIs(stream events.StreamID, want events.Snapshot) {
	s.Helper()
	got, err := s.snapshots().LoadSnapshot(s.ctx, stream)
	if err != nil || !equal(got, want) {
		s.Errorf("snapshot of %s is %+v, %q with %d bytes, error %v, want %+v, %q with %d bytes",
			stream, got.Head, got.Format, len(got.Data), err, want.Head, want.Format, len(want.Data))
	}
}

func equal(a, b events.Snapshot) bool {
	return a.Head == b.Head && a.Format == b.Format && bytes.Equal(a.Data, b.Data)
}

func snapshotsAreKept(s *subject) {
	s.snapshotIs(acme, events.Snapshot{})
	head := events.Head{Version: 7, Hash: events.Hash{0: 1, 31: 0xff}}
	for _, snapshot := range []events.Snapshot{
		{Head: head, Format: "oat.organization.v1", Data: []byte(`{"plan":"team"}`)},
		{Head: head, Format: "", Data: nil},
		{Head: head, Format: "ünï/'\"", Data: []byte{0, 1, 0xff, 0xfe, '\n', 0}},
		{Head: events.Head{}, Format: "empty", Data: []byte{0}},
	} {
		want := snapshot
		want.Data = bytes.Clone(snapshot.Data)
		s.saveSnapshot(acme, snapshot)
		clear(snapshot.Data) // the caller's buffer is the caller's again
		s.snapshotIs(acme, want)
		loaded, _ := s.snapshots().LoadSnapshot(s.ctx, acme)
		clear(loaded.Data)
		s.snapshotIs(acme, want)
	}
}

func snapshotsAreReplaced(s *subject) {
	for v := range events.Version(5) {
		snapshot := events.Snapshot{Head: events.Head{Version: v + 1}, Format: "f", Data: []byte(long("x", int(50-10*v)))}
		s.saveSnapshot(acme, snapshot)
		s.snapshotIs(acme, snapshot)
	}
}

func snapshotsBelongToStreams(s *subject) {
	mine := events.Snapshot{Head: events.Head{Version: 1}, Format: "f", Data: []byte("mine")}
	s.saveSnapshot("organization/a.b", mine)
	for _, other := range []events.StreamID{"organization/a", "organization/A.B", "organization/aXb", "usage/a.b"} {
		s.snapshotIs(other, events.Snapshot{})
	}
	other := events.Snapshot{Head: events.Head{Version: 2}, Format: "f", Data: []byte("other")}
	s.saveSnapshot("organization/A.b", other)
	s.snapshotIs("organization/a.b", mine)
	s.snapshotIs("organization/A.b", other)
}

func largeSnapshotsAreKept(s *subject) {
	size := events.MaxSnapshotSize
	if testing.Short() {
		size /= 8
	}
	// No two pieces of the data are equal, so that pieces that were lost or
	// swapped are seen.
	data := make([]byte, size)
	for i := 0; i < size; i += 256 {
		binary.BigEndian.PutUint64(data[i:], uint64(i)*0x9e3779b97f4a7c15)
	}
	snapshot := events.Snapshot{Head: events.Head{Version: 100_000}, Format: "large", Data: data}
	s.saveSnapshot(acme, snapshot)
	s.snapshotIs(acme, snapshot)
}

func snapshotsAreNoRecords(s *subject) {
	want := s.add(acme, 2)
	s.saveSnapshot(acme, events.Snapshot{Head: events.Head{Version: 2}, Format: "f", Data: []byte("x")})
	s.saveSnapshot("organization/beta", events.Snapshot{Head: events.Head{Version: 1}, Format: "f", Data: []byte("x")})
	s.holds(want)
	want = append(want, s.append(acme, 2, s.envelope())...)
	want = append(want, s.append("organization/beta", 0, s.envelope())...)
	s.holds(want)
}
