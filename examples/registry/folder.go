package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/oatmill/oatmill/events/durable/sqlitelog"
	"github.com/oatmill/oatmill/examples/internal/site"
	"github.com/oatmill/oatmill/oat"
)

// withLog opens the log of a data folder that must hold one, and closes it after do.
// To make an empty folder of a mistyped one would only hide the mistake.
func (p *program) withLog(ctx context.Context, do func(*sqlitelog.Log) error) error {
	if _, err := os.Stat(site.Folder(p.data).Log()); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no registry in %s: start one with %q, or name its folder with --data", p.data, "serve")
	}
	return p.withNewLog(ctx, do)
}

// withNewLog does the same in a folder that it makes where there is none. What it made is
// removed again where do fails.
func (p *program) withNewLog(ctx context.Context, do func(*sqlitelog.Log) error) error {
	return site.Folder(p.data).WithLog(ctx, do)
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
