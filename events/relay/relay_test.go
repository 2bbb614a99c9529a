package relay_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/events/relay"
)

// A Relay and a projection have this shape.
var _ interface {
	Position() events.Position
	Apply(context.Context, []events.Recorded) error
} = (*relay.Relay)(nil)

// inbox is the other end of a gochannel: what was published, in order.
type inbox struct {
	pubsub    *gochannel.GoChannel
	positions chan events.Position
}

// newInbox subscribes to the topics and acks whatever comes. Publishing waits for
// the ack, so what a publish left behind is here when it returns.
func newInbox(t *testing.T, topics ...string) *inbox {
	in := &inbox{
		pubsub:    gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, quiet()),
		positions: make(chan events.Position, 10_000),
	}
	t.Cleanup(func() { closeNow(t, in.pubsub) })
	for _, topic := range topics {
		messages := subscribe(t, in.pubsub, topic)
		go func() {
			for m := range messages {
				r, err := relay.FromMessage(m)
				if err != nil {
					t.Error(err)
				}
				in.positions <- r.Position
				m.Ack()
			}
		}()
	}
	return in
}

// drain is everything that arrived since the last call.
func (in *inbox) drain() []events.Position {
	var all []events.Position
	for {
		select {
		case p := <-in.positions:
			all = append(all, p)
		default:
			return all
		}
	}
}

func (in *inbox) expect(t *testing.T, want ...events.Position) {
	t.Helper()
	if got := in.drain(); !slices.Equal(got, want) {
		t.Errorf("published %v, want %v", got, want)
	}
}

// flaky publishes through another publisher, unless told to fail.
type flaky struct {
	message.Publisher
	fail func(topic string, m *message.Message) error
}

func (f *flaky) Publish(topic string, messages ...*message.Message) error {
	for _, m := range messages {
		if err := f.fail(topic, m); err != nil {
			return err
		}
		if err := f.Publisher.Publish(topic, m); err != nil {
			return err
		}
	}
	return nil
}

func newRelay(t *testing.T, config relay.RelayConfig) *relay.Relay {
	t.Helper()
	if config.Name == "" {
		config.Name = "audit"
	}
	r, err := relay.NewRelay(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func apply(t *testing.T, r *relay.Relay, batch []events.Recorded) {
	t.Helper()
	if err := r.Apply(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
}

func expectPositions(t *testing.T, r *relay.Relay, log events.Checkpoints, published, saved events.Position) {
	t.Helper()
	if got := r.Position(); got != published {
		t.Errorf("position %d, want %d", got, published)
	}
	if got := checkpoint(t, log, "relay/audit"); got != saved {
		t.Errorf("saved position %d, want %d", got, saved)
	}
}

func TestRelayPublishesInOrderToTheTopicOfTheKind(t *testing.T) {
	log, in := memlog.New(), newInbox(t, "organization", "usage")
	addOwners(t, log, 3)
	addUse(t, log, 2)
	addOwners(t, log, 1)
	var topics []string
	r := newRelay(t, relay.RelayConfig{Checkpoints: log, Publisher: &flaky{in.pubsub, func(topic string, m *message.Message) error {
		topics = append(topics, topic)
		return nil
	}}})
	apply(t, r, allRecords(t, log))
	in.expect(t, 1, 2, 3, 4, 5, 6)
	if want := strings.Fields("organization organization organization usage usage organization"); !slices.Equal(topics, want) {
		t.Errorf("topics %v, want %v", topics, want)
	}
	expectPositions(t, r, log, 6, 6)
	apply(t, r, allRecords(t, log))
	in.expect(t)
}

func TestRelayLeavesOutWhatHasNoTopic(t *testing.T) {
	log, in := memlog.New(), newInbox(t, "owners")
	addUse(t, log, 2)
	addOwners(t, log, 1)
	addUse(t, log, 2)
	r := newRelay(t, relay.RelayConfig{Checkpoints: log, Publisher: in.pubsub, Topic: func(r events.Recorded) string {
		if r.Type == events.TypeOrganizationOwnerAdded {
			return "owners"
		}
		return ""
	}})
	apply(t, r, allRecords(t, log))
	in.expect(t, 3)
	expectPositions(t, r, log, 5, 5)
}

// It fails when Apply goes on after an error, or sets the position before the
// publish.
func TestRelayStopsAtTheRecordThatIsNotPublished(t *testing.T) {
	log, in := memlog.New(), newInbox(t, "organization")
	addOwners(t, log, 6)
	broken := true
	r := newRelay(t, relay.RelayConfig{Checkpoints: log, Publisher: &flaky{in.pubsub, func(_ string, m *message.Message) error {
		if broken && positionOf(t, m) == 4 {
			return errBroken
		}
		return nil
	}}})
	err := r.Apply(t.Context(), allRecords(t, log))
	if !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "audit") || !strings.Contains(err.Error(), "position 4 to organization") {
		t.Errorf("got %v, want the publisher's error with relay, position and topic", err)
	}
	in.expect(t, 1, 2, 3)
	expectPositions(t, r, log, 3, 3)
	broken = false
	apply(t, r, allRecords(t, log))
	in.expect(t, 4, 5, 6)
	expectPositions(t, r, log, 6, 6)
}

func TestRelayGoesOnWhereTheLastOneStopped(t *testing.T) {
	log, in := memlog.New(), newInbox(t, "organization")
	addOwners(t, log, 5)
	all := allRecords(t, log)
	apply(t, newRelay(t, relay.RelayConfig{Checkpoints: log, Publisher: in.pubsub}), all[:2])
	next := newRelay(t, relay.RelayConfig{Checkpoints: log, Publisher: in.pubsub})
	expectPositions(t, next, log, 2, 2)
	apply(t, next, all)
	in.expect(t, 1, 2, 3, 4, 5)
	other := newRelay(t, relay.RelayConfig{Name: "other", Checkpoints: log, Publisher: in.pubsub})
	apply(t, other, all[:2])
	in.expect(t, 1, 2)
}

// A save that is lost makes no duplicate while the process lives, is made up for by
// the next Apply, and repeats what it stood for after a crash. It fails when Apply
// ignores the error of the save, or saves before it publishes.
func TestRelayWithALostSave(t *testing.T) {
	log, in := newFaulty(), newInbox(t, "organization")
	addOwners(t, log, 4)
	all := allRecords(t, log)
	log.failSaves(func(events.Position) error { return errBroken })
	r := newRelay(t, relay.RelayConfig{Checkpoints: log, Publisher: in.pubsub})
	if err := r.Apply(t.Context(), all[:2]); !errors.Is(err, errBroken) {
		t.Errorf("got %v, want the error of the save", err)
	}
	in.expect(t, 1, 2)
	expectPositions(t, r, log, 2, 0)

	crashed := newRelay(t, relay.RelayConfig{Checkpoints: log, Publisher: in.pubsub})
	log.failSaves(nil)
	apply(t, crashed, all)
	in.expect(t, 1, 2, 3, 4)

	apply(t, r, all[:2])
	in.expect(t)
	expectPositions(t, r, log, 2, 4)
}

func TestRelayMakesUpForALostSaveWithAnEmptyBatch(t *testing.T) {
	log, in := newFaulty(), newInbox(t, "organization")
	addOwners(t, log, 2)
	log.failSaves(func(events.Position) error { return errBroken })
	r := newRelay(t, relay.RelayConfig{Checkpoints: log, Publisher: in.pubsub})
	if err := r.Apply(t.Context(), allRecords(t, log)); !errors.Is(err, errBroken) {
		t.Errorf("got %v, want the error of the save", err)
	}
	log.failSaves(nil)
	apply(t, r, nil)
	expectPositions(t, r, log, 2, 2)
	apply(t, r, nil)
	if got := log.triedSaves(); got != 2 {
		t.Errorf("%d saves, want none where nothing changed", got)
	}
}

// It fails when the position is saved under the context that has ended.
func TestRelaySavesWhatItPublishedBeforeItsContextEnded(t *testing.T) {
	log, in := newFaulty(), newInbox(t, "organization")
	addOwners(t, log, 5)
	ctx, cancel := context.WithCancel(t.Context())
	r := newRelay(t, relay.RelayConfig{Checkpoints: log, Publisher: &flaky{in.pubsub, func(_ string, m *message.Message) error {
		if m.Context().Err() != nil {
			t.Error("the message's context has ended")
		}
		if positionOf(t, m) == 3 {
			cancel()
			if m.Context().Err() == nil {
				t.Error("the message's context is not Apply's")
			}
		}
		return nil
	}}})
	if err := r.Apply(ctx, allRecords(t, log)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	in.expect(t, 1, 2, 3)
	expectPositions(t, r, log, 3, 3)
}

// Relays that crash at any moment, with publishers and saves that fail at random,
// publish every record, and each of them in order without a hole. It fails when
// the checkpoint is saved at the beginning of Apply, or when a failed publish is
// skipped.
func TestRelayPublishesEverythingWhateverHappens(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 5))
			log, in := newFaulty(), newInbox(t, "organization")
			addOwners(t, log, 60)
			log.failSaves(func(events.Position) error { return sometimes(rng) })
			publisher := &flaky{in.pubsub, func(string, *message.Message) error { return sometimes(rng) }}
			var published events.Position // without a hole
			for checkpoint(t, log, "relay/audit") < 60 {
				r := newRelay(t, relay.RelayConfig{Checkpoints: log, Publisher: publisher})
				if r.Position() > published {
					t.Fatalf("goes on after %d, and only %d are published", r.Position(), published)
				}
				runUntilCrash(t, rng, r, log)
				published = max(published, expectNoHoles(t, in.drain(), published))
			}
			if published != 60 {
				t.Errorf("%d of 60 published", published)
			}
		})
	}
}

func sometimes(rng *rand.Rand) error {
	if rng.IntN(8) == 0 {
		return errBroken
	}
	return nil
}

// runUntilCrash feeds the relay batches of any size from its position on.
func runUntilCrash(t *testing.T, rng *rand.Rand, r *relay.Relay, log events.Log) {
	all := allRecords(t, log)
	for rng.IntN(4) > 0 {
		rest := all[r.Position():]
		batch := rest[:min(len(rest), rng.IntN(10))]
		if err := r.Apply(t.Context(), batch); err != nil && !errors.Is(err, errBroken) {
			t.Fatal(err)
		}
	}
}

// expectNoHoles checks that what one relay published is consecutive and begins no
// later than after what was published before, and returns its end.
func expectNoHoles(t *testing.T, got []events.Position, before events.Position) events.Position {
	t.Helper()
	end := before
	for i, p := range got {
		if i == 0 && p > before+1 || i > 0 && p != got[i-1]+1 {
			t.Fatalf("published %v after %d: there is a hole", got, before)
		}
		end = p
	}
	return end
}

func TestRelayConfigIsChecked(t *testing.T) {
	log := memlog.New()
	pubsub := gochannel.NewGoChannel(gochannel.Config{}, quiet())
	defer closeNow(t, pubsub)
	for name, config := range map[string]relay.RelayConfig{
		"no name":        {Publisher: pubsub, Checkpoints: log},
		"no publisher":   {Name: "audit", Checkpoints: log},
		"no checkpoints": {Name: "audit", Publisher: pubsub},
		"name too long":  {Name: strings.Repeat("x", events.MaxText), Publisher: pubsub, Checkpoints: log},
		"name with NUL":  {Name: "a\x00", Publisher: pubsub, Checkpoints: log},
	} {
		if _, err := relay.NewRelay(t.Context(), config); !errors.Is(err, events.ErrInvalid) {
			t.Errorf("%s: got %v, want events.ErrInvalid", name, err)
		}
	}
	log.Close()
	if _, err := relay.NewRelay(t.Context(), relay.RelayConfig{Name: "audit", Publisher: pubsub, Checkpoints: log}); !errors.Is(err, events.ErrClosed) {
		t.Errorf("got %v, want the log's error", err)
	}
}
