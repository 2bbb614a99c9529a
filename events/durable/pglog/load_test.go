package pglog_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/pglog"
)

// ledger is what writers were told of their batches.
type ledger struct {
	mu                sync.Mutex
	proposed, refused map[string]bool
	appended          map[string]string // by ID: stream, version and position
	batches           [][]string        // IDs that were proposed together
	resolved          int               // unknown outcomes that a repetition settled
}

func newLedger() *ledger {
	return &ledger{proposed: make(map[string]bool), refused: make(map[string]bool), appended: make(map[string]string)}
}

func ids(batch []events.Envelope) []string {
	list := make([]string, len(batch))
	for i := range batch {
		list[i] = batch[i].ID.String()
	}
	return list
}

func place(r *events.Recorded) string {
	return fmt.Sprintf("%s %d %d", r.Stream, r.Version, r.Position)
}

func (l *ledger) propose(batch []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.batches = append(l.batches, batch)
	for _, id := range batch {
		l.proposed[id] = true
	}
}

// heard notes how an append ended, and whether that is its outcome.
func (l *ledger) heard(batch []string, records []events.Recorded, err error, again bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		for i := range records {
			l.appended[records[i].ID.String()] = place(&records[i])
		}
	case errors.Is(err, events.ErrConflict):
		for _, id := range batch {
			l.refused[id] = true
		}
	default:
		return false
	}
	if again {
		l.resolved++
	}
	return true
}

// write appends batches to a stream that others append to as well, until enough says so.
// Every third batch expects a version that never is. A call that ended without an outcome
// is made again with the same events.
func (l *ledger) write(t *testing.T, log *pglog.Log, stream events.StreamID, enough func() bool) {
	g := testkit.NewGenerator()
	for n := 1; !enough(); n++ {
		batch := g.Batch(1 + n%3)
		expected := events.Any
		if n%3 == 0 {
			expected = 1 << 40
		}
		l.propose(ids(batch))
		unknown := false
		for {
			records, err := log.Append(t.Context(), stream, expected, batch...)
			if l.heard(ids(batch), records, err, unknown) {
				break
			}
			unknown = unknown || errors.Is(err, events.ErrUnknownOutcome)
			if t.Context().Err() != nil {
				return
			}
		}
	}
}

// compare holds the log against the ledger: what was acknowledged is there, as it was
// acknowledged; what is there was proposed and not refused; a batch is there as a whole or
// not at all. What is found beyond what was answered is entered: it must be there for ever.
func (l *ledger) compare(t *testing.T, log *pglog.Log, when string) {
	t.Helper()
	found := make(map[string]string)
	for id, r := range sound(t, log) {
		found[id] = place(&r)
		if !l.proposed[id] || l.refused[id] {
			t.Errorf("%s: %s is there, proposed: %v, refused: %v", when, id, l.proposed[id], l.refused[id])
		}
	}
	for id, place := range l.appended {
		if found[id] != place {
			t.Errorf("%s: %s was appended at %q and is at %q", when, id, place, found[id])
		}
	}
	for _, batch := range l.batches {
		for _, id := range batch[1:] {
			if (found[id] == "") != (found[batch[0]] == "") {
				t.Errorf("%s: the batch %s is there in part", when, strings.Join(batch, ","))
			}
		}
	}
	l.appended = found
}
