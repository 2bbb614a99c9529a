package relay_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/events/relay"
)

// patience is how long a test waits for what must happen before it calls it lost.
const patience = time.Minute

var errBroken = errors.New("broken on purpose")

// add appends one event for each payload to stream.
func add(t testing.TB, log events.Log, stream events.StreamID, payloads ...events.Payload) []events.Recorded {
	t.Helper()
	var batch []events.Envelope
	for _, p := range payloads {
		e, err := events.NewEnvelope(events.Envelope{}.ID, time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), "alice", p)
		if err != nil {
			t.Fatal(err)
		}
		rand.Read(e.ID[:])
		batch = append(batch, e)
	}
	records, err := log.Append(t.Context(), stream, events.Any, batch...)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// addOwners appends n events of the same type to organization acme.
func addOwners(t testing.TB, log events.Log, n int) {
	t.Helper()
	for i := range n {
		add(t, log, events.OrganizationStream("acme"), &events.OrganizationOwnerAdded{Owner: fmt.Sprint("owner-", i)})
	}
}

// addUse appends n events of use.
func addUse(t testing.TB, log events.Log, n int) {
	t.Helper()
	for range n {
		add(t, log, events.UsageStream("acme"), &events.UsageRecorded{Uses: []events.Use{}})
	}
}

func newSubscriber(t testing.TB, config relay.SubscriberConfig) *relay.Subscriber {
	t.Helper()
	s, err := relay.NewSubscriber(config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func subscribe(t testing.TB, s message.Subscriber, topic string) <-chan *message.Message {
	t.Helper()
	messages, err := s.Subscribe(context.Background(), topic)
	if err != nil {
		t.Fatal(err)
	}
	return messages
}

func closeNow(t testing.TB, c interface{ Close() error }) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// receive is the next message, which must come.
func receive(t testing.TB, messages <-chan *message.Message) *message.Message {
	t.Helper()
	select {
	case m, ok := <-messages:
		if !ok {
			t.Fatal("the channel is closed, want a message")
		}
		return m
	case <-time.After(patience):
		t.Fatal("no message came")
	}
	return nil
}

// ackUpTo acks messages until the one of position last, and checks that they are
// consecutive from first on.
func ackUpTo(t testing.TB, messages <-chan *message.Message, first, last events.Position) {
	t.Helper()
	for want := first; want <= last; want++ {
		m := receive(t, messages)
		if got := positionOf(t, m); got != want {
			t.Fatalf("got position %d, want %d", got, want)
		}
		m.Ack()
	}
}

func positionOf(t testing.TB, m *message.Message) events.Position {
	t.Helper()
	r, err := relay.FromMessage(m)
	if err != nil {
		t.Fatal(err)
	}
	return r.Position
}

func checkpoint(t testing.TB, store events.Checkpoints, name string) events.Position {
	t.Helper()
	p, err := store.LoadCheckpoint(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func allRecords(t testing.TB, log events.Log) []events.Recorded {
	t.Helper()
	var all []events.Recorded
	for r, err := range log.ReadAll(context.Background(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// silent is a memlog that cannot wake its readers or say where it ends.
type silent struct {
	events.Log
	events.Checkpoints
}

func newSilent() silent {
	log := memlog.New()
	return silent{log, log}
}

// faulty is a memlog that fails on demand.
type faulty struct {
	*memlog.Log

	mu    sync.Mutex
	read  func(events.Position) error // asked before each record that is read
	save  func(events.Position) error // asked before each save
	saves int                         // that were tried
}

func newFaulty() *faulty { return &faulty{Log: memlog.New()} }

func (f *faulty) failReads(read func(events.Position) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.read = read
}

func (f *faulty) failSaves(save func(events.Position) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.save = save
}

func (f *faulty) triedSaves() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.saves
}

func (f *faulty) ReadAll(ctx context.Context, after events.Position) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		for r, err := range f.Log.ReadAll(ctx, after) {
			f.mu.Lock()
			if err == nil && f.read != nil {
				err = f.read(r.Position)
			}
			f.mu.Unlock()
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

func (f *faulty) SaveCheckpoint(ctx context.Context, name string, p events.Position) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.saves++
	if f.save != nil {
		if err := f.save(p); err != nil {
			return err
		}
	}
	return f.Log.SaveCheckpoint(ctx, name, p)
}

// quiet is where the tests' Routers log to.
func quiet() watermill.LoggerAdapter { return watermill.NopLogger{} }
