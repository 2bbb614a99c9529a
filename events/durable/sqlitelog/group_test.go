package sqlitelog_test

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
)

// group has callers write in one transaction each, or in as few as the log makes of it.
type group struct {
	log     *sqlitelog.Log
	release func()
	callers sync.WaitGroup
	n       int
}

func newGroup(log *sqlitelog.Log) *group { return &group{log: log, release: sqlitelog.Hold(log)} }

// add has a caller write, and returns when it waits behind the others.
func (g *group) add(write func()) {
	g.n++
	g.callers.Go(write)
	for sqlitelog.Waiting(g.log) < g.n {
		runtime.Gosched()
	}
}

// commits lets all of them go on, and counts the commits it takes.
func (g *group) commits(t *testing.T, path string) int {
	before := commits(t, path)
	g.release()
	g.callers.Wait()
	return commits(t, path) - before
}

// TestTakenIDsShareTransaction has appends whose IDs are taken share a transaction with
// others: one that repeats an earlier append, one whose ID stands in another stream, and
// one given twice. None of them takes anything from the others.
//
// What breaks it: carryOutWarily without wary, or an insert that does not look at how many
// rows it has added.
func TestTakenIDsShareTransaction(t *testing.T) {
	path := newPath(t)
	log := openFor(t, path, sqlitelog.Config{})
	g := testkit.NewGenerator()
	first := testkit.Append(t, log, acme, g.Batch(3)...)
	elsewhere := testkit.Append(t, log, "organization/elsewhere", g.Batch(1)...)

	type result struct {
		records []events.Recorded
		err     error
	}
	results := make(map[string]*result)
	together := newGroup(log)
	add := func(name string, stream events.StreamID, expected events.Version, batch ...events.Envelope) {
		r := new(result)
		results[name] = r
		together.add(func() { r.records, r.err = log.Append(t.Context(), stream, expected, batch...) })
	}
	twice := g.TokenGenerated()
	add("before", "organization/before", 0, g.Batch(2)...)
	add("repeated", acme, events.Any, first[1].Envelope)
	add("duplicate", acme, events.Any, elsewhere[0].Envelope)
	add("behind", acme, 3, g.TokenGenerated())
	add("once", "organization/twice", events.Any, twice)
	add("twice", "organization/twice", events.Any, twice)
	add("conflict", acme, 2, g.TokenGenerated())
	for n := range 20 { // more than one statement takes
		add(fmt.Sprint("after ", n), "usage/acme", events.Any, g.TokenGenerated())
	}
	if n := together.commits(t, path); n != 1 {
		t.Errorf("%d commits, want 1", n)
	}

	for name, r := range results {
		var want error
		switch name {
		case "duplicate":
			want = events.ErrDuplicate
		case "conflict":
			want = events.ErrConflict
		}
		if !errors.Is(r.err, want) || (r.err == nil) != (len(r.records) > 0) {
			t.Errorf("%s: %d records, %v, want %v", name, len(r.records), r.err, want)
		}
	}
	if got := results["repeated"].records; len(got) != 1 || !got[0].Equal(first[1]) {
		t.Errorf("the repeated append is answered with %v, want %v", got, first[1])
	}
	if a, b := results["once"].records, results["twice"].records; len(a) != 1 || len(b) != 1 || !a[0].Equal(b[0]) {
		t.Errorf("the same append twice is answered with %v and %v", a, b)
	}
	if n := len(testkit.Sound(t, log)); n != 4+2+1+1+20 {
		t.Errorf("%d records, want 28", n)
	}
}

// TestSnapshotsShareCommits has snapshots and appends wait in turn. The snapshots share
// one commit and the appends another.
//
// What breaks it: an admits that asks whether r is apart, and not whether it is as apart as
// those of the group; or a take that stops at the first it does not admit.
func TestSnapshotsShareCommits(t *testing.T) {
	path := newPath(t)
	log := openFor(t, path, sqlitelog.Config{})
	g := testkit.NewGenerator()
	head := testkit.Append(t, log, acme, g.Batch(1)...)[0].Hash()
	together := newGroup(log)
	for n := range 8 {
		stream := events.StreamID(fmt.Sprintf("organization/o%d", n))
		together.add(func() {
			if _, err := log.Append(t.Context(), stream, 0, g.TokenGenerated()); err != nil {
				t.Error(err)
			}
		})
		together.add(func() {
			s := events.Snapshot{Head: events.Head{Version: 1, Hash: head}, Format: "test", Data: []byte(stream)}
			if err := log.SaveSnapshot(t.Context(), stream, s); err != nil {
				t.Error(err)
			}
		})
	}
	if n := together.commits(t, path); n != 2 {
		t.Errorf("%d commits, want 2", n)
	}
	for n := range 8 {
		stream := events.StreamID(fmt.Sprintf("organization/o%d", n))
		if s, err := log.LoadSnapshot(t.Context(), stream); err != nil || string(s.Data) != string(stream) {
			t.Errorf("the snapshot of %s is %q, %v", stream, s.Data, err)
		}
	}
}
