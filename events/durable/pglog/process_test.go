package pglog_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/pglog"
)

// childEnv names what a process that a test has started is to do, instead of running
// tests, and childURL where its log is.
const (
	childEnv = "OATMILL_PGLOG_CHILD"
	childURL = "OATMILL_PGLOG_URL"
)

// play is what another process does.
func play(role string) error {
	if role == "start" { // when told to, at the same moment as others
		if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
			return err
		}
	}
	log, err := pglog.Open(context.Background(), os.Getenv(childURL), pglog.Config{})
	if err != nil {
		return err
	}
	switch role {
	case "start":
		for range 20 {
			if _, err = log.Append(context.Background(), acme, events.Any, testkit.NewGenerator().Batch(2)...); err != nil {
				return err
			}
		}
		return log.Close()
	case "load":
		return playLoad(log)
	}
	return errors.New("unknown role")
}

// playLoad appends without end, and says of every batch, on standard output, that it is
// about to be appended, that it was, or that it was refused.
func playLoad(log *pglog.Log) error {
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf(format+"\n", args...)
	}
	failed := make(chan error)
	for w := range 8 {
		go func() { failed <- load(log, events.StreamID(fmt.Sprintf("organization/w%d", w/2)), say) }()
	}
	return <-failed
}

// load is one of the writers. Two share a stream, and every third batch expects a version
// that never is.
func load(log *pglog.Log, stream events.StreamID, say func(string, ...any)) error {
	g := testkit.NewGenerator()
	for n := 1; ; n++ {
		batch := g.Batch(1 + n%3)
		expected := events.Any
		if n%3 == 0 {
			expected = 1 << 40
		}
		list := strings.Join(ids(batch), ",")
		say("proposed %s", list)
		records, err := log.Append(context.Background(), stream, expected, batch...)
		switch {
		case errors.Is(err, events.ErrConflict):
			say("refused %s", list)
		case err != nil:
			return err
		}
		for i := range records {
			say("appended %s %s", records[i].ID, place(&records[i]))
		}
	}
}

// startChild starts another process with the same log.
func startChild(t *testing.T, role, address string) *testkit.Child {
	t.Helper()
	return testkit.StartChild(t, childEnv+"="+role, childURL+"="+address)
}

// hear takes in what the child says, kills it after so many words, and takes in the rest.
// A line that was cut off is not counted as said.
func (l *ledger) hear(t *testing.T, c *testkit.Child, words int) {
	t.Helper()
	for n := 0; c.Out.Scan(); n++ {
		said := strings.SplitN(c.Out.Text(), " ", 3)
		switch {
		case said[0] == "proposed" && len(said) == 2:
			l.propose(strings.Split(said[1], ","))
		case said[0] == "refused" && len(said) == 2:
			for id := range strings.SplitSeq(said[1], ",") {
				l.refused[id] = true
			}
		case said[0] == "appended" && len(said) == 3 && strings.Count(said[2], " ") == 2:
			l.appended[said[1]] = said[2]
		}
		if n == words {
			if err := c.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = c.Wait()
}

// TestWriterKilledUnderLoad kills the writing process in the middle of its load, several
// times on one log.
//
// What breaks it: answering the members of a plan before their statement is sent.
func TestWriterKilledUnderLoad(t *testing.T) {
	const kills = 5
	address := newDatabase(t)
	log := openFor(t, address, pglog.Config{})
	l := newLedger()
	for kill := range kills {
		l.hear(t, startChild(t, "load", address), 20+rand.IntN(400))
		gone(t, address)
		l.compare(t, log, fmt.Sprintf("kill %d", kill))
	}
	if len(l.appended) == 0 || len(l.refused) == 0 {
		t.Fatalf("%d events appended and %d refused prove nothing", len(l.appended), len(l.refused))
	}
	t.Logf("%d kills, %d events appended, %d refused, %d without an answer",
		kills, len(l.appended), len(l.refused), len(l.proposed)-len(l.appended)-len(l.refused))
}

// gone waits until the server has noticed that its client is dead, and has ended or
// undone what that had begun.
func gone(t *testing.T, address string) {
	t.Helper()
	conn := connect(t, address)
	for n := -1; n != 0; {
		err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
			AND pid <> pg_backend_pid() AND state <> 'idle'`).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestProcessesStartAtOnce has several processes find an empty database at the same moment.
func TestProcessesStartAtOnce(t *testing.T) {
	const processes = 4
	address := newDatabase(t)
	var children []*testkit.Child
	for range processes {
		children = append(children, startChild(t, "start", address))
	}
	for _, c := range children {
		if _, err := c.In.Write([]byte("\n")); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range children {
		if err := c.Wait(); err != nil {
			t.Errorf("a process ended with %v", err)
		}
	}
	if got := sound(t, openFor(t, address, pglog.Config{})); len(got) != processes*40 {
		t.Errorf("%d records, want %d", len(got), processes*40)
	}
}
