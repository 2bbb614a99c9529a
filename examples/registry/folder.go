package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/oatmill/oatmill/events/durable/sqlitelog"
	"github.com/oatmill/oatmill/oat"
)

// folder is the data folder. Everything in it belongs to the server's user alone.
type folder string

func (f folder) log() string    { return filepath.Join(string(f), "oatmill.db") }
func (f folder) images() string { return filepath.Join(string(f), "images") }
func (f folder) keys() string   { return filepath.Join(string(f), "keys.json") }
func (f folder) jwks() string   { return filepath.Join(string(f), "jwks.json") }

// create makes the folder where there is none.
func (f folder) create() error {
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	return nil
}

// withLog opens the log of a data folder that must hold one, and closes it after do.
// To make an empty folder of a mistyped one would only hide the mistake.
func (p *program) withLog(ctx context.Context, do func(*sqlitelog.Log) error) error {
	if _, err := os.Stat(folder(p.data).log()); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no registry in %s: start one with %q, or name its folder with --data", p.data, "serve")
	}
	return p.withNewLog(ctx, do)
}

// withNewLog does the same in a folder that it makes where there is none.
func (p *program) withNewLog(ctx context.Context, do func(*sqlitelog.Log) error) (err error) {
	if err := folder(p.data).create(); err != nil {
		return err
	}
	log, err := sqlitelog.Open(ctx, folder(p.data).log(), sqlitelog.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	return do(log)
}

// withService is withLog for a command.
func (p *program) withService(ctx context.Context, do func(*oat.Service) error) error {
	return p.withLog(ctx, serviceOver(do))
}

func serviceOver(do func(*oat.Service) error) func(*sqlitelog.Log) error {
	return func(log *sqlitelog.Log) error {
		service, err := oat.New(oat.Config{Log: log})
		if err != nil {
			return err
		}
		return do(service)
	}
}
