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
	if known := l.tail.seen(); known.seq == last {
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
	l.tail.saw(found)
	return found, nil
}

// tail is the end of the log as far as this process knows it, and those who wait for
// it to move. Every process tells the others when it has appended; nothing guarantees
// that the word arrives, so that the end is asked for as well, every now and then and
// only while somebody waits.
//
// The server could tell of every message it stores by itself (republish). Measured, that
// costs about a fifth of the throughput of appends, because it tells of each of them.
type tail struct {
	log *Log

	mu      sync.Mutex
	known   end
	sure    uint64          // this sequence was acknowledged to this process, or seen by it
	last    events.Position // there is a record here; beyond known.last where that is old
	moved   chan struct{}   // closed when last moves; nil while nobody waits
	waiting int
	polling bool
	polled  sync.WaitGroup
	sub     *nats.Subscription

	nudge   chan struct{}   // has a token when the poll should ask now
	mine    events.Position // what this process appended last
	told    events.Position // what the others were told last
	telling bool            // they will be told again in a moment
}

func newTail(l *Log) *tail { return &tail{log: l, nudge: make(chan struct{}, 1)} }

// listen subscribes to what others say. It is not believed, since anybody may say anything:
// the poll asks the leader, without waiting for its time.
func (t *tail) listen() (err error) {
	t.sub, err = t.log.nc.Subscribe(t.log.wakeSubject(), func(m *nats.Msg) {
		if p, err := strconv.ParseInt(string(m.Data), 10, 64); err == nil && t.isNews(events.Position(p)) {
			select {
			case t.nudge <- struct{}{}:
			default:
			}
		}
	})
	return err
}

// isNews tells whether a record at p is not known of yet. What this process said itself
// is not news.
func (t *tail) isNews(p events.Position) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return p > t.last
}

// wakeSubject is where processes say that they have appended.
func (l *Log) wakeSubject() string { return l.cfg.Subject + ".appended" }

// quiet is how long a process does not repeat itself. Under load one word stands for many
// appends.
const quiet = 3 * time.Millisecond

// appended notes that this process has appended up to p, and tells the others, at once
// or in a moment.
func (t *tail) appended(p events.Position) {
	t.reached(p)
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
func (t *tail) tell() {
	t.told = t.mine
	// What cannot be sent now is found by those who look.
	_ = t.log.nc.Publish(t.log.wakeSubject(), strconv.AppendInt(nil, int64(t.told), 10))
}

// tellAgain tells of what was appended meanwhile.
func (t *tail) tellAgain() {
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
func (t *tail) seen() end {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.known
}

// least is a sequence that the stream has certainly reached.
func (t *tail) least() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sure
}

func (t *tail) saw(e end) {
	t.mu.Lock()
	if e.seq > t.known.seq {
		t.known = e
	}
	t.sure = max(t.sure, e.seq)
	t.mu.Unlock()
	t.reached(e.last)
}

// reached notes that there is a record at p.
func (t *tail) reached(p events.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p <= t.last {
		return
	}
	t.last = p
	if t.moved != nil {
		close(t.moved)
		t.moved = nil
	}
}

// Wait is [events.Notifier.Wait]. It returns nil only with cause. The word of another process
// takes a few milliseconds; when it is lost, Wait is late by at most
// Config.PollInterval.
func (l *Log) Wait(ctx context.Context, after events.Position) error {
	for {
		err := ctx.Err()
		if err == nil && l.closing.Err() != nil {
			err = events.ErrClosed
		}
		if err != nil {
			return fmt.Errorf("wait for a position above %d: %w", after, err)
		}
		moved := l.tail.enter(after)
		if moved == nil {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
		case <-l.closing.Done():
		}
		l.tail.leave()
	}
}

// enter is what to wait for, nil when there is a record behind after already. Who gets a
// channel must leave.
func (t *tail) enter(after events.Position) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last > after {
		return nil
	}
	if t.moved == nil {
		t.moved = make(chan struct{})
	}
	t.waiting++
	if !t.polling && t.log.enter() == nil {
		t.polling = true
		t.polled.Go(t.poll)
	}
	return t.moved
}

func (t *tail) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting--
}

// needed tells the poll whether to go on. It ends a moment after the last waiter has
// left, so that one who only reads what came and waits again finds it running.
func (t *tail) needed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.polling = t.waiting > 0 && t.log.closing.Err() == nil
	return t.polling
}

// poll asks for the end, at once, whenever others say that they have appended, and every
// Config.PollInterval; never twice in a shorter time than they are quiet. Trouble is logged when
// it begins and when it changes; those who wait look by themselves from time to time.
func (t *tail) poll() {
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
		if !t.needed() {
			return
		}
	}
}

// stop ends listening and the poll. The log's closing has ended before.
func (t *tail) stop() error {
	t.log.end()
	t.polled.Wait()
	if t.sub == nil {
		return nil
	}
	if err := t.sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) && !errors.Is(err, nats.ErrBadSubscription) {
		return fmt.Errorf("end of wake-ups: %w", err)
	}
	return nil
}
