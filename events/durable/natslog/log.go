package natslog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oatmill/oatmill/events"
)

// Config is how a log is opened. The zero Config works.
type Config struct {
	// Stream is the name of the JetStream stream. A second stream, named after it with
	// "-beside" at its end, holds snapshots and checkpoints. "" means "oatmill".
	Stream string

	// Subject is what all subjects of the log begin with. "" means the name of the
	// stream.
	Subject string

	// Domain is the JetStream domain. "" means the one of the server.
	Domain string

	// Replicas is how many nodes keep every record. 0 means 3 when the server is part
	// of a cluster and 1 when it is not. It counts when the streams are created; that a
	// stream which is there has another number is an error, unless this is 0.
	Replicas int

	// Duplicates is for how long the server remembers the first event ID of every
	// batch. It counts when the stream is created. 0 means 2 minutes.
	Duplicates time.Duration

	// Timeout bounds how long a call waits for a server that does not answer, or a
	// cluster without a leader, when its context does not end sooner. 0 means 30
	// seconds, in which a cluster elects a leader several times.
	Timeout time.Duration

	// RequestTimeout is after which time without an answer a single request is repeated.
	// 0 means 2 seconds.
	RequestTimeout time.Duration

	// PollInterval is how often the end of the log is asked for while somebody is in
	// Wait. The wake-ups of other processes are faster and not guaranteed. 0 means
	// 250 milliseconds.
	PollInterval time.Duration

	// MaxKnownIDs is how many event IDs of streams that are appended to are kept in
	// memory, at about 60 bytes each. 0 means 1,000,000.
	MaxKnownIDs int

	// Options are for the connection that Open makes: credentials, TLS, a name. New
	// takes none.
	Options []nats.Option

	// Logger is told of what nobody else is told of: lost connections and trouble with
	// wake-ups. Nil discards it.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Stream == "" {
		c.Stream = "oatmill"
	}
	if c.Subject == "" {
		c.Subject = c.Stream
	}
	if c.Duplicates <= 0 {
		c.Duplicates = 2 * time.Minute
	}
	if c.Timeout <= 0 {
		c.Timeout = 30 * time.Second
	}
	if c.RequestTimeout <= 0 {
		c.RequestTimeout = 2 * time.Second
	}
	if c.PollInterval <= 0 {
		c.PollInterval = 250 * time.Millisecond
	}
	if c.MaxKnownIDs <= 0 {
		c.MaxKnownIDs = 1_000_000
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// check says what is wrong with names, which must be single tokens in subjects.
func (c Config) check() error {
	if c.Stream == "" || strings.ContainsAny(c.Stream, " .*>/\\\t\r\n") {
		return fmt.Errorf("stream %q: want a name without dots, slashes, wildcards and blanks", c.Stream)
	}
	for token := range strings.SplitSeq(c.Subject, ".") {
		if token == "" || strings.ContainsAny(token, " *>\t\r\n") {
			return fmt.Errorf("subject %q: want tokens between dots, without wildcards and blanks", c.Subject)
		}
	}
	return nil
}

// Log is a log in a JetStream stream. Make one with [Open] or [New], and end it with
// [Log.Close].
type Log struct {
	cfg    Config
	nc     *nats.Conn
	owned  bool // the connection is the log's own, and may be moved
	js     jetstream.JetStream
	api    string // what subjects of JetStream's requests begin with
	lines  *lines
	ends   *ends
	moves  *restless
	leader leadership

	closing context.Context // ends when Close is called
	end     context.CancelFunc
	mu      sync.Mutex // guards calls against Close
	calls   sync.WaitGroup
	close   func() error
}

var (
	_ events.Log         = (*Log)(nil)
	_ events.Notifier    = (*Log)(nil)
	_ events.Heads       = (*Log)(nil)
	_ events.Snapshots   = (*Log)(nil)
	_ events.Checkpoints = (*Log)(nil)
)

// Open connects to the servers at url, which may be several addresses with commas
// between them, and opens the log there; its streams are created if they are not there.
// ctx bounds the opening only. The connection ends with the log.
//
// A stream with settings under which records could be lost or changed is
// [ErrSettings], which names them. One with messages that are no records is
// [events.ErrDamaged], and one of a newer library [events.ErrNewer] as well. All of these leave
// the stream as it is.
func Open(ctx context.Context, url string, cfg Config) (*Log, error) {
	cfg = cfg.withDefaults()
	nc, err := connect(ctx, url, cfg)
	if err != nil {
		return nil, fmt.Errorf("open log at %s: %w", redacted(url), err)
	}
	l, err := open(ctx, nc, true, cfg)
	if err != nil {
		nc.Close()
	}
	return l, err
}

// New is [Open] on a connection of the host, which stays open when the log is closed.
// While such a connection is broken it may hold back messages and send them later, so
// that an append which was under way then is unknown more often. The option
// nats.ReconnectBufSize(-1) prevents that; connections that Open makes have it. The log
// does not move the host's connection away from a server that is cut off from its cluster.
func New(ctx context.Context, nc *nats.Conn, cfg Config) (*Log, error) {
	return open(ctx, nc, false, cfg.withDefaults())
}

func open(ctx context.Context, nc *nats.Conn, owned bool, cfg Config) (_ *Log, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("open log in stream %s: %w", cfg.Stream, err)
		}
	}()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	l := &Log{cfg: cfg, nc: nc, owned: owned, api: "$JS.API."}
	if cfg.Domain == "" {
		l.js, err = jetstream.New(nc)
	} else {
		l.api = "$JS." + cfg.Domain + ".API."
		l.js, err = jetstream.NewWithDomain(nc, cfg.Domain)
	}
	if err != nil {
		return nil, err
	}
	l.closing, l.end = context.WithCancel(context.Background())
	l.lines = newLines(cfg.MaxKnownIDs)
	l.moves = &restless{log: l}
	l.ends = newEnds(l)
	l.close = sync.OnceValue(l.shutDown)
	if err := l.prepare(ctx); err != nil {
		return nil, errors.Join(err, l.ends.stop())
	}
	return l, nil
}

// connect makes the log's own connection.
func connect(ctx context.Context, url string, cfg Config) (*nats.Conn, error) {
	opts := []nats.Option{
		nats.Name("oatmill log " + cfg.Stream),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 100*time.Millisecond),
		nats.ReconnectBufSize(-1), // what cannot be sent now is an error now
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				cfg.Logger.Warn("connection of the log lost", "stream", cfg.Stream, "error", err)
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			cfg.Logger.Warn("connection of the log", "stream", cfg.Stream, "error", err)
		}),
	}
	opts = append(opts, cfg.Options...)
	type outcome struct {
		nc  *nats.Conn
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		nc, err := nats.Connect(url, opts...)
		done <- outcome{nc, err}
	}()
	select {
	case o := <-done:
		return o.nc, refusedConnection(o.err)
	case <-ctx.Done():
		go func() { // nats.Connect knows no context and ends by its own timeout
			if o := <-done; o.nc != nil {
				o.nc.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// redacted is addresses without the names and passwords in them.
func redacted(urls string) string {
	list := strings.Split(urls, ",")
	for i, u := range list {
		scheme, rest, ok := strings.Cut(u, "://")
		if !ok {
			scheme, rest = "nats", u
		}
		if at := strings.LastIndexByte(rest, '@'); at >= 0 {
			rest = rest[at+1:]
		}
		list[i] = scheme + "://" + rest
	}
	return strings.Join(list, ",")
}

// enter notes that a call is under way, so that Close waits for it. Whoever entered must
// leave.
func (l *Log) enter() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing.Err() != nil {
		return events.ErrClosed
	}
	l.calls.Add(1)
	return nil
}

func (l *Log) leave() { l.calls.Done() }

// until is ctx, ended as well by Close and by the longest time a call may take. The
// cause tells which.
func (l *Log) until(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(l.closing, func() { cancel(events.ErrClosed) })
	ctx, late := context.WithTimeoutCause(ctx, l.cfg.Timeout, errLate)
	return ctx, func() { late(); stop(); cancel(nil) }
}

// Close ends the log. Appends that were sent are waited for, at most as long as
// Config.RequestTimeout; every later call, and every read and wait that is under way,
// ends with [events.ErrClosed]. A second call returns what the first returned.
func (l *Log) Close() error { return l.close() }

func (l *Log) shutDown() error {
	l.mu.Lock()
	l.end()
	l.mu.Unlock()
	err := l.ends.stop()
	l.calls.Wait()
	if l.owned {
		l.nc.Close()
	}
	return err
}
