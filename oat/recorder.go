package oat

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
)

// DefaultRecordInterval is how long uses are summed up before they are recorded.
const DefaultRecordInterval = time.Minute

const (
	recorderShards = 64
	// maxUsesPerEvent and maxUsesSize keep an event within [events.MaxBatchSize],
	// with room for the JSON around the uses. What is beyond them comes with the next
	// interval, or, in a flush of everything, as another event.
	maxUsesPerEvent = 512
	maxUsesSize     = events.MaxBatchSize - 1<<10
	maxUseText      = 255 // bytes of a cause, an address or a user agent
	// What a use and a span of it take in an event at most, beside their texts.
	useSize, spanSize = 100, 180
	// appendersAtOnce lets the appends of many organizations share the log's fsyncs.
	appendersAtOnce = 64
	// failuresNamed keeps the error of a flush short while a log with very many
	// organizations is down.
	failuresNamed = 8
	// forgetAfter is how long at least a token is remembered as used.
	forgetAfter = 24 * time.Hour
)

// RecorderConfig is what a [Recorder] needs. Only Log is required.
type RecorderConfig struct {
	// Log takes the events of use. Required.
	Log events.Log
	// Interval is how long uses are summed up. 0 means [DefaultRecordInterval].
	Interval time.Duration
	// Now is the clock events are stamped with. Nil means [time.Now].
	Now func() time.Time
	// Rand is where event ids come from. Nil means crypto/rand.
	Rand io.Reader
	// Logger hears of uses that could not be recorded yet. Nil means silence.
	Logger *slog.Logger
}

// Use is one use of a known secret, or of a token's grant. Organization and Token are
// required; a use by nobody, like that of an [Anonymous] grant, is not recorded.
type Use struct {
	Organization string
	Token        uuid.UUID
	At           time.Time
	Cause        string // why it was refused, "" when it was not
	Address      string
	UserAgent    string
}

// Recorder sums up uses in memory and records them in the organizations' usage
// streams: one event for an organization in every interval in which its tokens were
// used. A token's first use is recorded at once, so that owners see a new token come
// alive; so is the first one after a day or two, and after a restart.
//
// Record takes nanoseconds and waits for nothing. A crash loses the uses of one
// interval at the most, and so does nothing else: what cannot be appended is kept
// and tried again. An organization with more tokens in use than fit one event, which
// are 512, or some 200 if every client sends the longest texts, has them recorded in
// turn, and is the exception to the one interval.
type Recorder struct {
	cfg    RecorderConfig
	random lockedReader
	shards [recorderShards]shard
	wake   chan struct{} // filled when there is a first use

	flushing chan struct{} // full during a flush
	// unsure are the events, one for an organization at the most, of which it is
	// not known whether they were appended. Guarded by flushing.
	unsure map[string]*events.Envelope

	stop    context.CancelFunc
	stopped chan struct{}
}

// shard holds the cells of some tokens. A flush takes the maps away whole, so that
// it holds the lock no longer than a use does.
type shard struct {
	mu    sync.Mutex
	cells map[uuid.UUID]*cell // to be recorded with the interval
	first map[uuid.UUID]*cell // to be recorded at once
	seen  generations
}

// cell is what is known of one token's use since it was last recorded.
type cell struct {
	organization      string
	accepted, refused span
}

// generations remembers tokens for one to two times forgetAfter.
type generations struct {
	young, old map[uuid.UUID]struct{}
	born       time.Time // when young was begun
}

// add notes the token and tells whether it was remembered. Times may come a little out
// of order, and far out of order when the clock was set.
func (g *generations) add(token uuid.UUID, now time.Time) bool {
	if age := now.Sub(g.born).Abs(); age > forgetAfter {
		g.young, g.old, g.born = make(map[uuid.UUID]struct{}), g.young, now
		if age > 2*forgetAfter {
			g.old = nil // nobody was here to let it go
		}
	}
	_, young := g.young[token]
	_, old := g.old[token]
	g.young[token] = struct{}{}
	return young || old
}

type span struct {
	first, last        time.Time
	count              int64
	cause              string
	address, userAgent string
}

// NewRecorder starts a recorder. It must be closed.
func NewRecorder(cfg RecorderConfig) (*Recorder, error) {
	if cfg.Log == nil {
		return nil, errors.New("new recorder: RecorderConfig.Log is required")
	}
	if cfg.Interval <= 0 {
		cfg.Interval = DefaultRecordInterval
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &Recorder{
		cfg: cfg, random: lockedReader{r: cfg.Rand}, wake: make(chan struct{}, 1),
		flushing: make(chan struct{}, 1), unsure: make(map[string]*events.Envelope),
		stop: stop, stopped: make(chan struct{}),
	}
	for i := range r.shards {
		r.shards[i].cells, r.shards[i].first = make(map[uuid.UUID]*cell), make(map[uuid.UUID]*cell)
	}
	go r.run(ctx)
	return r, nil
}

// Record notes one use. It is safe for concurrent use.
func (r *Recorder) Record(u Use) {
	if u.Token == uuid.Nil || u.Organization == "" {
		return // no reader of the log would take it
	}
	s := r.shard(u.Token)
	s.mu.Lock()
	c, ok := s.cells[u.Token]
	isFirst := false
	if !ok {
		c, isFirst = s.newCell(&u)
	}
	c.add(&u)
	s.mu.Unlock()
	if isFirst {
		select {
		case r.wake <- struct{}{}:
		default: // the flush that is due anyway will find it
		}
	}
}

// shard is where a token is. The last byte of an id is random in every version of
// UUID.
func (r *Recorder) shard(token uuid.UUID) *shard { return &r.shards[token[15]%recorderShards] }

// newCell is the cell for a token that has none to be recorded with the interval,
// and whether it is a new one that is to be recorded at once.
func (s *shard) newCell(u *Use) (c *cell, isFirst bool) {
	if c, ok := s.first[u.Token]; ok {
		return c, false
	}
	c = &cell{organization: u.Organization}
	if s.seen.add(u.Token, u.At) {
		s.cells[u.Token] = c
		return c, false
	}
	s.first[u.Token] = c
	return c, true
}

func (c *cell) add(u *Use) {
	into := &c.accepted
	if u.Cause != "" {
		into = &c.refused
	}
	if into.count == 0 || u.At.Before(into.first) {
		into.first = u.At
	}
	// Not a plain assignment: two requests may come here out of order.
	if into.count == 0 || !u.At.Before(into.last) {
		into.last, into.cause, into.address, into.userAgent = u.At, bounded(u.Cause), bounded(u.Address), bounded(u.UserAgent)
	}
	into.count++
}

// bounded lets go of what is not looked at of a long text.
func bounded(s string) string {
	if len(s) > maxMasked {
		return strings.Clone(s[:maxMasked])
	}
	return s
}
