// Package site is what the servers among the examples have in common beside the library:
// a data folder, the CNCF distribution registry in the same process, and the way from a
// listener to a clean end. What makes each of them an example is in the example.
package site

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/oatmill/oatmill/events/durable/sqlitelog"
)

// DefaultData is beside where the program is started, so that trying it out leaves one
// folder that is easily found and removed.
const DefaultData = "./oatmill-data"

// Folder is a data folder. Everything in it belongs to the server's user alone. The
// examples keep the same things under the same names, so that one can serve, or manage,
// what another one began.
type Folder string

// Log is the event log.
func (f Folder) Log() string { return f.File("oatmill.db") }

// Keys is what signs registry tokens.
func (f Folder) Keys() string { return f.File("keys.json") }

// JWKS is what the registry verifies them by.
func (f Folder) JWKS() string { return f.File("jwks.json") }

// Images is where the registry keeps images.
func (f Folder) Images() string { return f.File("images") }

// File is something else in the folder.
func (f Folder) File(name string) string { return filepath.Join(string(f), name) }

// DataUsage is what to say of the flag that names the folder.
const DataUsage = "the `folder` that everything is kept in, which is made if need be; others than its owner must not be able to read it (mode 0700)"

// Create makes the folder where there is none. One that others may use is refused: the
// databases in it rely on the folder to be kept from them.
func (f Folder) Create() error {
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	info, err := os.Stat(string(f))
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	// Windows keeps no such modes.
	if others := info.Mode().Perm() & 0o077; others != 0 && runtime.GOOS != "windows" {
		return fmt.Errorf("data folder: others than its owner may read %s: chmod 700 it, or name a folder in it", f)
	}
	return nil
}

// WithLog opens the log, which it makes where there is none, and closes it after do.
func (f Folder) WithLog(ctx context.Context, do func(*sqlitelog.Log) error) (err error) {
	if err := f.Create(); err != nil {
		return err
	}
	log, err := sqlitelog.Open(ctx, f.Log(), sqlitelog.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	return do(log)
}
