package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/oatmill/oatmill/events"
)

// RelayConfig is what [NewRelay] needs to know. Name, Publisher and Checkpoints are
// required.
type RelayConfig struct {
	// Name tells this relay from others that keep their position in the same
	// place. A relay that is given a new name begins at the beginning of the log.
	Name string

	// Publisher takes the messages. The relay never closes it.
	Publisher message.Publisher

	// Checkpoints keeps the relay's position, most often the log itself.
	Checkpoints events.Checkpoints

	// Topic is where a record is published to; "" leaves the record out. Nil means
	// the kind of its stream, like "organization".
	Topic func(events.Recorded) string
}

// Relay publishes the records it is fed, in order and at least once. It has the
// shape of a projection, so that whoever runs projections runs it too.
//
// A Relay is safe for concurrent use.
type Relay struct {
	config   RelayConfig
	position atomic.Int64 // of the last record that was published or left out

	applying sync.Mutex
	bookmark *bookmark
}

// NewRelay is a relay that goes on where the one of the same name stopped. An
// incomplete configuration is [events.ErrInvalid]; other errors are those of loading
// the position.
func NewRelay(ctx context.Context, config RelayConfig) (*Relay, error) {
	switch {
	case config.Name == "":
		return nil, fmt.Errorf("%w: relay without a name", events.ErrInvalid)
	case config.Publisher == nil:
		return nil, fmt.Errorf("%w: relay %s without a publisher", events.ErrInvalid, config.Name)
	case config.Checkpoints == nil:
		return nil, fmt.Errorf("%w: relay %s without checkpoints", events.ErrInvalid, config.Name)
	}
	if config.Topic == nil {
		config.Topic = func(r events.Recorded) string { return r.Stream.Kind() }
	}
	b, err := openBookmark(ctx, config.Checkpoints, "relay/"+config.Name)
	if err != nil {
		return nil, fmt.Errorf("relay %s: %w", config.Name, err)
	}
	r := &Relay{config: config, bookmark: b}
	r.position.Store(int64(b.saved))
	return r, nil
}

// Position is that of the last record that was published or left out. It does not
// wait for an Apply that is under way, and may be ahead of what is saved.
func (r *Relay) Position() events.Position { return events.Position(r.position.Load()) }

// Apply publishes the records of batch above [Relay.Position], and then saves the
// position. Each is published by a call of its own, with ctx as its context: a call
// for several could not tell which of them the broker has.
//
// When a publish fails or ctx ends, Apply stops there, saves the position of what
// went before, and returns the error. When the save fails, the position stays where
// publishing got to, and the next Apply saves it, also one with nothing to publish.
func (r *Relay) Apply(ctx context.Context, batch []events.Recorded) error {
	r.applying.Lock()
	defer r.applying.Unlock()
	published := r.publish(ctx, batch)
	saved := r.bookmark.save(ctx, r.Position())
	if err := errors.Join(published, saved); err != nil {
		return fmt.Errorf("relay %s: %w", r.config.Name, err)
	}
	return nil
}

func (r *Relay) publish(ctx context.Context, batch []events.Recorded) error {
	for i := range batch {
		if batch[i].Position <= r.Position() {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if topic := r.config.Topic(batch[i]); topic != "" {
			m := ToMessage(batch[i])
			m.SetContext(ctx)
			if err := r.config.Publisher.Publish(topic, m); err != nil {
				return fmt.Errorf("publish position %d to %s: %w", batch[i].Position, topic, err)
			}
		}
		r.position.Store(int64(batch[i].Position))
	}
	return nil
}
