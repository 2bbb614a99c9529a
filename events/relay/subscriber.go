package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/oatmill/oatmill/events"
)

// Everything is the topic of all records of a log.
const Everything = "*"

// ErrSubscriberClosed is returned by [Subscriber.Subscribe] after Close.
var ErrSubscriberClosed = errors.New("subscriber closed")

// SubscriberConfig is what [NewSubscriber] needs to know. Log and Group are required.
type SubscriberConfig struct {
	// Log is what is read. When it is an [events.Notifier], new records are
	// delivered as soon as it wakes the subscription.
	Log events.Log

	// Group names the consumer group this subscriber reads for.
	Group string

	// Checkpoints keeps the group's positions. Nil means that the log does, and
	// then it must be able to.
	Checkpoints events.Checkpoints

	// NackDelay is the time between a nack and the next delivery of that message.
	// 0 means 100 ms; below 0 means none.
	NackDelay time.Duration

	// PollInterval is how often a subscription that has delivered everything looks
	// for new records by itself, also when the log is a Notifier. 0 means 1 s.
	PollInterval time.Duration

	// SaveEvery is the number of acks after which the position is saved: 1 saves
	// after each. 0 means 100.
	SaveEvery int

	// SaveInterval is the longest time between progress and the save of it. 0
	// means 1 s.
	SaveInterval time.Duration

	// CloseTimeout is how long a subscription that ends waits for the message in
	// flight to be acked or nacked. 0 means 1 s; below 0 means not at all.
	CloseTimeout time.Duration

	// Logger is told about errors of the log, with the group and the topic. Nil
	// means nobody is.
	Logger watermill.LoggerAdapter
}

// Subscriber delivers the records of a log to a consumer group, as Watermill's
// [message.Subscriber] says.
//
// A Subscriber is safe for concurrent use.
type Subscriber struct {
	config SubscriberConfig

	mu      sync.Mutex
	closed  bool
	topics  map[string]context.CancelFunc // of the subscriptions there are
	unsaved error                         // what ended subscriptions could not save
	running sync.WaitGroup
}

// NewSubscriber is a subscriber for one group. A configuration that cannot work is
// [events.ErrInvalid].
func NewSubscriber(config SubscriberConfig) (*Subscriber, error) {
	if config.Log == nil {
		return nil, fmt.Errorf("%w: subscriber without a log", events.ErrInvalid)
	}
	if config.Group == "" {
		return nil, fmt.Errorf("%w: subscriber without a group", events.ErrInvalid)
	}
	if config.Checkpoints == nil {
		log, ok := config.Log.(events.Checkpoints)
		if !ok {
			return nil, fmt.Errorf("%w: subscriber of group %s: the log keeps no checkpoints, and nothing else is given that does", events.ErrInvalid, config.Group)
		}
		config.Checkpoints = log
	}
	config.setDefaults()
	return &Subscriber{config: config, topics: make(map[string]context.CancelFunc)}, nil
}

func (c *SubscriberConfig) setDefaults() {
	orDefault(&c.NackDelay, 100*time.Millisecond)
	orDefault(&c.PollInterval, time.Second)
	orDefault(&c.SaveEvery, 100)
	orDefault(&c.SaveInterval, time.Second)
	orDefault(&c.CloseTimeout, time.Second)
	if c.Logger == nil {
		c.Logger = watermill.NopLogger{}
	}
}

func orDefault[T comparable](value *T, instead T) {
	var zero T
	if *value == zero {
		*value = instead
	}
}

// Subscribe delivers the records that topic selects, from the group's position on,
// one at a time: the next comes when the one before was acked. The context of each
// message descends from ctx, and ends when the message is acked or nacked.
//
// The channel is closed when ctx ends, after Close, and when the log is closed. Once
// it is, the group may subscribe to the topic again.
//
// A topic of a form that selects nothing, or one that this Subscriber is subscribed
// to already, is [events.ErrInvalid]; so is a position beyond the end of the log,
// which means that the checkpoints are those of another log. Other errors are those
// of loading the position.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	ctx, cancel := context.WithCancel(ctx)
	if err := s.register(topic, cancel); err != nil {
		cancel()
		return nil, fmt.Errorf("subscribe group %s to %q: %w", s.config.Group, clip(topic), err)
	}
	sub, err := s.open(ctx, topic)
	if err != nil {
		s.release(topic, nil)
		s.running.Done()
		return nil, fmt.Errorf("subscribe group %s to %s: %w", s.config.Group, topic, err)
	}
	go func() {
		defer s.running.Done()
		// The topic is free before the channel is closed, so that whoever sees
		// it closed can subscribe again.
		defer close(sub.out)
		sub.follow(ctx)
		s.release(topic, sub.close())
	}()
	return sub.out, nil
}

func (s *Subscriber) register(topic string, cancel context.CancelFunc) error {
	if topic != Everything && !selective(topic) {
		return fmt.Errorf(`%w: a topic is a kind of stream, a type of event, or "%s"`, events.ErrInvalid, Everything)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrSubscriberClosed
	}
	if s.topics[topic] != nil {
		return fmt.Errorf("%w: already subscribed; another handler needs a group of its own", events.ErrInvalid)
	}
	s.topics[topic] = cancel
	s.running.Add(1)
	return nil
}

// selective tells whether a kind of stream or a type of event can have this name.
func selective(topic string) bool {
	return topic != "" && strings.Trim(topic, "abcdefghijklmnopqrstuvwxyz0123456789._") == ""
}

func (s *Subscriber) release(topic string, unsaved error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.topics[topic]()
	delete(s.topics, topic)
	s.unsaved = errors.Join(s.unsaved, unsaved)
}

// Close ends all subscriptions, waits until their channels are closed and their
// positions saved, and makes later calls of Subscribe fail. It waits no longer than
// [SubscriberConfig.CloseTimeout] for handlers, and then for the save, which is given
// up after 5 s. The error says what could not be saved, by these subscriptions or by
// ones that ended before; messages that were acked since then will come again.
func (s *Subscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	for _, cancel := range s.topics {
		cancel()
	}
	s.mu.Unlock()
	s.running.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unsaved
}
