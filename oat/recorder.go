package oat

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"

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

// bounded lets go of what will not be recorded of a long text.
func bounded(s string) string {
	if len(s) > maxUseText {
		return strings.Clone(s[:maxUseText])
	}
	return s
}

// merge adds back what could not be recorded.
func (s *span) merge(o span) {
	switch {
	case o.count == 0:
		return
	case s.count == 0:
		*s = o
		return
	}
	if o.first.Before(s.first) {
		s.first = o.first
	}
	if o.last.After(s.last) {
		s.last, s.cause, s.address, s.userAgent = o.last, o.cause, o.address, o.userAgent
	}
	s.count += o.count
}

// extent is how much a flush records.
type extent int

const (
	firstUses  extent = iota // the first uses of tokens
	anInterval               // what was noted, one event for an organization at the most
	everything               // what was noted, in as many events as it takes
)

// Flush records everything noted so far. The error says what could not be recorded;
// that is kept for the next flush.
func (r *Recorder) Flush(ctx context.Context) error { return r.flush(ctx, everything) }

// Close records everything noted so far and stops the recorder, as long as ctx
// allows. Uses noted afterwards are lost.
func (r *Recorder) Close(ctx context.Context) error {
	r.stop()
	select {
	case <-r.stopped:
		return r.Flush(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *Recorder) run(ctx context.Context) {
	defer close(r.stopped)
	ticker := time.NewTicker(r.cfg.Interval)
	defer ticker.Stop()
	for {
		what := anInterval
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
			what = firstUses
		case <-ticker.C:
		}
		if err := r.flush(ctx, what); err != nil && ctx.Err() == nil {
			r.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "use not recorded yet", slog.Any("cause", err))
		}
	}
}

// taken is a cell that a flush took away.
type taken struct {
	token uuid.UUID
	*cell
}

// flush records as much as is asked for, one flush after the other.
func (r *Recorder) flush(ctx context.Context, what extent) error {
	select {
	case r.flushing <- struct{}{}:
		defer func() { <-r.flushing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	uses := r.take(what)
	for organization := range r.unsure {
		if _, ok := uses[organization]; !ok {
			uses[organization] = nil
		}
	}
	return r.appendAll(ctx, uses, what)
}

// take takes the cells away, and groups them by organization.
func (r *Recorder) take(what extent) map[string][]taken {
	uses := make(map[string][]taken)
	for i := range r.shards {
		for _, cells := range r.shards[i].take(what) {
			for token, c := range cells {
				uses[c.organization] = append(uses[c.organization], taken{token, c})
			}
		}
	}
	return uses
}

// take takes the shard's cells away. New maps are made without the lock, because making
// a large one takes longer than a request should wait.
func (s *shard) take(what extent) (all [2]map[uuid.UUID]*cell) {
	first := make(map[uuid.UUID]*cell)
	if what == firstUses {
		s.mu.Lock()
		defer s.mu.Unlock()
		all[0], s.first = s.first, first
		return all
	}
	s.mu.Lock()
	n := len(s.cells)
	s.mu.Unlock()
	cells := make(map[uuid.UUID]*cell, n)
	s.mu.Lock()
	defer s.mu.Unlock()
	all[0], all[1], s.first, s.cells = s.first, s.cells, first, cells
	return all
}

// appendAll appends for many organizations side by side.
func (r *Recorder) appendAll(ctx context.Context, uses map[string][]taken, what extent) error {
	var (
		wg       sync.WaitGroup
		mu       sync.Mutex // for failures, unnamed and r.unsure
		failures []error
		unnamed  int
		places   = make(chan struct{}, appendersAtOnce)
	)
	for organization, of := range uses {
		places <- struct{}{}
		mu.Lock()
		before := r.unsure[organization]
		mu.Unlock()
		wg.Go(func() {
			defer func() { <-places }()
			after, err := r.appendOne(ctx, organization, before, of, what)
			mu.Lock()
			defer mu.Unlock()
			if delete(r.unsure, organization); after != nil {
				r.unsure[organization] = after
			}
			switch {
			case err == nil:
			case len(failures) < failuresNamed:
				failures = append(failures, fmt.Errorf("record use of %s: %w", organization, err))
			default:
				unnamed++
			}
		})
	}
	wg.Wait()
	if unnamed > 0 {
		failures = append(failures, fmt.Errorf("and of %d organizations more", unnamed))
	}
	return errors.Join(failures...)
}

// appendOne first settles an event whose outcome is unknown, then appends what was
// taken. It returns the event whose outcome is unknown now, if there is one. Uses
// that are surely not in the log go back to the cells.
func (r *Recorder) appendOne(ctx context.Context, organization string, before *events.Envelope, uses []taken, what extent) (*events.Envelope, error) {
	stream := events.UsageStream(organization)
	if before != nil {
		if _, err := r.cfg.Log.Append(ctx, stream, events.Any, *before); err != nil {
			r.putBack(uses)
			return before, err
		}
	}
	for len(uses) > 0 {
		n := fitting(uses)
		unsure, err := r.appendEvent(ctx, stream, uses[:n])
		uses = uses[n:]
		if err != nil || what != everything {
			r.putBack(uses)
			return unsure, err
		}
	}
	return nil, nil
}

// fitting is how many of the uses surely fit one event.
func fitting(uses []taken) int {
	size := 0
	for n, u := range uses {
		size += useSize + u.accepted.size() + u.refused.size()
		if n == maxUsesPerEvent || size > maxUsesSize {
			return n
		}
	}
	return len(uses)
}

// size is how many bytes the span takes in an event at most: JSON writes no character of
// a text in more than twice its bytes.
func (s *span) size() int {
	if s.count == 0 {
		return 0
	}
	return spanSize + 2*(len(s.cause)+len(s.address)+len(s.userAgent))
}

// appendEvent appends one event of uses. It returns the event if its outcome is
// unknown, and puts the uses back after any other error.
func (r *Recorder) appendEvent(ctx context.Context, stream events.StreamID, uses []taken) (*events.Envelope, error) {
	envelope, err := r.envelope(uses)
	if err == nil {
		_, err = r.cfg.Log.Append(ctx, stream, events.Any, envelope)
	}
	switch {
	case errors.Is(err, events.ErrUnknownOutcome):
		return &envelope, err
	case err != nil:
		r.putBack(uses)
	}
	return nil, err
}

// putBack keeps what could not be recorded for the next interval.
func (r *Recorder) putBack(uses []taken) {
	for _, u := range uses {
		s := r.shard(u.token)
		s.mu.Lock()
		if c, ok := s.cells[u.token]; ok {
			c.accepted.merge(u.accepted)
			c.refused.merge(u.refused)
		} else {
			s.cells[u.token] = u.cell
		}
		s.mu.Unlock()
	}
}

func (r *Recorder) envelope(uses []taken) (events.Envelope, error) {
	slices.SortFunc(uses, func(a, b taken) int { return cmp.Compare(a.token.String(), b.token.String()) })
	payload := &events.UsageRecorded{Uses: make([]events.Use, len(uses))}
	for i, u := range uses {
		payload.Uses[i] = events.Use{Token: u.token.String(), Accepted: u.accepted.payload(), Refused: u.refused.payload()}
	}
	now := r.cfg.Now()
	id, err := ulid.New(ulid.Timestamp(now), &r.random)
	if err != nil {
		return events.Envelope{}, fmt.Errorf("event id: %w", err)
	}
	return events.NewEnvelope(id, now, hostPrefix+"recorder", payload)
}

func (s *span) payload() *events.UseSpan {
	if s.count == 0 {
		return nil
	}
	return &events.UseSpan{
		First: events.Instant(s.first), Last: events.Instant(s.last), Count: s.count,
		Cause: useText(s.cause), Address: useText(s.address), UserAgent: useText(s.userAgent),
	}
}

// useText makes what a client said of itself fit to be recorded and shown.
func useText(s string) string {
	s = strings.ToValidUTF8(s, "")
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return -1
		}
		return c
	}, s)
}
