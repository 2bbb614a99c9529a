package oat_test

import (
	"context"
	"iter"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/logtest"
	"github.com/oatmill/oatmill/oat"
)

// replaced is a log whose next read of a stream shows other records, as a node of a cluster
// does that was replaced and does not know it.
type replaced struct {
	logtest.Complete
	shown []events.Recorded // nil when the log is read
}

func (l *replaced) ReadStream(ctx context.Context, stream events.StreamID, after events.Version) iter.Seq2[events.Recorded, error] {
	shown := l.shown
	l.shown = nil
	if shown == nil {
		return l.Complete.ReadStream(ctx, stream, after)
	}
	return func(yield func(events.Recorded, error) bool) {
		for _, r := range shown {
			if r.Version > after && !yield(r, nil) {
				return
			}
		}
	}
}

// TestRefusalsAreConfirmedByTheHead has a service refuse on what it read first: a
// stream that is older than the log's, and one that ends with a record which the log never
// kept, at the same version.
//
// Source: TestSiegeJetStream, where a process read from a leader that was replaced.
//
// Fails if Service.run returns a refusal without calling confirm, or if confirm compares
// versions only.
func TestRefusalsAreConfirmedByTheHead(t *testing.T) {
	d := newDesk(t)
	registered := d.records()
	d.generate()
	generated := d.records()
	must(t, d.Service.AddOwner(t.Context(), alice, oat.AddOwner{Organization: "acme", Owner: "bob"}))
	envelope, err := events.NewEnvelope(ulid.MustNewDefault(time.Now()), d.Clock.Now(), "alice", &events.OrganizationOwnerAdded{Owner: "carol"})
	must(t, err)
	neverKept, _ := events.Seal(acme, events.Head{Version: 2, Hash: generated[1].Hash()}, []events.Envelope{envelope})
	forked := append(generated, neverKept...)
	for name, shown := range map[string][]events.Recorded{"older": registered, "never kept": forked} {
		for _, heads := range []bool{true, false} {
			log := &replaced{Complete: d.Log.(logtest.Complete), shown: shown}
			cfg := oat.Config{Log: log, Now: d.Clock.Now}
			if !heads {
				cfg.Log = onlyLog{log}
			}
			s, err := oat.New(cfg)
			must(t, err)
			if err := s.Authorize(t.Context(), oat.Actor{User: "bob"}, "acme"); err != nil {
				t.Errorf("%s, heads %t: %v", name, heads, err)
			}
			if log.shown != nil {
				t.Errorf("%s, heads %t: not read", name, heads)
			}
		}
	}
}
