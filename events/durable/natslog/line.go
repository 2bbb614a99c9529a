package natslog

import (
	"container/list"
	"context"
	"fmt"
	"sync"

	"github.com/oklog/ulid/v2"

	"github.com/oatmill/oatmill/events"
)

// line is the end of one stream as this process last saw it, with all its event IDs.
// Other processes may have appended since; the server's expectation then tells.
type line struct {
	stream events.StreamID
	turn   chan struct{} // holds a token while nobody appends

	// Guarded by turn.
	current bool   // was confirmed, and nothing has happened since that makes it doubtful
	term    uint64 // that it was confirmed in
	seq     uint64
	head    events.Head
	ids     map[ulid.ULID]events.Position

	// Guarded by the lines.
	users   int
	counted int
	place   *list.Element
}

// free takes the line's turn if nobody has it.
func (n *line) free() bool {
	select {
	case <-n.turn:
		return true
	default:
		return false
	}
}

// take waits for the line's turn.
func (n *line) take(ctx context.Context) error {
	select {
	case <-n.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *line) release() { n.turn <- struct{}{} }

// follow takes up a batch that comes directly after what the line knows.
func (n *line) follow(e *entry) {
	for i, id := range e.ids {
		n.ids[id] = position(e.seq, i)
	}
	n.seq, n.head = e.seq, e.head
}

// lines are the lines that were used last, as long as they know no more IDs together
// than they may. Lines that somebody uses stay in any case.
type lines struct {
	limit int

	mu     sync.Mutex
	known  map[events.StreamID]*line
	recent *list.List // of *line, the one used last in front
	ids    int
}

func newLines(limit int) *lines {
	return &lines{limit: limit, known: make(map[events.StreamID]*line), recent: list.New()}
}

// of is the line of a stream. Who gets it must put it back.
func (s *lines) of(stream events.StreamID) *line {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.known[stream]
	if !ok {
		n = &line{stream: stream, turn: make(chan struct{}, 1), ids: make(map[ulid.ULID]events.Position)}
		n.turn <- struct{}{}
		n.place = s.recent.PushFront(n)
		s.known[stream] = n
	}
	n.users++
	s.recent.MoveToFront(n.place)
	return n
}

// put gives a line back. size is the number of IDs it knows, if that was seen.
func (s *lines) put(n *line, size int, seen bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n.users--
	if seen {
		s.ids += size + 1 - n.counted // an empty line takes space as well
		n.counted = size + 1
	}
	for e := s.recent.Back(); e != nil && s.ids > s.limit; {
		old := e.Value.(*line)
		e = e.Prev()
		if old.users == 0 {
			s.recent.Remove(old.place)
			delete(s.known, old.stream)
			s.ids -= old.counted
		}
	}
}

// forget starts the line over.
func (n *line) forget() {
	n.seq, n.head = 0, events.Head{}
	clear(n.ids)
}

// refresh brings the line up to date with the stream's leader. Without confirm it may be one
// that was replaced, and refuses a message that follows on the line.
func (l *Log) refresh(ctx context.Context, n *line, confirm bool) error {
	return l.retry(ctx, func() error {
		term := l.term()
		m, err := l.tryLast(ctx, n.stream, confirm)
		if err != nil {
			return err
		}
		if err := l.compare(ctx, n, m, term); err != nil || n.current {
			return err
		}
		e, err := l.parse(m)
		if err != nil {
			return err
		}
		if e.first != n.head.Version+1 {
			if err := l.overtake(ctx, n, e.seq); err != nil {
				return err
			}
		}
		if e.first != n.head.Version+1 {
			return l.damaged(e.seq, "version %d follows version %d", e.first, n.head.Version)
		}
		n.follow(e)
		n.current, n.term = true, term
		return nil
	})
}

// compare compares the line with m, the last message of its stream, and finds it current
// when both end alike. A leader that has less is none. One that has another message where
// the line ends has lost the end of the stream with its disk or its power, and others
// have appended since: what the line knows is then no longer so, and it starts over. Only a
// new connection or a new leader can show that.
func (l *Log) compare(ctx context.Context, n *line, m *message, term uint64) (err error) {
	n.current = false
	switch {
	case n.seq == 0:
		if m == nil {
			n.current, n.term = true, term
		}
		return nil
	case m == nil || m.seq < n.seq:
		return fmt.Errorf("%w: the leader of stream %s lacks sequence %d", errAgain, l.cfg.Stream, n.seq)
	case m.seq > n.seq && n.term == term:
		return nil
	}
	there := m
	if m.seq > n.seq {
		if there, err = l.tryLeader(ctx, l.cfg.Stream, get{Seq: n.seq}); err != nil {
			return err
		}
	}
	if same, err := l.isHead(n, there); err != nil {
		return err
	} else if !same {
		n.forget()
		return fmt.Errorf("%w: stream %s was changed", errAgain, l.cfg.Stream)
	}
	if n.term = term; there == m {
		n.current = true
	}
	return nil
}

// isHead tells whether a message is the one that the line ends with.
func (l *Log) isHead(n *line, m *message) (bool, error) {
	if m == nil || m.subject != l.subject(n.stream) {
		return false, nil
	}
	e, err := l.parse(m)
	return err == nil && e.head == n.head, err
}

// overtake takes up what others appended behind the line and before sequence upTo.
func (l *Log) overtake(ctx context.Context, n *line, upTo uint64) error {
	p := l.pager(l.subject(n.stream), n.seq+1, upTo)
	defer p.end()
	for {
		page, err := p.page(ctx)
		if err != nil {
			return err
		}
		for i := range page {
			if page[i].seq >= upTo {
				return nil
			}
			e, err := l.parse(&page[i])
			if err != nil {
				return err
			}
			if e.first != n.head.Version+1 {
				return l.damaged(e.seq, "version %d follows version %d", e.first, n.head.Version)
			}
			n.follow(e)
		}
	}
}
