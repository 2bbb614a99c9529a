package sqlitelog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/oatmill/oatmill/events"
)

// conn is one connection to the file of a log, with its statements. Its errors name the
// file.
type conn struct {
	db       *database
	file     string
	files    *files        // nil while the log is being opened
	patience time.Duration // how long a statement waits for a lock
	prepared []*stmt
}

// locate is the absolute path of the file, which no later change of the working
// directory turns into another one. It only asks the file system and never opens
// the file: on most systems closing any descriptor of it would drop the locks that
// SQLite holds for this whole process.
func locate(path string) (string, error) {
	file, err := filepath.Abs(path)
	if err != nil || path == "" {
		return "", errors.Join(fmt.Errorf("open log %q: no usable path", path), err)
	}
	info, err := os.Stat(file)
	switch {
	case err == nil && info.IsDir():
		return "", fmt.Errorf("open log: %s is a directory, not a file", file)
	case err == nil && !info.Mode().IsRegular():
		return "", fmt.Errorf("open log: %s is not a regular file", file)
	case os.IsPermission(err):
		return "", fmt.Errorf("open log: %w: %w", events.ErrDenied, err)
	case err != nil && !os.IsNotExist(err):
		return "", fmt.Errorf("open log: %w", err)
	}
	if _, err := os.Stat(filepath.Dir(file)); err != nil {
		return "", fmt.Errorf("open log %s: its folder: %w", filepath.Base(file), err)
	}
	return file, nil
}

// dial opens a connection to a file that exists. Its statements wait for locks for as long
// as patience.
func dial(file string, patience time.Duration) (*conn, error) {
	db, err := openDatabase(file, 0)
	if err != nil {
		return nil, explain(file, err)
	}
	c := &conn{db: db, file: file, patience: patience}
	err = c.run("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY")
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// run executes statements that are needed once.
func (c *conn) run(sql string) error {
	return patiently(context.Background(), c.deadline(), func() error { return explain(c.file, c.db.run(sql)) })
}

// deadline is until when a statement that begins now waits for a lock.
func (c *conn) deadline() time.Time { return time.Now().Add(c.patience) }

// patiently does something, and until the deadline does it again while another connection
// has a lock that it needs. SQLite's own waiting backs off to a tenth of a second, and heeds
// no context.
func patiently(ctx context.Context, deadline time.Time, do func() error) error {
	for {
		err := do()
		if !errors.Is(err, events.ErrBusy) || !time.Now().Before(deadline) {
			return err
		}
		if err := pause(ctx, retryAfter); err != nil {
			return err
		}
	}
}

// ask calls each with the rows of a query that is needed once.
func (c *conn) ask(ctx context.Context, sql string, each func(row *stmt) error) error {
	s, err := c.db.prepare(sql)
	if err != nil {
		return explain(c.file, err)
	}
	once := &stmt{s, c}
	err = once.query(ctx, each)
	return errors.Join(err, explain(c.file, s.close()))
}

// dataVersion counts the commits to the file, see there.
func (c *conn) dataVersion() (uint64, error) {
	version, err := c.db.dataVersion()
	return version, explain(c.file, err)
}

// prepareAll makes statements that live as long as the connection, named by where they go.
func (c *conn) prepareAll(statements map[**stmt]string) error {
	for into, sql := range statements {
		s, err := c.db.prepare(sql)
		if err != nil {
			return explain(c.file, err)
		}
		*into = &stmt{s, c}
		c.prepared = append(c.prepared, *into)
	}
	return nil
}

// close closes the connection. The last connection to a file also writes the write-ahead log
// to it and deletes the two files next to it, by their names. After the files have moved it
// leaves them as they are.
func (c *conn) close() error {
	var errs []error
	if c.files.check() != nil {
		errs = append(errs, explain(c.file, c.db.configure(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)))
	}
	for _, s := range c.prepared {
		errs = append(errs, explain(c.file, s.close()))
	}
	return errors.Join(append(errs, explain(c.file, c.db.close()))...)
}

// stmt is a statement on a log's file.
type stmt struct {
	*statement
	conn *conn
}

// errEnough, returned for a row, ends a query early and well.
var errEnough = errors.New("enough")

// exec runs a statement that yields nothing, with these values and those that are bound
// already. It does not wait for a lock.
func (s *stmt) exec(values ...any) error {
	s.bind(1, values...)
	_, err := s.step()
	s.reset()
	return explain(s.conn.file, err)
}

// query calls each with every row. The end of ctx ends it.
func (s *stmt) query(ctx context.Context, each func(row *stmt) error, values ...any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	stop := s.endWith(ctx)
	defer stop()
	defer s.reset()
	s.bind(1, values...)
	row, err := s.first(ctx)
	for ; row && err == nil; row, err = s.step() {
		if err := each(s); err == errEnough {
			return nil
		} else if err != nil {
			return err
		}
	}
	if interrupted(err) && ctx.Err() != nil {
		return ctx.Err()
	}
	return explain(s.conn.file, err)
}

// first steps to the first row, and waits for the locks that takes.
func (s *stmt) first(ctx context.Context) (row bool, err error) {
	err = patiently(ctx, s.conn.deadline(), func() (err error) {
		row, err = s.step()
		return explain(s.conn.file, err)
	})
	return row, err
}

// number is the one integer that a query yields, 0 when it yields none.
func (s *stmt) number(ctx context.Context, values ...any) (n int64, err error) {
	err = s.query(ctx, func(row *stmt) error {
		if !row.isNull(0) {
			n = row.integer(0)
		}
		return errEnough
	}, values...)
	return n, err
}
