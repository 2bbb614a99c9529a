package sqlitelog

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"
)

// conn is one connection to the file, for one goroutine at a time.
//
// It is the driver's own connection, without database/sql around it. A log has two
// kinds of connections with a handful of statements each, prepared once, and needs
// neither the pool nor the conversions; going without them makes a row cheaper by a
// third, and leaves no doubt about which statement runs on which connection.
type conn struct {
	raw      driver.Conn
	file     string
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
	case err != nil && !os.IsNotExist(err):
		return "", fmt.Errorf("open log: %w", err)
	}
	if _, err := os.Stat(filepath.Dir(file)); err != nil {
		return "", fmt.Errorf("open log %s: its folder: %w", filepath.Base(file), err)
	}
	return file, nil
}

// dial opens a connection. wait is how long a statement of it waits for a lock.
func dial(file string, wait time.Duration) (*conn, error) {
	path := filepath.ToSlash(file)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // C:/data becomes file:///C:/data
	}
	name := url.URL{Scheme: "file", Path: path, RawQuery: "_defensive=1&_dqs=0&_error_rc=1"}
	raw, err := new(sqlite.Driver).Open(name.String())
	if err != nil {
		return nil, explain(file, err)
	}
	c := &conn{raw: raw, file: file}
	for _, pragma := range []string{
		fmt.Sprintf("busy_timeout = %d", wait.Milliseconds()),
		"synchronous = FULL",
		"foreign_keys = ON",
		"trusted_schema = OFF",
		"temp_store = MEMORY",
	} {
		if err := c.run("PRAGMA " + pragma); err != nil {
			return nil, errors.Join(err, c.close())
		}
	}
	return c, nil
}

// run executes statements that are needed once.
func (c *conn) run(sql string) error {
	_, err := c.raw.(driver.ExecerContext).ExecContext(context.Background(), sql, nil)
	return explain(c.file, err)
}

// ask is the first column of the first row of a query that is needed once, nil when
// there is no row.
func (c *conn) ask(ctx context.Context, sql string, args ...driver.Value) (answer driver.Value, err error) {
	s, err := c.prepare(sql)
	if err != nil {
		return nil, err
	}
	c.prepared = c.prepared[:len(c.prepared)-1]
	err = s.query(ctx, func(row []driver.Value) error {
		answer = row[0]
		return errEnough
	}, args...)
	return answer, errors.Join(err, explain(c.file, s.Close()))
}

// dataVersion counts the commits to the file that the connection knows of. Inside a
// transaction it knows of all, others' included. The pragma of the same name leaves the
// connection's own out, and takes a statement's time.
func (c *conn) dataVersion() (uint32, error) {
	version, err := c.raw.(sqlite.FileControl).FileControlDataVersion("main")
	return version, explain(c.file, err)
}

// prepare makes a statement that lives as long as the connection.
func (c *conn) prepare(sql string) (*stmt, error) {
	s, err := c.raw.Prepare(sql)
	if err != nil {
		return nil, explain(c.file, err)
	}
	prepared := &stmt{preparedStmt: s.(preparedStmt), file: c.file}
	c.prepared = append(c.prepared, prepared)
	return prepared, nil
}

// prepareAll makes several, named by where they go.
func (c *conn) prepareAll(statements map[**stmt]string) error {
	for into, sql := range statements {
		s, err := c.prepare(sql)
		if err != nil {
			return err
		}
		*into = s
	}
	return nil
}

func (c *conn) close() error {
	var errs []error
	for _, s := range c.prepared {
		errs = append(errs, s.Close())
	}
	return explain(c.file, errors.Join(append(errs, c.raw.Close())...))
}

type preparedStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// stmt is a prepared statement with its buffers.
type stmt struct {
	preparedStmt
	file string
	args []driver.NamedValue
	row  []driver.Value
}

// errEnough, returned for a row, ends a query early and well.
var errEnough = errors.New("enough")

// exec runs a statement and tells what it did. Only waiting for a lock watches
// ctx.
func (s *stmt) exec(ctx context.Context, args ...driver.Value) (driver.Result, error) {
	done, err := s.ExecContext(ctx, s.bind(args))
	clear(s.args) // a large value must not live as long as the statement
	return done, explain(s.file, err)
}

// query calls each with every row, which is valid during the call only. Only waiting
// for a lock and the search for the first row watch ctx.
func (s *stmt) query(ctx context.Context, each func(row []driver.Value) error, args ...driver.Value) error {
	rows, err := s.QueryContext(ctx, s.bind(args))
	clear(s.args)
	if err != nil {
		return explain(s.file, err)
	}
	if s.row == nil {
		s.row = make([]driver.Value, len(rows.Columns()))
	}
	for err == nil {
		if err = explain(s.file, rows.Next(s.row)); err == nil {
			err = each(s.row)
		}
	}
	clear(s.row)
	if err == io.EOF || err == errEnough {
		err = nil
	}
	if closed := rows.Close(); err == nil {
		err = explain(s.file, closed)
	}
	return err
}

// number is the one integer that a query yields, 0 when it yields none.
func (s *stmt) number(ctx context.Context, args ...driver.Value) (n int64, err error) {
	err = s.query(ctx, func(row []driver.Value) error {
		n, _ = row[0].(int64)
		return errEnough
	}, args...)
	return n, err
}

func (s *stmt) bind(values []driver.Value) []driver.NamedValue {
	s.args = s.args[:0]
	for i, v := range values {
		s.args = append(s.args, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	return s.args
}
