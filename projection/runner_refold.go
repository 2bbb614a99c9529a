package projection

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/oatmill/oatmill/events"
)

// refoldInterval is how long an organization that could not be opened stays closed before
// it is folded again. Somebody may have repaired the log meanwhile.
const refoldInterval = 10 * time.Second

// suspect is an organization that a projection has closed.
type suspect struct {
	projection Rebuilder
	stream     events.StreamID
}

// resetForked compares the last records that projections have seen with the ones that the
// log has at their positions, and resets the projections that have seen another history.
func (c *call) resetForked(ctx context.Context) error {
	c.seen = make(map[events.Position]events.Hash)
	compared := make(map[events.Mark]bool) // whether the log has the record
	for _, p := range c.cfg.Projections {
		r, ok := p.(Rebuilder)
		if !ok {
			continue
		}
		for _, mark := range r.Last() {
			if _, done := compared[mark]; !done {
				hash, err := c.hashAt(ctx, mark.Position)
				if err != nil {
					return fmt.Errorf("read the log at position %d: %w", mark.Position, err)
				}
				compared[mark] = hash == mark.Hash
			}
			if compared[mark] {
				c.seen[mark.Position] = mark.Hash
				continue
			}
			c.cfg.Logger.ErrorContext(ctx, "the log does not continue what was read of it: reading it again from the beginning",
				"projection", fmt.Sprintf("%T", p), "position", mark.Position)
			if err := r.Reset(ctx); err != nil {
				return fmt.Errorf("reset %T: %w", p, err)
			}
			c.wake()
			break
		}
	}
	return nil
}

// hashAt returns the hash of the record at a position, zero when the log has none there.
func (c *call) hashAt(ctx context.Context, p events.Position) (events.Hash, error) {
	for r, err := range c.cfg.Log.ReadAll(ctx, p-1) {
		var missing *events.MissingError
		switch {
		case errors.As(err, &missing):
			return events.Hash{}, nil // the pass that follows finds out what else is missing
		case err != nil:
			return events.Hash{}, err
		case r.Position != p:
			return events.Hash{}, nil
		}
		return r.Hash(), nil
	}
	return events.Hash{}, nil
}

// refold folds the organizations again that projections have closed, and returns how many
// records their streams lack.
func (c *call) refold(ctx context.Context) (holes int64) {
	lacking := make(map[events.StreamID]int64)
	problems := make(map[events.StreamID]string)
	for _, p := range c.cfg.Projections {
		r, ok := p.(Rebuilder)
		if !ok {
			continue
		}
		for _, stream := range r.Suspects() {
			key := suspect{r, stream}
			problems[stream] = c.reported[stream]
			if since := c.cfg.Now().Sub(c.refolded[key]); len(c.missing) == 0 && since >= 0 && since < refoldInterval {
				continue
			}
			c.refolded[key] = c.cfg.Now()
			lacking[stream] = 0
			if err := r.Refold(ctx, stream, c.history(ctx, stream, lacking)); err != nil {
				problems[stream] = err.Error()
				continue
			}
			delete(c.refolded, key)
			if problems[stream] == "" {
				delete(problems, stream)
			}
			c.cfg.Logger.WarnContext(ctx, "organization folded again from the log", "projection", fmt.Sprintf("%T", p), "stream", stream)
		}
	}
	c.report(ctx, problems)
	for _, n := range lacking {
		holes += n
	}
	return holes
}

// report logs which organizations were closed since the last time, and which were opened.
func (c *call) report(ctx context.Context, problems map[events.StreamID]string) {
	for stream, problem := range problems {
		if problem != "" && problem != c.reported[stream] {
			c.cfg.Logger.ErrorContext(ctx, "organization closed: its records are not the ones that were appended", "stream", stream, "error", problem)
			c.reported[stream] = problem
		}
	}
	for stream := range c.reported {
		if _, closed := problems[stream]; !closed {
			c.cfg.Logger.WarnContext(ctx, "organization open again", "stream", stream)
			delete(c.reported, stream)
		}
	}
}

// history yields the records of an organization's stream and then those of its uses, and
// notes how many versions are missing in the former.
func (c *call) history(ctx context.Context, stream events.StreamID, lacking map[events.StreamID]int64) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		var version events.Version
		for _, s := range []events.StreamID{stream, events.UsageStream(stream.Name())} {
			for r, err := range c.cfg.Log.ReadStream(ctx, s, 0) {
				if err == nil && s == stream {
					lacking[stream] += int64(max(r.Version-version-1, 0))
					version = r.Version
				}
				if !yield(r, err) {
					return
				}
			}
		}
	}
}

// unexplained returns an error when the log lacks more records than the streams of the
// closed organizations do: the others can be any organization's.
func (c *call) unexplained(holes int64) error {
	for _, m := range c.missing {
		holes -= int64(m.Last - m.First + 1)
	}
	if holes >= 0 || len(c.missing) == 0 {
		return nil
	}
	return &c.missing[0]
}
