package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/oatmill/oatmill/events"
)

// How long to wait after an error of the log.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// subscription delivers one topic. Only the goroutine that runs follow uses it.
type subscription struct {
	config   *SubscriberConfig
	topic    string
	logger   watermill.LoggerAdapter
	out      chan *message.Message
	progress *progress
	position events.Position // of the last record that was acked or not selected
}

func (s *Subscriber) open(ctx context.Context, topic string) (*subscription, error) {
	b, err := openBookmark(ctx, s.config.Checkpoints, "group/"+s.config.Group+"/"+topic)
	if err != nil {
		return nil, err
	}
	if err := checkEnd(ctx, s.config.Log, b.saved); err != nil {
		return nil, err
	}
	logger := s.config.Logger.With(watermill.LogFields{"group": s.config.Group, "topic": topic})
	return &subscription{
		config: &s.config, topic: topic, logger: logger,
		// Without a buffer a message is either with the consumer or not sent.
		out:      make(chan *message.Message),
		position: b.saved,
		progress: &progress{
			every: s.config.SaveEvery, interval: s.config.SaveInterval,
			failed:   func(err error) { logger.Error("position not saved, will try again", err, nil) },
			ctx:      context.WithoutCancel(ctx),
			bookmark: b, position: b.saved,
		},
	}, nil
}

// checkEnd refuses a position that the log has not reached. A reader that began
// there would wait for ever, without a word, or miss what is written meanwhile.
func checkEnd(ctx context.Context, log events.Log, p events.Position) error {
	heads, ok := log.(events.Heads)
	if !ok || p == 0 {
		return nil
	}
	end, err := heads.End(ctx)
	if err != nil {
		return err
	}
	if p > end {
		return fmt.Errorf("%w: the group's position is %d, and the log ends at %d: checkpoints of another log?", events.ErrInvalid, p, end)
	}
	return nil
}

// close saves what is not saved, after follow has returned.
func (s *subscription) close() error {
	err := s.progress.close()
	if err != nil {
		s.logger.Error("position not saved, acked messages will come again", err, nil)
	}
	return err
}

// follow delivers until ctx ends or the log is closed.
func (s *subscription) follow(ctx context.Context) {
	retry := firstRetry
	for ctx.Err() == nil {
		before := s.position
		err := s.catchUp(ctx)
		if err == nil {
			err = s.wait(ctx)
		}
		if err == nil || s.position > before {
			retry = firstRetry
		}
		switch {
		case err == nil || ctx.Err() != nil:
		case errors.Is(err, events.ErrClosed):
			s.logger.Error("subscription ends", err, nil)
			return
		default:
			s.logger.Error("log not read, will try again", err, watermill.LogFields{"position": s.position, "retry_in": retry})
			sleep(ctx, retry)
			retry = min(2*retry, lastRetry)
		}
	}
}

// catchUp delivers everything up to the end of the log.
func (s *subscription) catchUp(ctx context.Context) error {
	for r, err := range s.config.Log.ReadAll(ctx, s.position) {
		if err != nil {
			return err
		}
		switch {
		case !s.selects(&r):
			s.progress.skip(r.Position)
		case s.deliver(ctx, r):
			s.progress.ack(r.Position)
		default:
			return ctx.Err()
		}
		s.position = r.Position
	}
	s.progress.idle()
	return nil
}

func (s *subscription) selects(r *events.Recorded) bool {
	return s.topic == Everything || s.topic == r.Type || s.topic == r.Stream.Kind()
}

// wait returns when there may be more to read.
func (s *subscription) wait(ctx context.Context) error {
	log, ok := s.config.Log.(events.Notifier)
	if !ok {
		sleep(ctx, s.config.PollInterval)
		return nil
	}
	poll, cancel := context.WithTimeout(ctx, s.config.PollInterval)
	defer cancel()
	if err := log.Wait(poll, s.position); err != nil && poll.Err() == nil {
		return err
	}
	return nil
}

// deliver offers the record until it is acked. It returns false when ctx ended
// before that.
func (s *subscription) deliver(ctx context.Context, r events.Recorded) bool {
	for ctx.Err() == nil {
		if s.offer(ctx, r) {
			return true
		}
		s.logger.Debug("message not acked", watermill.LogFields{"position": r.Position})
		sleep(ctx, s.config.NackDelay)
	}
	return false
}

// offer hands the record out once and tells whether it was acked. Every time it is
// a new message, because one that was nacked cannot be acked.
func (s *subscription) offer(ctx context.Context, r events.Recorded) (acked bool) {
	m := ToMessage(r)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m.SetContext(ctx)
	select {
	case s.out <- m:
	case <-ctx.Done():
		return false
	}
	select {
	case <-m.Acked():
		return true
	case <-m.Nacked():
		return false
	case <-ctx.Done():
		return s.lastChance(m)
	}
}

// lastChance waits for a handler that is at work while the subscription ends, so
// that a clean stop repeats nothing that was done.
func (s *subscription) lastChance(m *message.Message) (acked bool) {
	timeout := time.NewTimer(max(s.config.CloseTimeout, 0))
	defer timeout.Stop()
	select {
	case <-m.Acked():
	case <-m.Nacked():
	case <-timeout.C:
	}
	// Asked once more, because an ack that came in time must win over the clock.
	select {
	case <-m.Acked():
		return true
	default:
		return false
	}
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
