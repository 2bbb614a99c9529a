package accounts

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
)

// TestErrorsHaveTheCommonValues has SQLite fail in the ways that a server answers with 503.
//
// Fails if causeOf leaves out a code, or if within passes an error of SQLite on as it is.
func TestErrorsHaveTheCommonValues(t *testing.T) {
	file := filepath.Join(t.TempDir(), "accounts.db")
	connect := func(pragma string) *sql.DB {
		db, err := sql.Open("sqlite", "file:"+file+"?_txlock=immediate&_pragma=busy_timeout(0)&_pragma="+pragma)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	holder := connect("journal_mode(WAL)")
	if _, err := holder.ExecContext(t.Context(), schema); err != nil {
		t.Fatal(err)
	}
	fill := func(pragma string) error {
		a := &Accounts{db: connect(pragma)}
		return a.within(t.Context(), func(tx *sql.Tx) error {
			_, err := tx.ExecContext(t.Context(), `INSERT INTO people VALUES ('alice', hex(randomblob(100000)))`)
			return err
		})
	}
	if err := fill("max_page_count(8)"); !errors.Is(err, events.ErrFull) {
		t.Errorf("a full file: %v", err)
	}
	if err := fill("query_only(1)"); !errors.Is(err, events.ErrReadOnly) {
		t.Errorf("a read-only file: %v", err)
	}
	tx, err := holder.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := fill("foreign_keys(1)"); !errors.Is(err, events.ErrBusy) {
		t.Errorf("a locked file: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	a := &Accounts{db: connect("foreign_keys(1)"), now: time.Now}
	if err := a.within(t.Context(), func(*sql.Tx) error { return ErrRefused }); !errors.Is(err, ErrRefused) || causeOf(err) != nil {
		t.Errorf("a refusal: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := a.person(ended, `SELECT person FROM links WHERE digest = ? AND `+valid, "x", LinkTTL); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context: %v", err)
	}
}
