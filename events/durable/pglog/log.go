package pglog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/tail"
)

// Config is how a log is opened. The zero Config works.
type Config struct {
	// Schema is the database schema that holds the log and nothing else. Several logs
	// in one database have a schema each. Empty means "oatmill".
	Schema string

	// PollInterval is how often the database is asked for the appends of others while
	// somebody is in Wait. Notifications come sooner; this is what holds without
	// them. 0 means 25 milliseconds.
	PollInterval time.Duration

	// NoNotify does without LISTEN and NOTIFY and, in [Open], without named prepared
	// statements. It is for connections that go through a pool in transaction mode, like
	// PgBouncer's. A reader is then woken by its next poll.
	NoNotify bool

	// Timeout bounds how long a group of appends may take once it was sent, the wait for a
	// host's transaction with an AppendTx included. After that its callers get
	// [events.ErrUnknownOutcome]. Other calls, and reads for each of their pages, wait as
	// long for an answer, and then get [events.ErrUnavailable]. Not bounded are Check and what is
	// done in a transaction of the host's. 0 means 30 seconds.
	Timeout time.Duration

	// Logger is told of what nobody else is told of: guards that were missing, settings
	// of the server that make appends less durable, and trouble with notifications. Nil
	// discards it.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Schema == "" {
		c.Schema = "oatmill"
	}
	if c.PollInterval <= 0 {
		c.PollInterval = 25 * time.Millisecond
	}
	if c.Timeout <= 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// maxSchema is the length in bytes of an identifier in PostgreSQL.
const maxSchema = 63

func (c Config) check() error {
	if len(c.Schema) > maxSchema || strings.IndexByte(c.Schema, 0) >= 0 {
		return fmt.Errorf("open log: %w: schema %.64q: want a name of at most %d bytes", events.ErrInvalid, c.Schema, maxSchema)
	}
	return nil
}

// Log is a log in a schema of a PostgreSQL database. Make one with [Open] or [New], and
// end it with [Log.Close].
type Log struct {
	cfg   Config
	pool  *pgxpool.Pool
	owned bool        // the pool is ours to close
	sql   *statements // as the pool sends them, see on
	queue queue
	write *writer
	tail  *tail.Tail
	bell  *bell

	ctx    context.Context // ends in the middle of Close
	cancel context.CancelFunc
	users  users // calls that use the pool
	close  func() error
}

var (
	_ events.Log         = (*Log)(nil)
	_ events.Notifier    = (*Log)(nil)
	_ events.Heads       = (*Log)(nil)
	_ events.Snapshots   = (*Log)(nil)
	_ events.Checkpoints = (*Log)(nil)
)

// Open opens the log in the database at url, which may be a URL or a list of keywords
// and values as PostgreSQL's own clients take them, with the parameters of pgxpool. It
// makes the schema if there is none. ctx bounds the opening only.
//
// A schema that holds something else is [events.ErrDamaged] and left as it is; one that a
// newer library laid out is [events.ErrNewer] as well.
func Open(ctx context.Context, url string, cfg Config) (*Log, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	settings, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("open log: address: %w", err)
	}
	if cfg.NoNotify && settings.ConnConfig.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		settings.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	// These two come before what the server has for the user or the database; every pooler
	// knows them.
	settings.ConnConfig.RuntimeParams["client_encoding"] = "UTF8"
	if settings.ConnConfig.DefaultQueryExecMode == pgx.QueryExecModeSimpleProtocol {
		settings.ConnConfig.RuntimeParams["standard_conforming_strings"] = "on"
	}
	if settings.ConnConfig.RuntimeParams["application_name"] == "" && !cfg.NoNotify {
		settings.ConnConfig.RuntimeParams["application_name"] = "oatmill"
	}
	if settings.PingTimeout == 0 {
		// A call must be able to find several connections dead and still have time for a new one.
		settings.PingTimeout = cfg.Timeout / 10
	}
	pool, err := pgxpool.NewWithConfig(ctx, settings)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	l, err := New(ctx, pool, cfg)
	if err != nil {
		pool.Close()
		return nil, err
	}
	l.owned = true
	return l, nil
}

// New is Open with a pool of the host's own, which [Log.Close] does not close. The log
// uses one connection while it appends, one for each page that is being read, and takes
// one out of the pool to listen while somebody is in Wait. Config.NoNotify does not
// change the pool's way with prepared statements: set its DefaultQueryExecMode. Set its
// PingTimeout too, which is Config.Timeout / 10 with Open: without one, a call may spend all
// its time on a connection whose other end is gone.
func New(ctx context.Context, pool *pgxpool.Pool, cfg Config) (*Log, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	l := &Log{cfg: cfg, pool: pool}
	l.sql = newStatements(cfg.Schema, sendsTexts(pool.Config().ConnConfig))
	if err := l.prepare(ctx); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.write = &writer{log: l}
	l.tail = tail.New(linger, l.look)
	l.bell = &bell{log: l}
	l.close = sync.OnceValue(l.shutDown)
	return l, nil
}

// sendsTexts reports whether the results of statements come as texts on a connection.
func sendsTexts(c *pgx.ConnConfig) bool {
	return c.DefaultQueryExecMode == pgx.QueryExecModeExec || c.DefaultQueryExecMode == pgx.QueryExecModeSimpleProtocol
}

// on returns the statements for q. A transaction of the host's may be on a connection of
// another pool.
func (l *Log) on(q batcher) *statements {
	tx, ok := q.(pgx.Tx)
	if !ok {
		return l.sql
	}
	if texts := sendsTexts(tx.Conn().Config()); texts != l.sql.texts {
		return newStatements(l.cfg.Schema, texts)
	}
	return l.sql
}

// lastOrders is how long Close lets appends finish before it cuts them off.
const lastOrders = 5 * time.Second

// Close ends the log. Appends that were waiting are carried out first. Where that takes
// longer than five seconds, because the server is away or a host's transaction keeps
// others waiting, they end with [events.ErrUnknownOutcome]. Every later call, and every
// read and wait that is under way, ends with [events.ErrClosed]. A second call returns
// what the first returned.
func (l *Log) Close() error { return l.close() }

func (l *Log) shutDown() error {
	timer := time.AfterFunc(lastOrders, l.cancel)
	defer timer.Stop()
	l.queue.close()
	l.bell.close()
	l.cancel()
	l.tail.Close()
	l.users.wait()
	if l.owned {
		l.pool.Close()
	}
	return nil
}

// users counts the calls that use the pool, and lets none begin after the end.
type users struct {
	mu    sync.Mutex
	over  bool
	calls sync.WaitGroup
}

func (u *users) enter() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.over {
		return events.ErrClosed
	}
	u.calls.Add(1)
	return nil
}

func (u *users) leave() { u.calls.Done() }

func (u *users) wait() {
	u.mu.Lock()
	u.over = true
	u.mu.Unlock()
	u.calls.Wait()
}

// ask is use for what the database answers at once. Where packets are dropped there is no
// answer and no error for many minutes, and the connection that was asked is given up. What
// is asked in a transaction, and not through the pool, takes as long as the host lets it.
func (l *Log) ask(ctx context.Context, q batcher, f func(ctx context.Context) error) error {
	if q != batcher(l.pool) {
		return l.use(ctx, f)
	}
	return l.use(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, l.cfg.Timeout)
		defer cancel()
		return f(ctx)
	})
}

// use runs f with a context that also ends with the log. An error is given the meaning
// it has for a caller.
func (l *Log) use(ctx context.Context, f func(ctx context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if l.ctx.Err() != nil {
		return events.ErrClosed
	}
	if err := l.users.enter(); err != nil {
		return err
	}
	defer l.users.leave()
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	err := f(inner)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case l.ctx.Err() != nil && errors.Is(err, context.Canceled):
		return events.ErrClosed
	}
	return l.explain(err)
}
