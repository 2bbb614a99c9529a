package sqlitelog

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/oatmill/oatmill/events"
)

// TestMovedMeanwhile renames the file between the check before a read or a transaction and
// its end.
//
// Fails if lend or commitGroup leave the second check out.
func TestMovedMeanwhile(t *testing.T) {
	for name, meanwhile := range map[string]struct {
		do   func(l *Log, rename func() error) error
		want error
	}{
		"read": {func(l *Log, rename func() error) error {
			return l.readers.lend(t.Context(), func(*reader) error { return rename() })
		}, errMoved},
		"transaction": {func(l *Log, rename func() error) error {
			return l.submit(t.Context(), &request{do: func(*writer) error { return rename() }})
		}, events.ErrUnknownOutcome},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "events.db")
			log, err := Open(t.Context(), path, Config{})
			if err != nil {
				t.Fatal(err)
			}
			err = meanwhile.do(log, func() error { return os.Rename(path, path+".old") })
			if !errors.Is(err, meanwhile.want) || !errors.Is(err, errMoved) {
				t.Errorf("%v, want %q", err, meanwhile.want)
			}
			if err := log.Close(); !errors.Is(err, errMoved) {
				t.Errorf("Close returns %v", err)
			}
		})
	}
}
