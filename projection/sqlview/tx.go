package sqlview

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
)

// querier is a transaction, or the connection that is in one.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// transact does work in one transaction: all of it is there afterwards, or nothing. When the
// commit itself fails that cannot always be told; whoever works looks at the position first
// the next time, and finds out.
func (v *View) transact(ctx context.Context, work func(querier) error) error {
	var err error
	if v.Dialect == SQLite {
		err = v.transactSQLite(ctx, work)
	} else {
		err = v.transactPostgreSQL(ctx, work)
	}
	if err != nil && ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		return fmt.Errorf("%w: %w", ctx.Err(), err) // drivers have words of their own for it
	}
	return err
}

// transactPostgreSQL asks for READ COMMITTED, whatever the database's default: behind the lock
// on the state each statement must see what the holder before committed.
func (v *View) transactPostgreSQL(ctx context.Context, work func(querier) error) error {
	tx, err := v.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	if err := work(tx); err != nil {
		if rolledBack := tx.Rollback(); rolledBack != nil && !errors.Is(rolledBack, sql.ErrTxDone) {
			return fmt.Errorf("%w (and the rollback: %w)", err, rolledBack)
		}
		return err
	}
	return tx.Commit()
}

// transactSQLite takes the write lock at once. A transaction that begins with reading, as
// database/sql begins them unless the host's address says otherwise, cannot write any more
// when somebody else has written meanwhile, and waiting would not help it.
func (v *View) transactSQLite(ctx context.Context, work func(querier) error) (err error) {
	conn, err := v.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if err = work(conn); err == nil {
		err = ctx.Err()
	}
	if err == nil {
		_, err = conn.ExecContext(context.WithoutCancel(ctx), "COMMIT")
	}
	if err != nil {
		rollBack(context.WithoutCancel(ctx), conn)
	}
	return err
}

// rollBack ends the transaction of a connection before the host's pool gets it back. After
// some errors, like that of a full disk, SQLite has ended it already. A connection of which
// that is not sure is thrown away.
func rollBack(ctx context.Context, conn *sql.Conn) {
	_, err := conn.ExecContext(ctx, "ROLLBACK")
	if err != nil && !strings.Contains(err.Error(), "no transaction is active") {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	}
}

// execAll executes statements that take no parameters.
func (v *View) execAll(ctx context.Context, q querier, statements []string) error {
	for _, statement := range statements {
		if _, err := q.ExecContext(ctx, statement); err != nil {
			first, _, _ := strings.Cut(statement, "\n")
			return fmt.Errorf("%s: %w", strings.TrimSuffix(first, " ("), err)
		}
	}
	return nil
}
