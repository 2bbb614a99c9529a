package sqlview

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/projection"
)

// Rebuild folds the log from its beginning into a second set of tables, and then makes the
// live ones equal to it in one transaction. progress is told after each batch; nil means
// nobody.
//
// Runners of this view, here and in other processes, go on meanwhile. They wait while the
// last transaction lasts, and go on from wherever it left the tables.
//
// After any error, or an end of the process, the live tables are as they were. What is left
// of the second set is removed when the next rebuild begins. Of two rebuilds at the same time
// the first ends with [ErrSuperseded]. A log that ends before the live tables' position is
// [events.ErrDamaged].
func (v *View) Rebuild(ctx context.Context, log events.Log, progress func(projection.Progress)) error {
	if err := v.rebuild(ctx, log, progress); err != nil {
		return fmt.Errorf("rebuild sqlview %s: %w", v.t("*"), err)
	}
	return nil
}

func (v *View) rebuild(ctx context.Context, log events.Log, progress func(projection.Progress)) error {
	next, err := v.beginNext(ctx)
	if err != nil {
		return err
	}
	runner, err := projection.NewRunner(projection.RunnerConfig{
		Log: log, Projections: []projection.Projection{next}, BatchSize: maxTransaction, Progress: progress,
	})
	if err != nil {
		return err
	}
	if err := runner.CatchUp(ctx); err != nil {
		return err
	}
	var now stand
	var suspects []events.StreamID
	if err := v.transact(ctx, func(q querier) (err error) {
		if now, err = v.take(ctx, q, log, next); err == nil {
			suspects, err = v.live.suspects(ctx, q)
		}
		return err
	}); err != nil {
		return err
	}
	v.live.note(now, suspects)
	return nil
}

// beginNext makes the second set of tables, empty, in place of any that is there.
func (v *View) beginNext(ctx context.Context) (*set, error) {
	build, err := uuid.NewRandom()
	if err != nil {
		return nil, err
	}
	next := &set{schema: v.schema, v: v, suffix: "_next", build: build.String()}
	return next, v.transact(ctx, func(q querier) error {
		if err := v.alone(ctx, q); err != nil {
			return err
		}
		statements := append(next.dropSet(), next.createSet()...)
		return v.execAll(ctx, q, append(statements, next.begin(next.build)))
	})
}

// take makes the live tables equal to the next ones, with the position of whichever is
// further along, and removes the next ones.
//
// The road not taken is to give the new tables the old ones' names. That is quick, whatever
// their size. But the host's own views, grants, indexes and triggers would stay with
// the tables that go; and in PostgreSQL, where names are not part of a transaction's snapshot,
// a long transaction of the host that began before could find new tables in which it sees only
// some of the rows. Here every reader has the rows of one moment, at any isolation level, and
// rows that are right already, which are nearly all of them in most rebuilds, are not
// written. The price is time in proportion to the tables, during which runners wait.
func (v *View) take(ctx context.Context, q querier, log events.Log, next *set) (stand, error) {
	live, err := v.live.lock(ctx, q)
	if err != nil {
		return stand{}, err
	}
	now, err := next.lock(ctx, q)
	if err != nil {
		return stand{}, err
	}
	if now, err = next.follow(ctx, q, log, now, live.position); err != nil {
		return stand{}, err
	}
	if err := next.asItLikes(ctx, q); err != nil {
		return stand{}, err
	}
	if v.Dialect == PostgreSQL { // which knows nothing yet of tables this young
		for _, t := range folded() {
			if err := v.execAll(ctx, q, []string{"ANALYZE " + next.t(t.name)}); err != nil {
				return stand{}, err
			}
		}
	}
	for _, t := range folded() {
		if err := v.execAll(ctx, q, v.live.equal(next, t)); err != nil {
			return stand{}, err
		}
	}
	// Another process may know the tables as another history of the log filled them, and
	// must not empty them now.
	now.generation = live.generation + 1
	if err := v.live.writeState(ctx, q, now); err != nil {
		return stand{}, err
	}
	return now, v.execAll(ctx, q, next.dropSet())
}

// follow brings the set to the position where another stands, whose lock we hold: however
// fast it moves otherwise, what is left to read has an end.
func (s *set) follow(ctx context.Context, q querier, log events.Log, reached stand, to events.Position) (stand, error) {
	from := reached.position
	var batch []events.Recorded
	fold := func() (err error) {
		var bad error
		reached, bad, err = s.fold(ctx, q, reached, batch)
		batch = batch[:0]
		if err == nil {
			err = bad
		}
		return err
	}
	if from >= to {
		return reached, nil
	}
	for r, err := range log.ReadAll(ctx, from) {
		if err != nil {
			return reached, fmt.Errorf("read the log after position %d: %w", reached.position, err)
		}
		if r.Position > to {
			break
		}
		batch = append(batch, r)
		if len(batch) == maxTransaction {
			if err := fold(); err != nil {
				return reached, err
			}
		}
	}
	if err := fold(); err != nil {
		return reached, err
	}
	if reached.position < to {
		return reached, fmt.Errorf("%w: the log ends at position %d, and table %s has come to %d: not the log it was filled from", events.ErrDamaged, reached.position, s.v.live.t(state), to)
	}
	return reached, nil
}

// equal is the statements that make a table equal to its counterpart in another set.
func (s *set) equal(next *set, t table) []string {
	var same, differs []string
	for _, name := range t.key {
		same = append(same, fmt.Sprintf("l.%[1]s = n.%[1]s", name))
	}
	for _, name := range t.rest() {
		differs = append(differs, fmt.Sprintf("l.%[1]s IS NOT DISTINCT FROM n.%[1]s", name))
	}
	found := strings.Join(same, " AND ")
	return []string{
		fmt.Sprintf("DELETE FROM %s AS l WHERE NOT EXISTS (SELECT 1 FROM %s n WHERE %s)", s.t(t.name), next.t(t.name), found),
		fmt.Sprintf("INSERT INTO %s (%s)\nSELECT %s FROM %s n WHERE NOT EXISTS (SELECT 1 FROM %s l WHERE %s AND %s)%s",
			s.t(t.name), strings.Join(t.names(""), ", "), strings.Join(t.names("n."), ", "), next.t(t.name),
			s.t(t.name), found, strings.Join(differs, " AND "), t.replace()),
	}
}
