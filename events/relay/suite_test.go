package relay_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/events/relay"
)

// TestWatermillSuite runs Watermill's universal suite, which wants to publish
// messages of any form to topics of any name. A log takes neither, so carrier puts
// them into records and takes them out again; everything between is this package.
//
// Of the suite's features, exactly-once delivery is not promised, and there is no
// server to restart.
func TestWatermillSuite(t *testing.T) {
	log := memlog.New()
	tests.TestPubSub(t,
		tests.Features{
			ConsumerGroups: true, GuaranteedOrder: true, Persistent: true,
			ForceShort: true, // the long form differs in the number of messages
		},
		func(t *testing.T) (message.Publisher, message.Subscriber) { return newCarrier(t, log, "group") },
		func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
			return newCarrier(t, log, group)
		},
	)
}

// A group that is new receives what is old.
func TestWatermillSuiteOldMessages(t *testing.T) {
	log := memlog.New()
	features := tests.Features{NewSubscriberReceivesOldMessages: true}
	tests.TestNewSubscriberReceivesOldMessages(t, tests.TestContext{TestID: tests.NewTestID(), Features: features},
		func(t *testing.T) (message.Publisher, message.Subscriber) {
			return newCarrier(t, log, watermill.NewUUID())
		})
}

// carrier carries the suite's messages in the records of a log.
type carrier struct {
	t          *testing.T
	log        events.Log
	subscriber *relay.Subscriber
	forwarding sync.WaitGroup
}

// carried is the payload of such a record.
type carried struct {
	UUID     string
	Metadata message.Metadata
	Payload  []byte
}

// EventType makes carried an [events.Payload].
func (*carried) EventType() string { return "suite.carried.v1" }

func newCarrier(t *testing.T, log events.Log, group string) (message.Publisher, message.Subscriber) {
	s := newSubscriber(t, relay.SubscriberConfig{Log: log, Group: group, NackDelay: time.Millisecond, CloseTimeout: -1})
	c := &carrier{t: t, log: log, subscriber: s}
	return carrierPublisher{c}, c
}

// kind makes a kind of stream of the suite's topics.
func kind(topic string) string { return strings.ReplaceAll(topic, "-", "") }

type carrierPublisher struct{ *carrier }

func (c carrierPublisher) Publish(topic string, messages ...*message.Message) error {
	for _, m := range messages {
		add(c.t, c.log, events.StreamID(kind(topic)+"/suite"), &carried{m.UUID, m.Metadata, m.Payload})
	}
	return nil
}

func (carrierPublisher) Close() error { return nil }

func (c *carrier) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	in, err := c.subscriber.Subscribe(ctx, kind(topic))
	if err != nil {
		return nil, err
	}
	out := make(chan *message.Message)
	c.forwarding.Go(func() {
		defer close(out)
		for m := range in {
			var was carried
			if err := json.Unmarshal(m.Payload, &was); err != nil {
				c.t.Error(err)
			}
			m.UUID, m.Metadata, m.Payload = was.UUID, was.Metadata, was.Payload
			select {
			case out <- m:
			case <-m.Context().Done():
				m.Nack()
			}
		}
	})
	return out, nil
}

func (c *carrier) Close() error {
	defer c.forwarding.Wait()
	return c.subscriber.Close()
}
