package sqlitelog

import (
	"fmt"
	"testing"
)

// SetMaxPages limits the size of the log's file, as far as its writer is concerned.
// SQLite takes a limit below what the file has for what the file has.
func SetMaxPages(t *testing.T, l *Log, pages int) {
	t.Helper()
	w := <-l.writer
	defer func() { l.writer <- w }()
	if err := w.conn.run(fmt.Sprintf("PRAGMA max_page_count = %d", pages)); err != nil {
		t.Fatal(err)
	}
}

// Hold keeps the writer, so that whoever wants to write waits, until release is called.
func Hold(l *Log) (release func()) {
	w := <-l.writer
	return func() { l.passOn(w) }
}

// Waiting is how many wait for the writer.
func Waiting(l *Log) int { return l.queue.length() }
