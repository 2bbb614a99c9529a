package oat

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"

	"github.com/oatmill/oatmill/events"
)

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
	text := func(s string) int { return min(len(s), maxUseText) }
	return spanSize + 2*(text(s.cause)+text(s.address)+text(s.userAgent))
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

// useText returns what is recorded of a text that a client sent: what can be seen of it,
// without secrets, in at most maxUseText bytes. Secrets are looked for in what is left
// once everything else was removed, so that nothing that is removed hides one.
func useText(s string) string {
	cut := len(s) == maxMasked
	s = strings.Map(func(c rune) rune {
		if !unicode.IsGraphic(c) || isInvisible(c) {
			return -1
		}
		return c
	}, strings.ToValidUTF8(s, ""))
	s = maskBeginning(s, cut)
	return strings.ToValidUTF8(s[:min(len(s), maxUseText)], "")
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
