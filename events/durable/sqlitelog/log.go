package sqlitelog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/tail"
)

// Config is how a log is opened. The zero Config works.
type Config struct {
	// BusyTimeout bounds how long an append waits while another process writes,
	// and how long Open waits for its turn. 0 means 5 seconds.
	BusyTimeout time.Duration

	// PollInterval is how often the file is looked at for the appends of other
	// processes while somebody is in Wait. 0 means 5 milliseconds.
	PollInterval time.Duration

	// Readers is the greatest number of connections that read at the same time.
	// A read holds one only while it fetches a page. 0 means one for each
	// processor, and at least 4.
	Readers int

	// Logger is told of what nobody else is told of: guards that were missing
	// from the file, and trouble with looking for appends of other processes. Nil
	// discards it.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.BusyTimeout <= 0 {
		c.BusyTimeout = 5 * time.Second
	}
	if c.PollInterval <= 0 {
		c.PollInterval = 5 * time.Millisecond
	}
	if c.Readers <= 0 {
		c.Readers = max(4, runtime.GOMAXPROCS(0))
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Log is a log in a SQLite file. Make one with [Open], and end it with
// [Log.Close].
type Log struct {
	file    string
	files   *files
	cfg     Config
	queue   queue
	writer  chan *writer // holds the writer while nobody has it
	readers *pool
	tail    *tail.Tail
	watch   *watch        // of look; nil until it first looked
	closing chan struct{} // closed when look is to end
	close   func() error
}

var (
	_ events.Log         = (*Log)(nil)
	_ events.Notifier    = (*Log)(nil)
	_ events.Heads       = (*Log)(nil)
	_ events.Snapshots   = (*Log)(nil)
	_ events.Checkpoints = (*Log)(nil)
)

// Open opens the log in the file at path, and makes the file if there is none; its
// folder must exist. ctx bounds the opening only.
//
// A file that is no log of this library is [events.ErrDamaged] and left as it is;
// one that a newer library wrote is [events.ErrNewer] as well. [events.ErrBusy] means that another
// process held the file for longer than Config.BusyTimeout.
func Open(ctx context.Context, path string, cfg Config) (*Log, error) {
	cfg = cfg.withDefaults()
	file, err := locate(path)
	if err != nil {
		return nil, err
	}
	w, err := openWriter(ctx, file, cfg)
	if err != nil {
		return nil, err
	}
	if w.conn.files, err = noteFiles(file); err != nil {
		return nil, errors.Join(fmt.Errorf("open log: %w", err), w.conn.close())
	}
	l := &Log{
		file: file, files: w.conn.files, cfg: cfg,
		writer:  make(chan *writer, 1),
		readers: newPool(w.conn.files, cfg),
		closing: make(chan struct{}),
	}
	l.tail = tail.New(0, l.look)
	l.writer <- w
	l.close = sync.OnceValue(l.shutDown)
	return l, nil
}

// Close ends the log. Appends that were waiting are carried out first; every later
// call, and every read and wait that is under way, ends with [events.ErrClosed].
// Close waits for all of that, at most about Config.BusyTimeout when another
// process holds the file. A second call returns what the first returned. If the files have
// moved, Close leaves them as they are and returns an error.
func (l *Log) Close() error { return l.close() }

func (l *Log) shutDown() error {
	l.queue.close()
	w := <-l.writer
	for l.queue.length() > 0 {
		l.commitGroup(context.Background(), w)
	}
	close(l.closing)
	l.tail.Close()
	var err error
	if l.watch != nil {
		err = l.watch.conn.close()
	}
	return errors.Join(err, l.readers.close(), w.close())
}
