package sqlview

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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

	logger *slog.Logger
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

	mu    sync.Mutex
	known stand             // that the database had when this process last knew
	shut  []events.StreamID // of the organizations that were closed then, in order
}

// stand is what a set's row of state says about its rows.
type stand struct {
	position   events.Position // of the last record in the rows
	hash       events.Hash     // of that record
	generation int64           // counts how often the rows were replaced as a whole
	build      string
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
// that trying again does not help: the tables are not as they were left, or a newer version
// of this library wrote a record. When another process called Reset, Apply returns an error
// and Position moves back: the caller reads the log again from there, as a Runner does.
func (v *View) Apply(ctx context.Context, batch []events.Recorded) error {
	if err := v.live.Apply(ctx, batch); err != nil {
		return fmt.Errorf("sqlview %s: %w", v.t(state), err)
	}
	return nil
}

// Position is the position of the set, as far as this process knows.
func (s *set) Position() events.Position { return s.last().position }

// last returns the stand of the set, as far as this process knows.
func (s *set) last() stand {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known
}

// note keeps what a transaction found or left. It may come late, when another transaction
// of this process has noted more.
func (s *set) note(now stand, suspects []events.StreamID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !now.before(s.known) {
		s.known, s.shut = now, suspects
	}
}

// before reports whether the set had this stand before it had the other one.
func (a stand) before(b stand) bool {
	return a.generation < b.generation || a.generation == b.generation && a.position < b.position
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
	var now stand
	var suspects []events.StreamID
	var bad error
	err := s.v.transact(ctx, func(q querier) (err error) {
		if now, err = s.lock(ctx, q); err != nil {
			return err
		}
		if bad = s.continues(now, batch); bad == nil {
			if now, bad, err = s.fold(ctx, q, now, batch); err != nil {
				return err
			}
		}
		suspects, err = s.suspects(ctx, q)
		return err
	})
	if err != nil {
		return err
	}
	s.note(now, suspects)
	return bad
}

// continues returns an error when the batch, which was read from where this process knew
// the set to be, does not continue what another process made of the set meanwhile. The
// error is not final: the caller compares Last with the log, and reads it from Position.
func (s *set) continues(now stand, batch []events.Recorded) error {
	rest := after(batch, now.position-1)
	switch {
	case len(rest) == 0:
		return nil
	case rest[0].Position == now.position && rest[0].Hash() == now.hash:
		return nil
	case rest[0].Position > now.position && now.position == s.Position():
		return nil
	}
	return fmt.Errorf("another process has emptied the tables or filled them from another history of the log: they are at position %d now, and the log must be read again", now.position)
}

// lock has every other process that would change the set wait until the end of the
// transaction, and returns where the set stands.
func (s *set) lock(ctx context.Context, q querier) (now stand, err error) {
	if s.build != "" {
		// One that took over and is done has removed its tables.
		if kind, err := s.v.kindOf(ctx, q, s.t(state)); err != nil || kind == "" {
			return stand{}, cmp.Or(err, ErrSuperseded)
		}
	}
	version, now, err := s.scanState(q.QueryRowContext(ctx, s.lockState()))
	switch {
	case errors.Is(err, sql.ErrNoRows) && s.build != "":
		return stand{}, fmt.Errorf("table %s has lost its row: the server crashed meanwhile, and the rebuild must begin again", s.t(state))
	case errors.Is(err, sql.ErrNoRows):
		return stand{}, fmt.Errorf("%w: table %s has lost its row", events.ErrDamaged, s.t(state))
	case err != nil:
		return stand{}, err
	case s.build != "" && now.build != s.build:
		return stand{}, ErrSuperseded
	}
	if err := s.v.knows(version); err != nil {
		return stand{}, err
	}
	if known := s.last(); now.before(known) {
		return stand{}, fmt.Errorf("%w: table %s is at position %d of generation %d and had come to %d of %d: was the database restored, or did it lose what it had committed? Then open the view again",
			events.ErrDamaged, s.t(state), now.position, now.generation, known.position, known.generation)
	}
	return now, nil
}

// scanState reads the row of state.
func (s *set) scanState(row scanner) (version int, now stand, err error) {
	var hash string
	if err := row.Scan(&version, &now.position, &hash, &now.generation, &now.build); err != nil {
		return 0, stand{}, err
	}
	if now.hash, err = parseHash(hash); err != nil {
		return 0, stand{}, fmt.Errorf("%w: table %s: hash: %w", events.ErrDamaged, s.t(state), err)
	}
	return version, now, nil
}

// writeState writes where the set stands.
func (s *set) writeState(ctx context.Context, q querier, now stand) error {
	_, err := q.ExecContext(ctx, s.sql("UPDATE "+s.t(state)+" SET position = $1, hash = $2, generation = $3, build = $4 WHERE one = 1"),
		int64(now.position), hashText(now.hash), now.generation, now.build)
	return err
}

// suspects reads the streams of the organizations that are closed. The comparison, rather
// than IS NOT NULL, has SQLite use the index.
func (s *set) suspects(ctx context.Context, q querier) ([]events.StreamID, error) {
	rows, err := q.QueryContext(ctx, "SELECT organization FROM "+s.t(organizations)+" WHERE closed > ''")
	if err != nil {
		return nil, err
	}
	var streams []events.StreamID
	err = scanAll(rows, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		streams = append(streams, events.OrganizationStream(name))
		return err
	})
	slices.Sort(streams)
	return streams, err
}

// fold applies what is in batch after the stand, and returns how far it came. bad is what
// is wrong with the next record.
func (s *set) fold(ctx context.Context, q querier, now stand, batch []events.Recorded) (reached stand, bad, err error) {
	if err := s.byKey(ctx, q); err != nil {
		return now, nil, err
	}
	batch = after(batch, now.position)
	if len(batch) == 0 {
		return now, nil, nil
	}
	f := newFold(s)
	if err := f.load(ctx, q, batch); err != nil {
		return now, nil, err
	}
	n, bad := f.records(batch)
	if n == 0 {
		return now, bad, nil
	}
	if err := f.write(ctx, q); err != nil {
		return now, nil, err
	}
	now.position, now.hash = batch[n-1].Position, batch[n-1].Hash()
	return now, bad, s.writeState(ctx, q, now)
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
	_, err := q.ExecContext(ctx, "SELECT set_config('plan_cache_mode', $1::pg_catalog.text, true), set_config('enable_seqscan', $2::pg_catalog.text, true), "+
		"set_config('enable_hashjoin', $2::pg_catalog.text, true), set_config('enable_mergejoin', $2::pg_catalog.text, true)", cache, scans)
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
