package sqlview

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/quota"
)

// View is the read models in a host's database. It is a projection of package projection:
// a runner leads it along the log, in one pass with others.
//
// Queries and Rebuild are safe for concurrent use, also beside Apply.
type View struct {
	schema
	db    *sql.DB
	plans quota.Plans
	live  *set
}

// schema is where tables stand, and how their database is talked to.
type schema struct {
	Dialect
	name   string // quoted and with a dot, empty in SQLite
	prefix string
}

// t is the full name of a table or view.
func (s schema) t(name string) string { return s.name + s.prefix + name }

// set is a full set of tables: the live ones, or those that a rebuild fills.
type set struct {
	schema
	v      *View
	suffix string // of its tables' names
	build  string // that its state must name; empty for the live tables, which any has built

	mu       sync.Mutex
	position events.Position // that the database had when we last knew
}

// t is the full name of one of the set's tables.
func (s *set) t(name string) string { return s.schema.t(name) + s.suffix }

// Position implements [projection.Projection]. It is what this process knows: another one that
// fills the same tables may have come further.
func (v *View) Position() events.Position { return v.live.Position() }

// Apply implements [projection.Projection]. Rows and position change in one transaction for
// up to 4096 records, and other processes' Apply waits for it.
//
// After an error of the database the position stands where the last transaction left it, and
// the same batch can be applied again. [events.ErrDamaged] and [events.ErrUnknownType] mean
// that trying again does not help: a record cannot be true, or the tables are not as they
// were left.
func (v *View) Apply(ctx context.Context, batch []events.Recorded) error {
	if err := v.live.Apply(ctx, batch); err != nil {
		return fmt.Errorf("sqlview %s: %w", v.t(state), err)
	}
	return nil
}

// Position is the position of the set, as far as this process knows.
func (s *set) Position() events.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.position
}

// advance notes that the set has come to p. It may be late, and never moves back.
func (s *set) advance(p events.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.position = max(s.position, p)
}

// maxTransaction is how many records change the tables in one transaction. More make it
// hardly cheaper, and others wait longer for it.
const maxTransaction = 4096

// Apply implements [projection.Projection].
func (s *set) Apply(ctx context.Context, batch []events.Recorded) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		batch = after(batch, s.Position())
		if len(batch) == 0 {
			return nil
		}
		if err := s.applySome(ctx, batch[:min(len(batch), maxTransaction)]); err != nil {
			return err
		}
	}
}

// applySome is one transaction. What comes before a record that cannot be applied is kept.
func (s *set) applySome(ctx context.Context, batch []events.Recorded) error {
	var reached events.Position
	var bad error
	err := s.v.transact(ctx, func(q querier) (err error) {
		if reached, err = s.lock(ctx, q); err == nil {
			reached, bad, err = s.fold(ctx, q, reached, batch)
		}
		return err
	})
	if err != nil {
		return err
	}
	s.advance(reached)
	return bad
}

// lock has everyone else who would change the set wait until the end of the transaction,
// and tells where the set stands.
func (s *set) lock(ctx context.Context, q querier) (events.Position, error) {
	if s.build != "" {
		// One that took over and is done has removed its tables.
		if kind, err := s.v.kindOf(ctx, q, s.t(state)); err != nil || kind == "" {
			return 0, cmp.Or(err, ErrSuperseded)
		}
	}
	var version int
	var position events.Position
	var build string
	err := q.QueryRowContext(ctx, s.lockState()).Scan(&version, &position, &build)
	switch {
	case errors.Is(err, sql.ErrNoRows) && s.build != "":
		return 0, fmt.Errorf("table %s has lost its row: the server crashed meanwhile, and the rebuild must begin again", s.t(state))
	case errors.Is(err, sql.ErrNoRows):
		return 0, fmt.Errorf("%w: table %s has lost its row", events.ErrDamaged, s.t(state))
	case err != nil:
		return 0, err
	case s.build != "" && build != s.build:
		return 0, ErrSuperseded
	}
	if err := s.v.knows(version); err != nil {
		return 0, err
	}
	if known := s.Position(); position < known {
		return 0, fmt.Errorf("%w: table %s is at position %d and had come to %d: was the database restored, or did it lose what it had committed? Then open the view again",
			events.ErrDamaged, s.t(state), position, known)
	}
	return position, nil
}

// fold applies what is in batch after position, and returns how far it came. bad is what
// is wrong with the next record.
func (s *set) fold(ctx context.Context, q querier, position events.Position, batch []events.Recorded) (reached events.Position, bad, err error) {
	batch = after(batch, position)
	if len(batch) == 0 {
		return position, nil, nil
	}
	if err := s.byKey(ctx, q); err != nil {
		return position, nil, err
	}
	f := newFold(s)
	if err := f.load(ctx, q, batch); err != nil {
		return position, nil, err
	}
	reached, bad = f.records(position, batch)
	if reached == position {
		return position, bad, nil
	}
	if err := f.write(ctx, q); err != nil {
		return position, nil, err
	}
	_, err = q.ExecContext(ctx, s.sql("UPDATE "+s.t(state)+" SET position = $1 WHERE one = 1"), int64(reached))
	return reached, bad, err
}

// byKey has PostgreSQL find rows by their keys until the end of the transaction. Left alone it
// makes plans for tables as small as they were when this process began to fill them, keeps
// them, and comes to read all of a large table for every batch.
func (s *set) byKey(ctx context.Context, q querier) error {
	return s.plan(ctx, q, "force_custom_plan", "off")
}

// asItLikes is the end of byKey, for statements about whole tables.
func (s *set) asItLikes(ctx context.Context, q querier) error { return s.plan(ctx, q, "auto", "on") }

func (s *set) plan(ctx context.Context, q querier, cache, scans string) error {
	if s.Dialect == SQLite {
		return nil
	}
	_, err := q.ExecContext(ctx, "SELECT set_config('plan_cache_mode', $1::text, true), set_config('enable_seqscan', $2::text, true), "+
		"set_config('enable_hashjoin', $2::text, true), set_config('enable_mergejoin', $2::text, true)", cache, scans)
	return err
}

// after is the part of batch with positions above p.
func after(batch []events.Recorded, p events.Position) []events.Recorded {
	for i := range batch {
		if batch[i].Position > p {
			return batch[i:]
		}
	}
	return nil
}
