package sqlitelog

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/oatmill/oatmill/events"
)

// TestPanicAnswersAll has a request of a group panic. Nobody who shares the transaction is
// left without an answer, nothing of it is in the log, and the log goes on.
//
// What breaks it: a commitGroup that does not recover, or one that does not go on to panic.
func TestPanicAnswersAll(t *testing.T) {
	log, err := Open(t.Context(), filepath.Join(t.TempDir(), "events.db"), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	}()
	add := func() error {
		e, err := events.NewEnvelope(ulid.Make(), time.Unix(1, 0), "alice", &events.TokenDeleted{Token: "t"})
		if err != nil {
			return err
		}
		_, err = log.Append(context.WithoutCancel(t.Context()), "organization/acme", events.Any, e)
		return err
	}
	w := <-log.writer
	answers := make(chan error, 3)
	for n := range cap(answers) {
		go func() { answers <- add() }()
		for log.queue.length() <= n {
			runtime.Gosched()
		}
	}
	log.queue.add(&request{done: make(chan error, 1), do: func(*writer) error { panic("deliberately") }})
	func() {
		defer func() {
			if recover() != "deliberately" {
				t.Error("the panic was kept")
			}
		}()
		log.commitGroup(t.Context(), w)
	}()
	for range cap(answers) {
		if err := <-answers; !errors.Is(err, events.ErrUnknownOutcome) {
			t.Errorf("an append beside the panic: %v", err)
		}
	}
	log.passOn(w)
	if err := add(); err != nil {
		t.Errorf("an append after the panic: %v", err)
	}
	if end, err := log.End(t.Context()); end != 1 || err != nil {
		t.Errorf("the log ends at %d, %v, want 1", end, err)
	}
}
