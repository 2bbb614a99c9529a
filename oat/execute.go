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
// that is behind, the append conflicts and the command is decided again; a command
// that appends nothing is confirmed by looking into the log, so that nobody is
// refused for what is no longer so.
func (s *Service) execute(ctx context.Context, by Actor, name string, decide decision, done func(*organization)) error {
	if err := by.problems().orNil(); err != nil {
		return err
	}
	if organizationProblem(name) != "" {
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
	newest := e.state == nil // whether the state is what the log holds now
	if newest {
		if err := s.refresh(ctx, e); err != nil {
			return err
		}
	}
	for conflicts := 0; ; {
		now := s.cfg.Now()
		payloads, err := decide(e.state, now)
		if err == nil && len(payloads) > 0 {
			err = s.append(ctx, by, e, now, payloads)
			if !errors.Is(err, events.ErrConflict) {
				return err
			}
			if conflicts++; conflicts == maxConflicts {
				return fmt.Errorf("%w: %s: %w", ErrBusy, e.name, err)
			}
			s.cfg.Logger.LogAttrs(ctx, slog.LevelDebug, "command decided again", slog.String("organization", e.name), slog.Any("cause", err))
			newest = false
		}
		if newest {
			return err
		}
		if err := s.refresh(ctx, e); err != nil {
			return err
		}
		newest = true
	}
}

// append records the payloads as the next events of the organization, folds them
// into the state and lets the verifier know.
func (s *Service) append(ctx context.Context, by Actor, e *entry, now time.Time, payloads []events.Payload) error {
	batch, err := s.envelopes(by, now, payloads)
	if err != nil {
		return err
	}
	stream := events.OrganizationStream(e.name)
	records, err := s.appendOnce(ctx, stream, e.state.version, batch)
	if err != nil {
		return fmt.Errorf("record %s: %w", batch[0].Type, err)
	}
	for i := range records {
		// In place, so that the verifier finds the payload decoded.
		if err := e.state.apply(&records[i]); err != nil {
			e.state = nil
			return err
		}
	}
	if s.cfg.Verifier != nil {
		s.cfg.Verifier.observe(context.WithoutCancel(ctx), s.cfg.Log, records)
	}
	s.saveSnapshot(ctx, e)
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

// refresh folds into the entry's state what the log holds beyond it.
func (s *Service) refresh(ctx context.Context, e *entry) error {
	if e.state == nil && s.outer != nil {
		e.state = s.outer.cache.known(e.name)
	}
	if e.state == nil {
		e.state = s.loadSnapshot(ctx, e)
	}
	for r, err := range s.cfg.Log.ReadStream(ctx, events.OrganizationStream(e.name), e.state.version) {
		if err == nil {
			err = e.state.apply(&r)
		}
		if err != nil {
			e.state = nil
			return fmt.Errorf("read %s: %w", e.name, err)
		}
	}
	return nil
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
