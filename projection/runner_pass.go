package projection

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/oatmill/oatmill/events"
)

// call is one call of CatchUp or Run.
type call struct {
	*Runner
	began    time.Time
	records  int64
	readings []reading
	missing  []events.MissingError           // of the pass
	seen     map[events.Position]events.Hash // what projections have seen, see resetForked
}

// follow makes one pass after the other.
func (c *call) follow(ctx context.Context) error {
	retry := firstRetry
	for failures := 0; ; {
		before := c.records
		reached, err := c.pass(ctx)
		if err == nil || c.records > before {
			retry = firstRetry
		}
		switch {
		case isFinal(err):
			return err
		case ctx.Err() != nil:
			return nil
		case err != nil:
			failures++
			c.cfg.Logger.WarnContext(ctx, "projections fall behind: trying again", "error", err, "failures", failures, "retry_in", retry)
			pause(ctx, retry, nil)
			retry = min(2*retry, lastRetry)
		default:
			if failures > 0 {
				c.cfg.Logger.InfoContext(ctx, "projections caught up again", "failures", failures, "position", reached)
				failures = 0
			}
			c.idle(ctx, reached)
		}
	}
}

// isFinal tells whether trying again cannot help: what is in the log stays there.
func isFinal(err error) bool {
	return errors.Is(err, events.ErrUnknownType) || errors.Is(err, events.ErrDamaged) || errors.Is(err, events.ErrClosed)
}

// idle returns when there may be records after reached, or it is time to look.
func (c *call) idle(ctx context.Context, reached events.Position) {
	if c.notifier == nil {
		pause(ctx, c.cfg.PollInterval, c.nudge)
		return
	}
	waiting, stop := context.WithTimeout(ctx, c.cfg.PollInterval)
	defer stop()
	if err := c.notifier.Wait(waiting, reached); err != nil && waiting.Err() == nil {
		c.cfg.Logger.WarnContext(ctx, "log cannot wake its projections: polling", "error", err)
		<-waiting.Done()
	}
}

// pause sleeps, unless ctx ends or nudge wakes it.
func pause(ctx context.Context, d time.Duration, nudge <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-nudge:
	case <-ctx.Done():
	}
}

// pass makes a pass, and another one while the log is replaced in the middle of it.
func (c *call) pass(ctx context.Context) (reached events.Position, err error) {
	for {
		if reached, err = c.passOnce(ctx); !errors.Is(err, errForked) || ctx.Err() != nil {
			return reached, err
		}
	}
}

// passOnce takes every projection from where it stands to the end of the log as of
// now, confirms it, and returns where that was.
//
// The pass is bounded by the end it saw at its beginning. A read up to wherever the
// log ends when the read gets there would not come to an end while others keep
// appending, and nothing would be confirmed.
func (c *call) passOnce(ctx context.Context) (events.Position, error) {
	at := c.cfg.Now()
	c.missing = nil
	if err := c.resetForked(ctx); err != nil {
		from, _ := c.extent()
		return from, err
	}
	from, furthest := c.extent()
	end, err := c.end(ctx) // after extent: no projection can be ahead of it
	if err != nil {
		return from, fmt.Errorf("ask the log where it ends: %w", err)
	}
	if furthest > end {
		return from, fmt.Errorf("%w: it ends at position %d, and a projection has come to %d", events.ErrDamaged, end, furthest)
	}
	reached := from
	if from < end {
		if reached, err = c.pump(ctx, from, end); err != nil {
			return reached, err
		}
	}
	holes := c.refold(ctx)
	if err := c.unexplained(holes); err != nil {
		return reached, err
	}
	if reached < end && c.heads != nil {
		return reached, fmt.Errorf("%w: it says that it ends at position %d, and ended at %d", events.ErrDamaged, end, reached)
	}
	for _, p := range c.cfg.Projections {
		if p, ok := p.(Confirmer); ok {
			p.Confirm(at)
		}
	}
	c.refold(ctx) // a confirmation can show that a record is missing
	return reached, nil
}

// end is where the log ends, unknownEnd when it cannot tell.
func (c *call) end(ctx context.Context) (events.Position, error) {
	if c.heads == nil {
		return unknownEnd, nil
	}
	return c.heads.End(ctx)
}

// pump applies the records after from, up to end, while another goroutine reads
// and decodes the ones that come next. That goroutine is gone when pump returns.
func (c *call) pump(ctx context.Context, from, end events.Position) (reached events.Position, err error) {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	batches := make(chan []events.Recorded, batchesInPipeline-2)
	var failed error // is set before batches is closed
	go func() {
		defer close(batches)
		failed = c.read(reading, from, end, batches)
	}()
	reached = from
	for batch := range batches {
		if err == nil {
			err = c.apply(ctx, batch, end)
		}
		if err != nil {
			stop() // and go on until the reader has seen it
			continue
		}
		reached = batch[len(batch)-1].Position
		c.recycle(batch)
	}
	if err == nil && failed != nil {
		err = fmt.Errorf("read the log after position %d: %w", reached, failed)
	}
	return reached, err
}

// read sends the records after from, up to end, in batches. What it could read
// before an error is sent, too. Positions that the log misses are noted and passed over.
func (c *call) read(ctx context.Context, from, end events.Position, batches chan<- []events.Recorded) error {
	batch := c.blank()
	var failed error
	for {
		var missing *events.MissingError
		batch, failed = c.readFrom(ctx, from, end, batch, batches)
		if !errors.As(failed, &missing) {
			break
		}
		c.missing = append(c.missing, *missing)
		from = missing.Last
	}
	if len(batch) > 0 && !send(ctx, batches, batch) {
		return ctx.Err()
	}
	return failed
}

// errForked means that the log lost its end, and perhaps grew again, since the pass began.
var errForked = errors.New("the log was replaced by another one in the middle of a read")

// readFrom sends full batches and returns the last one, which is not full. It begins with the record at from, which projections have seen: a log
// that is replaced between two reads would otherwise go on behind records that it lost.
func (c *call) readFrom(ctx context.Context, from, end events.Position, batch []events.Recorded, batches chan<- []events.Recorded) ([]events.Recorded, error) {
	first, known := from, false
	if _, known = c.seen[from]; known {
		first--
	}
	for r, err := range c.cfg.Log.ReadAll(ctx, first) {
		if err != nil {
			return batch, err
		}
		if hash, ok := c.seen[r.Position]; ok && hash != r.Hash() || known && r.Position > from {
			return batch, errForked
		}
		known = false
		if r.Position == from {
			continue
		}
		batch, from = append(batch, r), r.Position
		prepare(&batch[len(batch)-1])
		if r.Position >= end {
			break
		}
		if len(batch) == c.cfg.BatchSize {
			if !send(ctx, batches, batch) {
				return nil, ctx.Err()
			}
			batch = c.blank()
		}
	}
	return batch, nil
}

// prepare decodes a decision and computes its hash once for all projections. Records of
// use are read in place. An error is for the projections to find: not all of them read
// every record.
func prepare(r *events.Recorded) {
	if strings.HasPrefix(string(r.Stream), organizationPrefix) {
		_ = r.Prepare()
	}
}

func send(ctx context.Context, batches chan<- []events.Recorded, batch []events.Recorded) bool {
	select {
	case batches <- batch:
		return true
	case <-ctx.Done():
		return false
	}
}

// readModel is a projection of this package, which takes what was read once for all of them.
type readModel interface {
	take(ctx context.Context, batch []reading) error
	serves(p Projection) bool
}

// apply gives the batch to the projections, to each what it has not seen.
func (c *call) apply(ctx context.Context, batch []events.Recorded, end events.Position) error {
	c.readings = read(batch, c.readings[:0])
	defer clear(c.readings) // the batch is used again
	for _, p := range c.cfg.Projections {
		unseen := after(batch, p.Position())
		if len(unseen) == 0 {
			continue
		}
		var err error
		if m, ok := p.(readModel); ok && m.serves(p) {
			err = m.take(ctx, c.readings[len(batch)-len(unseen):])
		} else {
			err = p.Apply(ctx, unseen)
		}
		if err != nil {
			return explain(ctx, p, unseen, err)
		}
	}
	c.wake()
	c.records += int64(len(batch))
	if end == unknownEnd {
		end = 0
	}
	c.cfg.Progress(Progress{
		Position: batch[len(batch)-1].Position,
		End:      end,
		Records:  c.records,
		Elapsed:  c.cfg.Now().Sub(c.began),
	})
	return nil
}

// explain makes an ApplyError of what p said, unless it is that ctx ended. The
// record that p could not apply is the one after its position.
func explain(ctx context.Context, p Projection, batch []events.Recorded, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return err
	}
	explained := &ApplyError{Projection: fmt.Sprintf("%T", p), Err: err}
	if unseen := after(batch, p.Position()); len(unseen) > 0 {
		r := &unseen[0]
		explained.Position, explained.Stream, explained.Version, explained.Type = r.Position, r.Stream, r.Version, r.Type
	}
	return explained
}

// after is the part of batch with positions above p.
func after(batch []events.Recorded, p events.Position) []events.Recorded {
	if batch[0].Position > p {
		return batch
	}
	return batch[sort.Search(len(batch), func(i int) bool { return batch[i].Position > p }):]
}

// blank is an empty batch, a used one if there is one.
func (r *Runner) blank() []events.Recorded {
	select {
	case batch := <-r.spare:
		return batch
	default:
		return nil
	}
}

// recycle keeps a batch for later. No projection keeps it, by the contract of
// Apply, and clearing it lets go of its payloads.
func (r *Runner) recycle(batch []events.Recorded) {
	clear(batch)
	select {
	case r.spare <- batch[:0]:
	default:
	}
}
