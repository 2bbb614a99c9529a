package oat

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/oatmill/oatmill/events"
)

// decision says what comes of a command: events, nothing, or why it is refused. It
// is pure, and is asked again when the state has moved on.
type decision func(o *organization, now time.Time) ([]events.Payload, error)

const (
	// maxConflicts bounds how often a command is decided anew because another
	// process was quicker. Each conflict means that somebody got on.
	maxConflicts = 64
	// maxRepeats bounds how often an append with an unknown outcome is repeated.
	maxRepeats = 4
	// maxPause is the longest pause between two tries.
	maxPause = 64 * time.Millisecond
)

// execute decides a command on the organization's newest state and appends what
// comes of it under the version it was decided on. done, if any, sees the state
// afterwards.
//
// Commands of one organization wait for each other here, because only one of them
// could be appended anyway. A command is first decided on the state in memory. If
// that is behind, the append conflicts and the command is decided again. A command that
// is refused, or appends nothing, is decided again unless the log confirms that the stream
// ends with the record that the state ends with.
func (s *Service) execute(ctx context.Context, by Actor, name string, decide decision, done func(*organization)) error {
	if OrganizationProblem(name) != "" {
		// A name that cannot be registered has no stream to look into.
		_, err := decide(newOrganization(name), s.cfg.Now())
		return err
	}
	e := s.cache.entry(name)
	if err := e.lock(ctx); err != nil {
		return err
	}
	defer e.unlock()
	defer s.cache.settle(e)
	if err := s.run(ctx, by, e, decide); err != nil {
		return err
	}
	if done != nil {
		done(e.state)
	}
	return nil
}

func (s *Service) run(ctx context.Context, by Actor, e *entry, decide decision) error {
	if e.state == nil {
		if err := s.refresh(ctx, e); err != nil {
			return err
		}
	}
	for conflicts := 0; ; {
		now := s.cfg.Now()
		payloads, refusal := decide(e.state, now)
		var err error
		if refusal == nil && len(payloads) > 0 {
			err = s.append(ctx, by, e, now, payloads)
		} else if err = s.confirm(ctx, e.state); err == nil {
			return refusal
		}
		if !errors.Is(err, events.ErrConflict) {
			return err
		}
		if conflicts++; conflicts == maxConflicts {
			return fmt.Errorf("%w: %s: %w", ErrBusy, e.name, err)
		}
		s.cfg.Logger.LogAttrs(ctx, slog.LevelDebug, "command decided again", slog.String("organization", e.name), slog.Any("cause", err))
		if err := s.refresh(ctx, e); err != nil {
			return err
		}
	}
}

// confirm returns nil when the log's stream ends with the record that the state ends with,
// and an [events.ErrConflict] when it ends otherwise. It compares the record's version and
// hash with the log's head, or with the record itself when the log has no heads.
func (s *Service) confirm(ctx context.Context, state *organization) (err error) {
	stream := events.OrganizationStream(state.name)
	known, head := state.head, events.Head{}
	if heads, ok := s.cfg.Log.(events.Heads); ok {
		if head, err = heads.Head(ctx, stream); err != nil {
			return fmt.Errorf("confirm %s: %w", state.name, err)
		}
	} else {
		for r, err := range s.cfg.Log.ReadStream(ctx, stream, max(known.Version-1, 0)) {
			if err != nil {
				return fmt.Errorf("confirm %s: %w", state.name, err)
			}
			head = events.Head{Version: r.Version, Hash: r.Hash()}
		}
	}
	if head != known {
		return fmt.Errorf("%w: %s ends at version %d %s, decided at version %d %s",
			events.ErrConflict, stream, head.Version, head.Hash, known.Version, known.Hash)
	}
	return nil
}

// append records the payloads as the next events of the organization, folds them
// into the state and lets the verifier know.
func (s *Service) append(ctx context.Context, by Actor, e *entry, now time.Time, payloads []events.Payload) error {
	batch, err := s.envelopes(by, now, payloads)
	if err != nil {
		return err
	}
	batch[0].Follows = e.state.head.Hash
	stream := events.OrganizationStream(e.name)
	records, err := s.appendOnce(ctx, stream, e.state.head.Version, batch)
	if err != nil {
		return fmt.Errorf("record %s: %w", batch[0].Type, err)
	}
	for i := range records {
		// In place, so that the verifier finds the payload decoded.
		if err = e.state.apply(&records[i]); err != nil {
			break
		}
	}
	if err != nil {
		e.state = nil
		return err
	}
	if s.cfg.Verifier != nil {
		s.cfg.Verifier.observe(ctx, s.cfg.Log, records)
	}
	return nil
}

// appendOnce appends the batch, and repeats the append while its outcome is
// unknown: the ids in it see to it that it happens once. After a try whose outcome
// is unknown only success and a conflict tell what became of it; any other error of
// a repeat, like a full disk, leaves it unknown.
func (s *Service) appendOnce(ctx context.Context, stream events.StreamID, expected events.Version, batch []events.Envelope) ([]events.Recorded, error) {
	for repeat := 0; ; repeat++ {
		records, err := s.cfg.Log.Append(ctx, stream, expected, batch...)
		switch unknown := errors.Is(err, events.ErrUnknownOutcome); {
		case err == nil || errors.Is(err, events.ErrConflict):
			return records, err
		case !unknown && repeat > 0:
			return nil, fmt.Errorf("%w: %w", events.ErrUnknownOutcome, err)
		case !unknown || repeat == maxRepeats || ctx.Err() != nil:
			return nil, err
		}
		s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "append repeated", slog.String("stream", string(stream)), slog.Any("cause", err))
		if err := pause(ctx, repeat, batch[0].ID); err != nil {
			return nil, fmt.Errorf("%w: %w", events.ErrUnknownOutcome, err)
		}
	}
}

func (s *Service) envelopes(by Actor, now time.Time, payloads []events.Payload) ([]events.Envelope, error) {
	batch := make([]events.Envelope, len(payloads))
	for i, payload := range payloads {
		id, err := ulid.New(ulid.Timestamp(now), s.random)
		if err != nil {
			return nil, fmt.Errorf("event id: %w", err)
		}
		if batch[i], err = events.NewEnvelope(id, now, by.String(), payload); err != nil {
			return nil, err
		}
		batch[i].Correlation, batch[i].Reason = by.Correlation, by.Reason
	}
	return batch, nil
}

// refresh folds into the entry's state what the log holds beyond it. What the state was
// folded from must still be there: a savepoint that was rolled back, or a failover to a
// server that lacks the last records, makes the log shorter than it was, and a state that
// knows what never was would refuse for ever. Such a state is let go.
func (s *Service) refresh(ctx context.Context, e *entry) error {
	begin := []func() *organization{
		func() *organization { return e.state },
		func() *organization {
			if s.outer == nil {
				return nil
			}
			return s.outer.cache.known(e.name)
		},
		func() *organization { return newOrganization(e.name) },
	}
	for _, from := range begin {
		state := from()
		if state == nil {
			continue
		}
		e.state = nil
		sound, err := s.follow(ctx, state)
		if err != nil {
			return fmt.Errorf("read %s: %w", e.name, err)
		}
		if sound {
			e.state = state
			return nil
		}
		s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "state does not agree with the log, and is folded anew", slog.String("organization", e.name))
	}
	return nil
}

// follow folds what the log holds beyond the state, and tells whether the log holds the
// record that the state ends with.
func (s *Service) follow(ctx context.Context, state *organization) (sound bool, err error) {
	sound = state.head.Version == 0
	for r, err := range s.cfg.Log.ReadStream(ctx, events.OrganizationStream(state.name), max(state.head.Version-1, 0)) {
		switch {
		case err != nil:
			return false, err
		case sound:
			err = state.apply(&r)
		case r.Version != state.head.Version || r.Hash() != state.head.Hash:
			return false, nil
		}
		if err != nil {
			return false, err
		}
		sound = true
	}
	return sound, nil
}

// pause waits before the next try: longer with each, and not as long as somebody
// else who tries at the same time, which the random end of an id sees to.
func pause(ctx context.Context, try int, id ulid.ULID) error {
	longest := min(time.Millisecond<<try, maxPause)
	timer := time.NewTimer(longest * time.Duration(id[len(id)-1]) / 255)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
