package sqlitelog_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
)

const loadWriters = 8

// playLoad appends without end, and says of every event, on standard output, that it
// is about to be appended, that it was, or that it was refused.
func playLoad(log *sqlitelog.Log) error {
	var mu sync.Mutex
	out := bufio.NewWriter(os.Stdout)
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(out, format+"\n", args...)
		out.Flush()
	}
	failed := make(chan error)
	for w := range loadWriters {
		go func() { failed <- load(log, events.StreamID(fmt.Sprintf("organization/w%d", w/2)), say) }()
	}
	return <-failed
}

// load is one of the writers. Two share a stream, every third batch expects a version
// that never is, and every fifth is appended twice.
func load(log *sqlitelog.Log, stream events.StreamID, say func(string, ...any)) error {
	g := testkit.NewGenerator()
	for n := 1; ; n++ {
		batch := []events.Envelope{g.TokenGenerated(), g.TokenGenerated()}[:1+n%2]
		expected := events.Any
		if n%3 == 0 {
			expected = 1 << 40
		}
		ids := make([]string, len(batch))
		for i := range batch {
			ids[i] = batch[i].ID.String()
		}
		say("proposed %s", strings.Join(ids, ","))
		records, err := log.Append(context.Background(), stream, expected, batch...)
		if err == nil && n%5 == 0 {
			records, err = log.Append(context.Background(), stream, expected, batch...)
		}
		switch {
		case errors.Is(err, events.ErrConflict):
			for _, e := range batch {
				say("refused %s", e.ID)
			}
		case err != nil:
			return err
		}
		for _, r := range records {
			say("appended %s %s %d %d", r.ID, r.Stream, r.Version, r.Position)
		}
	}
}

// ledger is what killed processes have said.
type ledger struct {
	proposed, refused map[string]bool
	appended          map[string]string // by ID: stream, version and position
	batches           [][]string        // IDs that were proposed together
}

// hear takes in what the child says, kills it after so many words, and takes in the
// rest. A line that was cut off is not counted as said.
func (l *ledger) hear(t *testing.T, c *testkit.Child, words int) {
	t.Helper()
	for n := 0; c.Out.Scan(); n++ {
		said := strings.SplitN(c.Out.Text(), " ", 3)
		switch {
		case said[0] == "proposed" && len(said) == 2:
			batch := strings.Split(said[1], ",")
			l.batches = append(l.batches, batch)
			for _, id := range batch {
				l.proposed[id] = true
			}
		case said[0] == "refused" && len(said) == 2:
			l.refused[said[1]] = true
		case said[0] == "appended" && len(said) == 3 && strings.Count(said[2], " ") == 2:
			l.appended[said[1]] = said[2]
		}
		if n == words {
			if err := c.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.Wait()
}

// TestKilledUnderLoad kills the writing process in the middle of its load, again and
// again on one file. What it was told is appended is there, as it was told; what is
// there was proposed and not refused; a batch that nobody answered is there as a whole or
// not at all; chains and places hold.
//
// OATMILL_KILLS sets how often. Answering the requests of a group before its COMMIT in
// commitGroup makes it fail, and so does a COMMIT and BEGIN between two records in extend,
// after some dozen kills.
func TestKilledUnderLoad(t *testing.T) {
	kills := 12
	if s := os.Getenv("OATMILL_KILLS"); s != "" {
		var err error
		if kills, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "events.db")
	l := &ledger{proposed: make(map[string]bool), refused: make(map[string]bool), appended: make(map[string]string)}
	for kill := range kills {
		l.hear(t, startChild(t, "load", path), 20+rand.IntN(400))
		l.compare(t, path, kill)
	}
	if len(l.appended) == 0 || len(l.refused) == 0 {
		t.Fatalf("%d events appended and %d refused prove nothing", len(l.appended), len(l.refused))
	}
	t.Logf("%d kills, %d events appended, %d refused, %d without an answer",
		kills, len(l.appended), len(l.refused), len(l.proposed)-len(l.appended)-len(l.refused))
}

// compare opens the log, as a restart does, and holds it against the ledger. What is
// found beyond what was answered is entered: it was there at this restart, and must be
// for ever.
func (l *ledger) compare(t *testing.T, path string, kill int) {
	t.Helper()
	log := open(t, path, sqlitelog.Config{})
	defer log.Close()
	found := make(map[string]string)
	for r, err := range log.ReadAll(t.Context(), 0) {
		if err != nil {
			t.Fatalf("kill %d: %v", kill, err)
		}
		found[r.ID.String()] = fmt.Sprintf("%s %d %d", r.Stream, r.Version, r.Position)
		if id := r.ID.String(); !l.proposed[id] || l.refused[id] {
			t.Errorf("kill %d: %s is there, proposed: %v, refused: %v", kill, id, l.proposed[id], l.refused[id])
		}
	}
	for id, place := range l.appended {
		if found[id] != place {
			t.Errorf("kill %d: %s was appended at %q and is at %q", kill, id, place, found[id])
		}
	}
	for _, batch := range l.batches {
		for _, id := range batch[1:] {
			if (found[id] == "") != (found[batch[0]] == "") {
				t.Errorf("kill %d: the batch %s is there in part", kill, batch)
			}
		}
	}
	l.appended = found
	for w := range loadWriters / 2 {
		if _, err := events.VerifyChain(t.Context(), log, events.StreamID(fmt.Sprintf("organization/w%d", w))); err != nil {
			t.Errorf("kill %d: %v", kill, err)
		}
	}
	if err := log.Check(t.Context()); err != nil {
		t.Errorf("kill %d: %v", kill, err)
	}
}
