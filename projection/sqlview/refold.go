package sqlview

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/oatmill/oatmill/events"
)

// Last implements [projection.Rebuilder]. It is what this process knows, like Position.
func (v *View) Last() []events.Mark {
	known := v.live.last()
	if known.position == 0 {
		return nil
	}
	return []events.Mark{{Position: known.position, Hash: known.hash}}
}

// Suspects implements [projection.Rebuilder]. It returns the organizations that were closed
// when this process last had a transaction; another one may have closed or opened some
// meanwhile.
func (v *View) Suspects() []events.StreamID {
	v.live.mu.Lock()
	defer v.live.mu.Unlock()
	return slices.Clone(v.live.shut)
}

// Refold implements [projection.Rebuilder]. It is one transaction, and Apply of other
// processes waits for it. When another process has folded the organization again with the
// same outcome, Refold changes nothing.
func (v *View) Refold(ctx context.Context, stream events.StreamID, records iter.Seq2[events.Recorded, error]) error {
	var now stand
	var suspects []events.StreamID
	var problem error
	err := v.transact(ctx, func(q querier) (err error) {
		if now, err = v.live.lock(ctx, q); err != nil {
			return err
		}
		if problem, err = v.live.refold(ctx, q, now, stream, records); err != nil {
			return err
		}
		suspects, err = v.live.suspects(ctx, q)
		return err
	})
	if err != nil {
		return fmt.Errorf("sqlview %s: fold %s again: %w", v.t(state), stream, err)
	}
	v.live.note(now, suspects)
	return problem
}

// refold replaces the rows of an organization with what the records up to the stand say.
// problem is what keeps the organization closed.
func (s *set) refold(ctx context.Context, q querier, now stand, stream events.StreamID, records iter.Seq2[events.Recorded, error]) (problem, err error) {
	f := newFold(s)
	for r, err := range records {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil && r.Position <= now.position {
			err = f.record(&r)
		}
		if err != nil {
			return nil, err
		}
	}
	fresh := f.organizations[stream.Name()]
	if fresh == nil {
		fresh = new(organization)
	}
	stored := newFold(s)
	if err := stored.loadOrganizations(ctx, q, map[string]bool{stream.Name(): true}); err != nil {
		return nil, err
	}
	if o := stored.organizations[stream.Name()]; o != nil && o.head == fresh.head && o.closed == fresh.closed {
		return fresh.problem, nil
	}
	for _, t := range folded() {
		if _, err := q.ExecContext(ctx, s.sql("DELETE FROM "+s.t(t.name)+" WHERE organization = $1"), stream.Name()); err != nil {
			return nil, err
		}
	}
	return fresh.problem, f.write(ctx, q)
}

// Reset implements [projection.Rebuilder]. It is one transaction. When another process has
// emptied or rebuilt the tables since this one last knew them, Reset leaves them as they are
// and Position is the one they have: what the caller found out about them does not hold any
// more.
func (v *View) Reset(ctx context.Context) error {
	known := v.live.last()
	var now stand
	var suspects []events.StreamID
	if err := v.transact(ctx, func(q querier) (err error) {
		if now, err = v.live.lock(ctx, q); err != nil {
			return err
		}
		if now.generation == known.generation {
			now = stand{generation: now.generation + 1}
			if err := v.execAll(ctx, q, v.live.empty()); err != nil {
				return err
			}
			return v.live.writeState(ctx, q, now)
		}
		suspects, err = v.live.suspects(ctx, q)
		return err
	}); err != nil {
		return fmt.Errorf("sqlview %s: reset: %w", v.t(state), err)
	}
	v.live.note(now, suspects)
	return nil
}
