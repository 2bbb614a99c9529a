package oat_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
)

const acme = events.StreamID("organization/acme")

// long is a desk whose organization has several hundred events behind it, tokens in
// every state, and a snapshot of itself in the log.
type long struct {
	*desk
	log      *tapped
	tokens   []oat.Token // as they stand, the deleted one left out
	snapshot events.Snapshot
}

// The events that stand behind every snapshot here, and must be read in any case.
const tail = 3

func newLong(t *testing.T) *long {
	t.Helper()
	l := new(long)
	l.desk = newDesk(t, tap(&l.log))
	must(t, l.Service.AddOwner(t.Context(), alice, oat.AddOwner{Organization: "acme", Owner: "bob"}))
	plain, _ := l.generate()
	full, _ := l.generate(l.lasting(time.Hour), func(cmd *oat.Generate) {
		cmd.Label, cmd.Description, cmd.Resources = "müsli", "one\ntwo", many(3)
	})
	expiring, _ := l.generate(func(cmd *oat.Generate) { cmd.Expires = parsed(t, "2026-01-01T01:00:00.5+00:30") })
	deleted, _ := l.generate()
	l.delete(deleted.ID)
	for i := 0; l.snapshot.Head.Version == 0; i++ {
		l.edit(plain, fmt.Sprint(i))
		var err error
		l.snapshot, err = l.log.LoadSnapshot(t.Context(), acme)
		must(t, err)
		if i > 2000 {
			t.Fatal("no snapshot was made")
		}
	}
	for i := range tail {
		plain = l.edit(plain, fmt.Sprint("tail ", i))
	}
	l.tokens = []oat.Token{plain, full, expiring}
	return l
}

func (l *long) edit(token oat.Token, label string) oat.Token {
	l.t.Helper()
	edited, err := l.Service.Edit(l.t.Context(), alice, oat.Edit{Organization: "acme", Token: token.ID, Label: &label})
	must(l.t, err)
	return edited
}

// restarted is the service of a new process, and what it logs. It demands that the
// process decides just as one that was there all the time, and returns how many
// records it read for that.
func (l *long) restarted() (read int, log string) {
	l.t.Helper()
	logger, written := logged()
	l.log.onRead = func(r *events.Recorded) error {
		if r != nil {
			read++
		}
		return nil
	}
	defer func() { l.log.onRead = nil }()
	s, err := oat.New(oat.Config{Log: l.log, Now: l.Clock.Now, Logger: logger})
	must(l.t, err)
	for _, token := range l.tokens {
		same, err := s.Edit(l.t.Context(), oat.Actor{User: "bob"}, oat.Edit{Organization: "acme", Token: token.ID, Label: &token.Label})
		must(l.t, err)
		if diff := cmp.Diff(token, same, sameToken()); diff != "" {
			l.t.Errorf("token after a restart (-want +got):\n%s", diff)
		}
	}
	for range 10 - len(l.tokens) {
		token, _, err := s.Generate(l.t.Context(), alice, wellFormed())
		must(l.t, err)
		defer func() { must(l.t, s.Delete(l.t.Context(), alice, oat.Delete{Organization: "acme", Token: token.ID})) }()
	}
	if _, _, err := s.Generate(l.t.Context(), alice, wellFormed()); err == nil {
		l.t.Error("an eleventh token after a restart")
	}
	return read, written.String()
}

// A new process reads the snapshot, the record it was made at, and what came after.
// Break it by returning from saveSnapshot at once.
func TestSnapshotSavesReading(t *testing.T) {
	l := newLong(t)
	before := int(l.snapshot.Head.Version)
	// The record, once to trust the snapshot and once to go on from it, and the tail; then
	// the last record for each of three commands that change nothing or are refused.
	if read, _ := l.restarted(); read > 2+tail+3 || before < 400 {
		t.Errorf("read %d records with a snapshot at %d, want %d", read, before, 2+tail+3)
	}
	if strings.Contains(string(l.snapshot.Data), "oat_") {
		t.Error("a secret in the snapshot")
	}
}

// A snapshot is never trusted over the log: whatever is wrong with it, the stream is
// read from its beginning, and the state is the right one. Break it by taking out the
// check of the sum, of the format or of the record's hash in snapshot.go.
func TestSnapshotsThatAreNotUsed(t *testing.T) {
	elsewhere := newDesk(t, func(cfg *oat.Config) { cfg.Prefix = "other_" })
	for i := range 20 {
		must(t, elsewhere.Service.AddOwner(t.Context(), alice, oat.AddOwner{Organization: "acme", Owner: fmt.Sprint("owner ", i)}))
	}
	sealed := func(data string) []byte {
		sum := sha256.Sum256([]byte(data))
		return append(sum[:], data...)
	}
	for name, spoil := range map[string]func(*events.Snapshot){
		"a byte changed":            func(s *events.Snapshot) { s.Data[len(s.Data)/2] ^= 1 },
		"a byte of the sum changed": func(s *events.Snapshot) { s.Data[3] ^= 1 },
		"cut short":                 func(s *events.Snapshot) { s.Data = s.Data[:len(s.Data)-1] },
		"cut to less than its sum":  func(s *events.Snapshot) { s.Data = s.Data[:20] },
		"empty":                     func(s *events.Snapshot) { s.Data = nil },
		"no JSON":                   func(s *events.Snapshot) { s.Data = sealed("{") },
		"a token without an id":     func(s *events.Snapshot) { s.Data = sealed(`{"plan":"team","owners":["alice"],"tokens":[{"id":""}]}`) },
		"an expiry that is none": func(s *events.Snapshot) {
			s.Data = sealed(`{"tokens":[{"id":"` + elsewhere.token() + `","expires_at":"soon"}]}`)
		},
		"of a foreign format":         func(s *events.Snapshot) { s.Format = "oatmill.organization.v2" },
		"of no format":                func(s *events.Snapshot) { s.Format = "" },
		"ahead of the log":            func(s *events.Snapshot) { s.Head.Version += 1000 },
		"ahead of all logs":           func(s *events.Snapshot) { s.Head.Version = 1<<63 - 1 },
		"of a version before the log": func(s *events.Snapshot) { s.Head.Version = -1 },
		"of an earlier version":       func(s *events.Snapshot) { s.Head.Version-- },
		"of another log": func(s *events.Snapshot) {
			r := elsewhere.records(acme)[19]
			s.Head = events.Head{Version: r.Version, Hash: r.Hash()}
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLong(t)
			spoil(&l.snapshot)
			must(t, l.log.SaveSnapshot(t.Context(), acme, l.snapshot))
			read, log := l.restarted()
			if read <= 400 {
				t.Errorf("read %d records, want all of them", read)
			}
			if warned := strings.Contains(log, "snapshot not used"); warned != (name != "of a version before the log") {
				t.Errorf("logged %q", log)
			}
		})
	}
}

// token is the id of a token that is nowhere else.
func (d *desk) token() string {
	d.t.Helper()
	token, _ := d.generate()
	d.delete(token.ID)
	return token.ID.String()
}

// shy is a log that keeps snapshots badly.
type shy struct {
	*tapped
	save, load error
}

func (s *shy) SaveSnapshot(context.Context, events.StreamID, events.Snapshot) error { return s.save }

func (s *shy) LoadSnapshot(context.Context, events.StreamID) (events.Snapshot, error) {
	return events.Snapshot{}, s.load
}

// Snapshots save time and nothing else: no command fails because of one.
func TestSnapshotsThatCannotBeKept(t *testing.T) {
	full := errors.New("disk is full")
	for name, of := range map[string]shy{
		"not saved": {save: full}, "not loaded": {load: full}, "forgotten": {},
	} {
		t.Run(name, func(t *testing.T) {
			logger, written := logged()
			d := newDesk(t, func(cfg *oat.Config) {
				tap(&of.tapped)(cfg)
				cfg.Log, cfg.Logger = &of, logger
			})
			token, _ := d.generate()
			for i := range 1100 {
				_, err := d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: token.ID, Label: pointer(fmt.Sprint(i))})
				must(t, err)
			}
			if warnings := strings.Count(written.String(), "disk is full"); warnings > 3 || (warnings > 0) != (name != "forgotten") {
				t.Errorf("%d warnings in %d events", warnings, 1100)
			}
		})
	}
}
