package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/natscluster"
	"github.com/oatmill/oatmill/events/durable/natslog"
	"github.com/oatmill/oatmill/events/durable/pglog"
	"github.com/oatmill/oatmill/events/durable/pgserver"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
)

// log is what is measured of a log.
type log interface {
	events.Log
	events.Notifier
	events.Heads
	Close() error
}

// store is a kind of log.
type store struct {
	name  string
	start func(ctx context.Context) (*place, error)
}

// place is where one log is.
type place struct {
	dir    string
	inside bool // the servers are in this process, and their memory with it
	open   func(ctx context.Context) (log, error)
	stop   func() error
}

func stores() map[string]store {
	return map[string]store{
		"sqlite":    {"SQLite", startSQLite},
		"postgres":  {"PostgreSQL", startPostgres},
		"jetstream": {"JetStream, 3 nodes", startJetStream},
	}
}

// folder is a new temporary folder, and the function that removes it.
func folder() (dir string, remove func() error, err error) {
	dir, err = os.MkdirTemp("", "oatmill-logs-")
	return dir, func() error { return os.RemoveAll(dir) }, err
}

func startSQLite(context.Context) (*place, error) {
	dir, remove, err := folder()
	if err != nil {
		return nil, err
	}
	return &place{dir: dir, stop: remove, open: func(ctx context.Context) (log, error) {
		return sqlitelog.Open(ctx, filepath.Join(dir, "events.db"), sqlitelog.Config{})
	}}, nil
}

func startPostgres(ctx context.Context) (*place, error) {
	dir, remove, err := folder()
	if err != nil {
		return nil, err
	}
	// The server runs as somebody else where this program runs as root.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, errors.Join(err, remove())
	}
	server, err := pgserver.Start(ctx, pgserver.Config{Dir: filepath.Join(dir, "data")})
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	stop := func() error { return errors.Join(server.Close(), remove()) }
	return &place{dir: dir, stop: stop, open: func(ctx context.Context) (log, error) {
		return pglog.Open(ctx, server.URL(), pglog.Config{})
	}}, nil
}

func startJetStream(ctx context.Context) (*place, error) {
	dir, remove, err := folder()
	if err != nil {
		return nil, err
	}
	cluster, err := natscluster.Start(ctx, natscluster.Config{Dir: dir, Nodes: 3})
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	stop := func() error { return errors.Join(cluster.Close(), remove()) }
	return &place{dir: dir, inside: true, stop: stop, open: func(ctx context.Context) (log, error) {
		return natslog.Open(ctx, cluster.URL(), natslog.Config{})
	}}, nil
}

// size is how many bytes the files of the place have.
func (p *place) size() (bytes int64, err error) {
	err = filepath.WalkDir(p.dir, func(_ string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // a temporary file
			return nil
		}
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			bytes += info.Size()
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	})
	return bytes, err
}
