package sqlitelog_test

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
)

// TestContextEndsUnderLoad ends contexts in the middle of appends, with two handles that
// write at the same time. Whoever got the context's error must find nothing in the log,
// now or later; whoever got no error must find the record.
//
// What breaks it: giving a request up, in submit, without regard to whether it could
// still be withdrawn.
func TestContextEndsUnderLoad(t *testing.T) {
	path := newPath(t)
	handles := []*sqlitelog.Log{openFor(t, path, sqlitelog.Config{}), openFor(t, path, sqlitelog.Config{})}
	var clients sync.WaitGroup
	outcomes := make([]map[string]error, 16)
	// The contexts end at moments spread over twice the time that appends take at this time
	// on this machine, so that about half of the appends are in time.
	var took atomic.Int64
	took.Store(int64(4 * time.Millisecond))
	for n := range outcomes {
		outcomes[n] = make(map[string]error)
		clients.Go(func() {
			g := testkit.NewGenerator()
			for range 60 {
				e := g.TokenGenerated()
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.Int64N(2*took.Load())))
				_, err := handles[n%2].Append(ctx, "usage/acme", events.Any, e)
				if cancel(); err == nil {
					took.Store(int64(time.Since(began)) + 1)
				} else {
					took.Store(took.Load()*9/8 + 1)
				}
				outcomes[n][e.ID.String()] = err
			}
		})
	}
	clients.Wait()
	found := testkit.Sound(t, handles[0])
	count := make(map[string]int)
	for _, some := range outcomes {
		for id, err := range some {
			count[judge(t, found, id, err)]++
		}
	}
	t.Logf("appends: %v", count)
	if count["appended"] == 0 || count["withdrawn"] == 0 {
		t.Error("too few of one kind to prove anything")
	}
}

// judge holds the outcome of an append against the log, and gives it a name.
func judge(t *testing.T, found map[string]events.Recorded, id string, err error) string {
	t.Helper()
	_, there := found[id]
	switch {
	case err == nil:
		if !there {
			t.Errorf("%s was appended and is not there", id)
		}
		return "appended"
	case errors.Is(err, events.ErrUnknownOutcome):
		return "unknown"
	case errors.Is(err, context.DeadlineExceeded):
		if there {
			t.Errorf("%s is there, and its caller was told that the context ended", id)
		}
		return "withdrawn"
	}
	t.Errorf("%s: %v", id, err)
	return "failed"
}

// TestContextEndsBetweenPages ends the context of a read at the last record of a page,
// at moments spread over the time that fetching the page behind it takes. What was
// fetched of that must not be yielded any more.
//
// What breaks it: asking for ctx.Err, in read, only where the page has no error itself.
func TestContextEndsBetweenPages(t *testing.T) {
	const page = 512
	log := openFor(t, newPath(t), sqlitelog.Config{})
	testkit.Append(t, log, acme, testkit.NewGenerator().Batch(events.MaxBatch)...)
	for n := range 40 {
		ctx, cancel := context.WithCancel(t.Context())
		seen := 0
		var failed error
		for _, err := range log.ReadAll(ctx, 0) {
			if failed = err; err != nil {
				continue
			}
			if seen++; seen == page {
				for began := time.Now(); time.Since(began) < time.Duration(n)*50*time.Microsecond; {
					runtime.Gosched()
				}
				cancel()
			}
		}
		cancel()
		if seen != page || !errors.Is(failed, context.Canceled) {
			t.Fatalf("cancelled after record %d: %d records, error %v", page, seen, failed)
		}
	}
}

// TestAppendsShareCommits counts commits, and with them calls of fsync: each ends with
// one frame in the write-ahead log. Appends one after the other have one each; appends
// that wait at the same time share one.
//
// What breaks it: a maxGroup of 1.
func TestAppendsShareCommits(t *testing.T) {
	const alone, together = 20, 400
	path := newPath(t)
	log := openFor(t, path, sqlitelog.Config{})
	g := testkit.NewGenerator()
	before := commits(t, path)
	for range alone {
		testkit.Append(t, log, "organization/acme", g.Batch(1)...)
	}
	if n := commits(t, path) - before; n != alone {
		t.Errorf("%d appends, one after the other, are %d commits", alone, n)
	}

	waiting := newGroup(log)
	for range together {
		e := g.TokenGenerated()
		waiting.add(func() {
			if _, err := log.Append(t.Context(), "usage/acme", events.Any, e); err != nil {
				t.Error(err)
			}
		})
	}
	if n := waiting.commits(t, path); n != 1 {
		t.Errorf("%d appends at the same time take %d commits, want 1", together, n)
	}
}

// commits is the number of commits in a write-ahead log that was never reset. A frame
// is a header of 24 bytes and a page; the second word of the header is not zero for
// the last frame of a commit.
func commits(t *testing.T, path string) (n int) {
	t.Helper()
	wal, err := os.ReadFile(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	page := int(binary.BigEndian.Uint32(wal[8:]))
	for frames := wal[32:]; len(frames) >= 24+page; frames = frames[24+page:] {
		if binary.BigEndian.Uint32(frames[4:]) != 0 {
			n++
		}
	}
	return n
}
