package projection_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/projection"
)

// switched is a log that can be replaced by another one, as a failover does to a server
// that lost its newest records, and whose records a test can change behind its back.
type switched struct {
	mu     sync.Mutex
	log    *memlog.Log
	onEnd  func()                               // before the log is asked where it ends; may be nil
	change func(r *events.Recorded) (keep bool) // of what is read; may be nil
}

func (s *switched) current() (*memlog.Log, func(*events.Recorded) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log, s.change
}

func (s *switched) set(log *memlog.Log, change func(*events.Recorded) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log, s.change = log, change
}

func (s *switched) Append(ctx context.Context, stream events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	log, _ := s.current()
	return log.Append(ctx, stream, expected, batch...)
}

func (s *switched) ReadStream(ctx context.Context, stream events.StreamID, after events.Version) iter.Seq2[events.Recorded, error] {
	log, change := s.current()
	return func(yield func(events.Recorded, error) bool) {
		for r, err := range log.ReadStream(ctx, stream, after) {
			if err == nil && change != nil && !change(&r) {
				continue
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// ReadAll ends with a MissingError where the test leaves a record out, as the logs do that
// give out consecutive positions.
func (s *switched) ReadAll(ctx context.Context, after events.Position) iter.Seq2[events.Recorded, error] {
	log, change := s.current()
	return func(yield func(events.Recorded, error) bool) {
		for r, err := range log.ReadAll(ctx, after) {
			if err == nil && change != nil && !change(&r) {
				yield(events.Recorded{}, &events.MissingError{First: r.Position, Last: r.Position})
				return
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

func (s *switched) End(ctx context.Context) (events.Position, error) {
	if s.onEnd != nil {
		s.onEnd()
	}
	log, _ := s.current()
	return log.End(ctx)
}

func (s *switched) Head(ctx context.Context, stream events.StreamID) (events.Head, error) {
	log, _ := s.current()
	return log.Head(ctx, stream)
}

// append adds one event to the log.
func appendEvent(t testing.TB, log events.Log, n byte, stream events.StreamID, payload events.Payload) {
	t.Helper()
	e, err := events.NewEnvelope([16]byte{15: n}, time.Date(2026, 1, 2, 3, 4, int(n), 0, time.UTC), "alice", payload)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Append(t.Context(), stream, events.Any, e); err != nil {
		t.Fatal(err)
	}
}

func generated(token, label string) *events.TokenGenerated {
	return &events.TokenGenerated{Token: token, Label: label, Digest: events.Hash{1}}
}

// twoOrganizations fills a log with acme and globex, each with one token, and a use of each.
func twoOrganizations(t testing.TB) *memlog.Log {
	log := memlog.New()
	at := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	use := func(token string) *events.UsageRecorded {
		return &events.UsageRecorded{Uses: []events.Use{{Token: token, Accepted: &events.UseSpan{First: at, Last: at, Count: 3}}}}
	}
	appendEvent(t, log, 1, "organization/acme", &events.OrganizationRegistered{Plan: "team", Owners: []string{"alice"}})
	appendEvent(t, log, 2, "organization/globex", &events.OrganizationRegistered{Plan: "team", Owners: []string{"bob"}})
	appendEvent(t, log, 3, "organization/acme", generated(known, "ci"))
	appendEvent(t, log, 4, "organization/globex", generated(other, "deploy"))
	appendEvent(t, log, 5, "usage/acme", use(known))
	appendEvent(t, log, 6, "usage/globex", use(other))
	return log
}

// prefix returns a log with the first n records of another.
func prefix(t testing.TB, log events.Log, n int) *memlog.Log {
	return fill(t, records(t, log)[:n])
}

func labels(tokens *projection.Tokens, organization string) (all []string) {
	for _, token := range tokens.List(organization, projection.Query{Sort: projection.ByLabel}).Tokens {
		all = append(all, token.Label)
	}
	return all
}

// A log that lost its newest records and got others at their positions is read again from
// the beginning. Source: an asynchronous failover. Fails if resetForked compares positions
// only, or if pass does not call it.
func TestForkedLogIsReadAgain(t *testing.T) {
	full := twoOrganizations(t)
	appendEvent(t, full, 7, "organization/acme", generated("8a2d2d1f-5f1e-4c55-9d35-0f4c4a2f9a10", "lost"))
	fork := prefix(t, full, 6)
	log := &switched{log: full}
	all := newEverything()
	r := newRunner(t, projection.RunnerConfig{Log: log, Projections: all.list()})
	if err := r.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	log.set(fork, nil)
	if err := r.CatchUp(t.Context()); err != nil {
		t.Fatalf("after the log lost its end: %v", err)
	}
	if got := labels(all.tokens, "acme"); !slices.Equal(got, []string{"ci"}) {
		t.Errorf("tokens after the loss: %v", got)
	}
	log.set(full, nil) // back again, as after a second failover
	if err := r.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	appendEvent(t, fork, 8, "organization/globex", generated("9a2d2d1f-5f1e-4c55-9d35-0f4c4a2f9a10", "new"))
	log.set(fork, nil)
	if err := r.CatchUp(t.Context()); err != nil {
		t.Fatalf("after the log got another record at the position: %v", err)
	}
	if acme, globex := labels(all.tokens, "acme"), labels(all.tokens, "globex"); !slices.Equal(acme, []string{"ci"}) || !slices.Equal(globex, []string{"deploy", "new"}) {
		t.Errorf("tokens of the fork: %v, %v", acme, globex)
	}
	if u, _ := all.lastUsed.Of("acme", uuid.MustParse(known)); u.Accepted.Count != 3 {
		t.Errorf("uses are counted %d times, want 3", u.Accepted.Count)
	}
}

// A log that is replaced after its last record was compared, and before it is read on, is
// noticed by that read. Fails if readFrom never takes a position for known.
func TestForkInTheMiddleOfAPass(t *testing.T) {
	full := twoOrganizations(t)
	appendEvent(t, full, 7, "organization/acme", generated("8a2d2d1f-5f1e-4c55-9d35-0f4c4a2f9a10", "lost"))
	fork := prefix(t, full, 6)
	for n := range byte(2) {
		appendEvent(t, fork, 8+n, "organization/globex", &events.OrganizationPlanChanged{Plan: "business"})
	}
	log := &switched{log: full}
	all := newEverything()
	r := newRunner(t, projection.RunnerConfig{Log: log, Projections: all.list()})
	if err := r.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	log.onEnd = func() { log.set(fork, nil) }
	if err := r.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := labels(all.tokens, "acme"); !slices.Equal(got, []string{"ci"}) {
		t.Errorf("tokens: %v", got)
	}
}

// An organization whose records were changed is closed, the others are served, and it is
// opened when its records are as they were. Fails if refold is not called, if it does not
// wait refoldInterval, or if decide takes records of a closed organization.
func TestChangedOrganizationIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &switched{log: twoOrganizations(t)}
		log.change = func(r *events.Recorded) bool {
			stored := r.Hash()
			r.SetStored(stored)
			if r.Stream == "organization/acme" && r.Version == 2 {
				r.Actor = "mallory"
			}
			return true
		}
		all := newEverything()
		var logged bytes.Buffer
		r := newRunner(t, projection.RunnerConfig{Log: log, Projections: all.list(), Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		stop := start(t, r)
		if err := r.WaitFor(t.Context(), 6); err != nil {
			t.Fatal(err)
		}
		if got := all.tokens.Suspects(); !slices.Equal(got, []events.StreamID{"organization/acme"}) {
			t.Errorf("closed: %v", got)
		}
		if got := labels(all.tokens, "globex"); !slices.Equal(got, []string{"deploy"}) {
			t.Errorf("tokens of the other organization: %v", got)
		}
		appendEvent(t, log, 9, "organization/acme", &events.TokenDeactivated{Token: known})
		if err := r.WaitFor(t.Context(), 7); err != nil {
			t.Fatal(err)
		}
		log.set(log.log, nil)
		time.Sleep(time.Minute) // of the bubble's clock
		if got := all.tokens.Suspects(); len(got) > 0 {
			t.Errorf("closed after the repair: %v", got)
		}
		token, _ := all.tokens.Get("acme", uuid.MustParse(known), time.Time{})
		if token.State != projection.Inactive {
			t.Errorf("the token is %s after the repair", token.State)
		}
		if u, _ := all.lastUsed.Of("acme", uuid.MustParse(known)); u.Accepted.Count != 3 {
			t.Errorf("uses after the repair: %+v", u)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		for _, says := range []string{"organization closed", "organization/acme", "version 2: is ", "organization open again"} {
			if n := strings.Count(logged.String(), says); n == 0 {
				t.Errorf("the log does not say %q:\n%s", says, &logged)
			}
		}
		if n := strings.Count(logged.String(), "organization closed"); n != 1 {
			t.Errorf("the log says %d times that the organization is closed", n)
		}
	})
}

// A record that was taken out of the middle of a stream closes that organization alone; one
// that was the last of its stream can be anybody's, so that nothing is confirmed. Fails if
// unexplained returns nil, or if readFrom does not go on behind the hole.
func TestMissingRecords(t *testing.T) {
	for name, test := range map[string]struct {
		stream   events.StreamID
		version  events.Version
		explains bool
	}{
		"in a stream":           {"organization/acme", 1, true},
		"at a stream's end":     {"organization/acme", 2, false},
		"of a stream of usages": {"usage/acme", 1, false},
	} {
		log := &switched{log: twoOrganizations(t)}
		log.change = func(r *events.Recorded) bool { return r.Stream != test.stream || r.Version != test.version }
		all, confirmed := newEverything(), &trace{}
		r := newRunner(t, projection.RunnerConfig{Log: log, Projections: append(all.list(), confirmed)})
		err := r.CatchUp(t.Context())
		if explained := err == nil && len(confirmed.confirmed) == 1; explained != test.explains || err != nil && !errors.Is(err, events.ErrDamaged) {
			t.Errorf("%s: %v, confirmed %d times", name, err, len(confirmed.confirmed))
		}
		if got := labels(all.tokens, "globex"); !slices.Equal(got, []string{"deploy"}) {
			t.Errorf("%s: tokens of the other organization: %v", name, got)
		}
		if closed := all.tokens.Suspects(); test.explains != slices.Equal(closed, []events.StreamID{"organization/acme"}) {
			t.Errorf("%s: closed %v", name, closed)
		}
	}
}

// A record that is found missing of an organization which is closed already is explained by
// that. Fails if refold waits refoldInterval then.
func TestMissingRecordOfAClosedOrganization(t *testing.T) {
	log := &switched{log: twoOrganizations(t)}
	appendEvent(t, log, 7, "organization/acme", &events.TokenDeactivated{Token: known})
	forge := func(r *events.Recorded) bool {
		if r.Stream == "organization/acme" && r.Version == 2 {
			r.Actor = "mallory"
		}
		return true
	}
	log.set(log.log, forge)
	all := newEverything()
	r := newRunner(t, projection.RunnerConfig{Log: log, Projections: all.list()})
	if err := r.CatchUp(t.Context()); err != nil || len(all.tokens.Suspects()) != 1 {
		t.Fatalf("%v, closed %v", err, all.tokens.Suspects())
	}
	for n := range byte(2) {
		appendEvent(t, log, 8+n, "organization/acme", &events.OrganizationPlanChanged{Plan: "business"})
	}
	log.set(log.log, func(r *events.Recorded) bool {
		return forge(r) && (r.Stream != "organization/acme" || r.Version != 4)
	})
	if err := r.CatchUp(t.Context()); err != nil {
		t.Error(err)
	}
}

// A projection that cannot be reset stops when its log was forked.
func TestForkedLogStopsWhatCannotBeReset(t *testing.T) {
	full := twoOrganizations(t)
	p := &trace{}
	catchUp(t, full, p)
	r := newRunner(t, projection.RunnerConfig{Log: prefix(t, full, 4), Projections: []projection.Projection{p}})
	if err := r.CatchUp(t.Context()); !errors.Is(err, events.ErrDamaged) {
		t.Error(err)
	}
}
