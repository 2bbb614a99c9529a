package sqlitelog

import (
	"context"
	"errors"
	"fmt"
)

// Check reads the whole file and tells whether its parts agree: pages, indexes and
// references as SQLite checks them, and that every record stands in exactly one place of
// its stream. It says nothing about what records contain; [events.VerifyChain] does. What
// does not fit is [events.ErrDamaged].
//
// A check takes about as long as reading the log. It sees the log as it was when it
// began; appends go on meanwhile, in a WAL that cannot be reset until the end.
func (l *Log) Check(ctx context.Context) error {
	if err := l.readers.lend(ctx, func(r *reader) error { return r.conn.check(ctx) }); err != nil {
		return fmt.Errorf("check log: %w", err)
	}
	return nil
}

func (c *conn) check(ctx context.Context) (err error) {
	if err := c.run("BEGIN"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.run("ROLLBACK")) }()
	for _, part := range []func(context.Context) error{c.checkPages, c.checkReferences, c.checkPlaces} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) checkPages(ctx context.Context) error {
	return c.ask(ctx, "PRAGMA integrity_check(1)", func(row *stmt) error {
		if problem := row.text(0); problem != "ok" {
			return damaged(c.file, "%s", problem)
		}
		return nil
	})
}

func (c *conn) checkReferences(ctx context.Context) error {
	return c.ask(ctx, "PRAGMA foreign_key_check", func(row *stmt) error {
		return damaged(c.file, "rows of %s belong to no stream", row.text(0))
	})
}

// checkPlaces counts the records three ways: all rows, the versions that streams have
// reached, and the rows that stand where their stream says. A place has one version,
// so that no row can stand in two.
func (c *conn) checkPlaces(ctx context.Context) error {
	placed, err := c.placed(ctx)
	if err != nil {
		return err
	}
	const query = "SELECT (SELECT count(*) FROM records), (SELECT coalesce(sum(version), 0) FROM streams)"
	return c.ask(ctx, query, func(row *stmt) error {
		if rows, known := row.integer(0), row.integer(1); rows != known || rows != placed {
			return damaged(c.file, "%d records, of which streams know %d and place %d", rows, known, placed)
		}
		return nil
	})
}

// placed is how many records stand where the list of their stream says.
func (c *conn) placed(ctx context.Context) (n int64, err error) {
	s, err := c.db.prepare(`SELECT count(*) FROM json_each(?) AS place CROSS JOIN records AS r ON r.position = place.value
  WHERE r.stream = ? AND r.version = ? + place.key`)
	if err != nil {
		return 0, explain(c.file, err)
	}
	found := &stmt{s, c}
	const lists = "SELECT stream, version / 32 * 32 + 1, tail FROM streams UNION ALL SELECT stream, block * 32 + 1, positions FROM blocks"
	err = c.ask(ctx, lists, func(row *stmt) error {
		stream, first := row.integer(0), row.integer(1)
		places, ok := positions(row.text(2))
		if !ok {
			return damaged(c.file, "the places of the stream with the key %d from version %d on cannot be read", stream, first)
		}
		here, err := found.number(ctx, asJSON(places), stream, first)
		n += here
		return err
	})
	return n, errors.Join(err, explain(c.file, found.close()))
}
