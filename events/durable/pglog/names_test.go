package pglog_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/pglog"
)

// TestNamesAreBytes keeps checkpoints and snapshots under names that PostgreSQL has no
// text for, and beside them under names that look like what is kept in their place.
//
// What breaks it: a toText that returns the name, or one that leaves names as they are
// which begin like one in hexadecimal.
func TestNamesAreBytes(t *testing.T) {
	log := openFor(t, newDatabase(t), pglog.Config{})
	names := []string{
		"mailer", "group/é", "\xff", "a\x00b", "\x00", `\xff`, `\x`, `\x5c78`, `\`, "\xc3", `\X00`,
		strings.Repeat("\xff", events.MaxText), strings.Repeat("\xfe", events.MaxText),
	}
	for i, name := range names {
		if err := log.SaveCheckpoint(t.Context(), name, events.Position(i+1)); err != nil {
			t.Errorf("save %.20q: %v", name, err)
		}
		want := events.Snapshot{Head: events.Head{Version: 1}, Format: name, Data: []byte("{}")}
		if err := log.SaveSnapshot(t.Context(), acme, want); err != nil {
			t.Errorf("save a snapshot of format %.20q: %v", name, err)
		}
		if got, err := log.LoadSnapshot(t.Context(), acme); err != nil || got.Format != name {
			t.Errorf("a snapshot of format %.20q came back as %.20q, %v", name, got.Format, err)
		}
	}
	for i, name := range names {
		if p, err := log.LoadCheckpoint(t.Context(), name); err != nil || p != events.Position(i+1) {
			t.Errorf("checkpoint %.20q is %d, %v, want %d", name, p, err, i+1)
		}
	}
}

// TestReadsRefuseWhatIsNoStream asks for streams that cannot be. In a transaction the
// question never reaches the server, which would abort it.
//
// What breaks it: a read without ParseStreamID.
func TestReadsRefuseWhatIsNoStream(t *testing.T) {
	address := newDatabase(t)
	log := openFor(t, address, pglog.Config{})
	tx := begin(t, connect(t, address), pgx.ReadCommitted)
	for name, log := range map[string]events.Log{"log": log, "transaction": log.Tx(tx)} {
		for _, stream := range []events.StreamID{"", "acme", "organization/\xff", "organization/a\x00b"} {
			errs := make(map[string]error)
			_, errs["Head"] = log.(events.Heads).Head(t.Context(), stream)
			_, errs["LoadSnapshot"] = log.(events.Snapshots).LoadSnapshot(t.Context(), stream)
			for _, err := range log.ReadStream(t.Context(), stream, 0) {
				errs["ReadStream"] = err
			}
			for _, call := range []string{"Head", "LoadSnapshot", "ReadStream"} {
				if err := errs[call]; !errors.Is(err, events.ErrInvalid) {
					t.Errorf("%s: %s of %q: %v, want %q", name, call, stream, err, events.ErrInvalid)
				}
			}
		}
	}
	mustCommit(t, tx)
}
