package natslog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/tail"
)

// end is where the stream ends.
type end struct {
	seq  uint64          // of the last message
	last events.Position // of the last record; 0 when there is none
}

// Head is [events.Heads.Head]: what the last message of the stream says of itself.
func (l *Log) Head(ctx context.Context, stream events.StreamID) (events.Head, error) {
	head, err := once(ctx, l, func(ctx context.Context) (events.Head, error) {
		if _, err := events.ParseStreamID(string(stream)); err != nil {
			return events.Head{}, err
		}
		last, err := l.lastOf(ctx, stream)
		if err != nil || last == nil {
			return events.Head{}, err
		}
		return last.head, nil
	})
	if err != nil {
		return events.Head{}, fmt.Errorf("head of %s: %w", stream, err)
	}
	return head, nil
}

// End is [events.Heads.End]. On a cluster it is the word of a leader that has heard of
// enough of its followers lately, so that a node which was cut off does not confirm an end
// that others have passed.
func (l *Log) End(ctx context.Context) (events.Position, error) {
	e, err := once(ctx, l, l.findEnd)
	if err != nil {
		return 0, fmt.Errorf("end of the log: %w", err)
	}
	return e.last, nil
}

// once makes a call that is no read and no append.
func once[T any](ctx context.Context, l *Log, get func(ctx context.Context) (T, error)) (T, error) {
	r := &reading{log: l, caller: ctx}
	var got T
	err := r.try(func(context.Context) (err error) {
		got, err = fetch(r, get)
		return err
	})
	return got, err
}

// findEnd asks the leader for the end of the log. What it found last time need not be
// read again.
func (l *Log) findEnd(ctx context.Context) (end, error) {
	last, err := l.lastSequence(ctx)
	if err != nil {
		return end{}, err
	}
	if known := l.ends.seen(); known.seq == last {
		return known, nil
	}
	found := end{seq: last}
	for seq := last; seq > 0; seq-- {
		m, err := l.fromLeader(ctx, l.cfg.Stream, get{Seq: seq})
		switch {
		case err != nil:
			return end{}, err
		case m == nil:
			return end{}, l.damaged(seq, "the message is missing")
		case l.isPart(m):
			continue
		}
		e, err := l.parse(m)
		if err != nil {
			return end{}, err
		}
		found.last = e.last()
		break
	}
	l.ends.saw(found)
	return found, nil
}

// ends is what this process knows of the end of the log. Every process tells the others
// when it has appended; nothing guarantees that the word arrives, so that the end is asked
// for as well, every now and then and only while somebody waits.
//
// The server could tell of every message it stores by itself (republish). Measured, that
// costs about a fifth of the throughput of appends, because it tells of each of them.
type ends struct {
	log  *Log
	tail *tail.Tail
	sub  *nats.Subscription

	mu    sync.Mutex
	known end
	sure  uint64 // this sequence was acknowledged to this process, or seen by it

	nudge   chan struct{}   // has a token when the poll should ask now
	mine    events.Position // what this process appended last
	told    events.Position // what the others were told last
	telling bool            // they will be told again in a moment
}

func newEnds(l *Log) *ends {
	t := &ends{log: l, nudge: make(chan struct{}, 1)}
	t.tail = tail.New(0, t.poll)
	return t
}

// listen subscribes to what others say. It is not believed, since anybody may say anything:
// the poll asks the leader, without waiting for its time. What is known already, as
// everything is that this process said itself, is not news.
func (t *ends) listen() (err error) {
	t.sub, err = t.log.nc.Subscribe(t.log.wakeSubject(), func(m *nats.Msg) {
		if p, err := strconv.ParseInt(string(m.Data), 10, 64); err == nil && events.Position(p) > t.tail.End() {
			select {
			case t.nudge <- struct{}{}:
			default:
			}
		}
	})
	return err
}

// wakeSubject is where processes say that they have appended.
func (l *Log) wakeSubject() string { return l.cfg.Subject + ".appended" }

// quiet is how long a process does not repeat itself. Under load one word stands for many
// appends.
const quiet = 3 * time.Millisecond

// appended notes that this process has appended up to p, and tells the others, at once
// or in a moment.
func (t *ends) appended(p events.Position) {
	t.tail.Reached(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sure = max(t.sure, uint64(p)/perMessage)
	t.mine = max(t.mine, p)
	if !t.telling && p > t.told && t.log.enter() == nil {
		t.telling = true
		t.tell()
		time.AfterFunc(quiet, t.tellAgain)
	}
}

// tell says what this process has appended. The tail is locked.
func (t *ends) tell() {
	t.told = t.mine
	// What cannot be sent now is found by those who look.
	_ = t.log.nc.Publish(t.log.wakeSubject(), strconv.AppendInt(nil, int64(t.told), 10))
}

// tellAgain tells of what was appended meanwhile.
func (t *ends) tellAgain() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mine > t.told {
		t.tell()
		time.AfterFunc(quiet, t.tellAgain)
		return
	}
	t.telling = false
	t.log.leave()
}

// seen is the end that was found last.
func (t *ends) seen() end {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.known
}

// least is a sequence that the stream has certainly reached.
func (t *ends) least() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sure
}

func (t *ends) saw(e end) {
	t.mu.Lock()
	if e.seq > t.known.seq {
		t.known = e
	}
	t.sure = max(t.sure, e.seq)
	t.mu.Unlock()
	t.tail.Reached(e.last)
}

// Wait is [events.Notifier.Wait]. It returns nil only with cause. The word of another process
// takes a few milliseconds; when it is lost, Wait is late by at most
// Config.PollInterval.
func (l *Log) Wait(ctx context.Context, after events.Position) error {
	return l.ends.tail.Wait(ctx, after)
}

// poll asks for the end, at once, whenever others say that they have appended, and every
// Config.PollInterval; never twice in a shorter time than they are quiet. Trouble is logged when
// it begins and when it changes; those who wait look by themselves from time to time. It
// ends a moment after the last waiter has left, so that one who only reads what came and
// waits again finds it running.
func (t *ends) poll() {
	if t.log.enter() != nil {
		return
	}
	defer t.log.leave()
	ticker := time.NewTicker(t.log.cfg.PollInterval)
	defer ticker.Stop()
	for trouble := ""; ; {
		ctx, cancel := t.log.until(t.log.closing)
		_, err := t.log.findEnd(ctx)
		cancel()
		switch {
		case err == nil:
			trouble = ""
		case t.log.closing.Err() == nil && trouble != err.Error():
			trouble = err.Error()
			t.log.cfg.Logger.Warn("asking for the end of the log", "stream", t.log.cfg.Stream, "error", err)
		}
		_ = pause(t.log.closing, quiet) // the next select sees that the log is closed
		select {
		case <-ticker.C:
		case <-t.nudge:
		case <-t.log.closing.Done():
		}
		if !t.tail.Needed() {
			return
		}
	}
}

// stop ends listening and the poll. The log's closing has ended before.
func (t *ends) stop() error {
	t.log.end()
	t.tail.Close()
	if t.sub == nil {
		return nil
	}
	if err := t.sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) && !errors.Is(err, nats.ErrBadSubscription) {
		return fmt.Errorf("end of wake-ups: %w", err)
	}
	return nil
}
