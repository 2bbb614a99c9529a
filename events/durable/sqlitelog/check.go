package sqlitelog

import (
	"context"
	"errors"
	"fmt"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/wholelog"
)

// Check reads the whole file and compares its parts: pages and indexes as SQLite checks
// them, positions with the counter, and each record with the hash that is stored with it and
// with the record before it in its stream. What does not fit is [events.ErrDamaged]; the
// message has a line for each problem, with position, stream and version.
//
// Somebody who changed all records of a stream and all hashes is not found; for that,
// [events.VerifyChain] takes heads that were noted elsewhere.
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
	if err := c.checkPages(ctx); err != nil {
		return err
	}
	return c.checkRecords(ctx)
}

func (c *conn) checkPages(ctx context.Context) error {
	return c.ask(ctx, "PRAGMA integrity_check(1)", func(row *stmt) error {
		if problem := row.text(0); problem != "ok" {
			return damaged(c.file, "%s", problem)
		}
		return nil
	})
}

func (c *conn) checkRecords(ctx context.Context) error {
	whole := (*wholelog.Check)(nil)
	err := c.ask(ctx, "SELECT position FROM counter WHERE one = 1", func(row *stmt) error {
		whole = wholelog.New(events.Position(row.integer(0)))
		return nil
	})
	if err == nil && whole == nil {
		err = noCounter(c.file)
	}
	if err != nil {
		return err
	}
	if err := c.ask(ctx, "SELECT "+recordColumns+" FROM records ORDER BY position", func(row *stmt) error {
		r, stored := recordOf(row)
		whole.Row(&r, stored)
		return nil
	}); err != nil {
		return err
	}
	var problems []error
	for _, problem := range whole.Problems() {
		problems = append(problems, damaged(c.file, "%s", problem))
	}
	return errors.Join(problems...)
}
