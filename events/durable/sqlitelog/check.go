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
	const query = `SELECT (SELECT count(*) FROM records), (SELECT coalesce(sum(version), 0) FROM streams),
  (SELECT count(*) FROM streams AS s, json_each(s.tail) AS place CROSS JOIN records AS r ON r.position = place.value
    WHERE r.stream = s.stream AND r.version = s.version / 32 * 32 + place.key + 1)
  + (SELECT count(*) FROM blocks AS b, json_each(b.positions) AS place CROSS JOIN records AS r ON r.position = place.value
    WHERE r.stream = b.stream AND r.version = b.block * 32 + place.key + 1)`
	return c.ask(ctx, query, func(row *stmt) error {
		if rows, known, placed := row.integer(0), row.integer(1), row.integer(2); rows != known || rows != placed {
			return damaged(c.file, "%d records, of which streams know %d and place %d", rows, known, placed)
		}
		return nil
	})
}
