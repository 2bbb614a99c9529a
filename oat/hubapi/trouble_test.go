package hubapi_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/hubapi"
	"github.com/oatmill/oatmill/oat/oattest"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/quota"
)

// failing is a log that fails where it is told to.
type failing struct {
	events.Log
	read, append error
	before       func() // once, before an append
}

func (l *failing) ReadStream(ctx context.Context, id events.StreamID, after events.Version) iter.Seq2[events.Recorded, error] {
	if l.read != nil {
		return func(yield func(events.Recorded, error) bool) { yield(events.Recorded{}, l.read) }
	}
	return l.Log.ReadStream(ctx, id, after)
}

func (l *failing) Append(ctx context.Context, id events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	if l.append != nil {
		return nil, l.append
	}
	if before := l.before; before != nil {
		l.before = nil
		before()
	}
	return l.Log.Append(ctx, id, expected, batch...)
}

func newFailing(t *testing.T) (*desk, *failing) {
	t.Helper()
	log := new(failing)
	env := oattest.New(t, func(cfg *oat.Config) {
		log.Log = cfg.Log
		cfg.Log = log
	})
	return newDeskOn(t, env), log
}

// An edit that comes between the look at the version and the append is seen as well.
// Breaks when edit or delete does not hand the version to the service.
func TestEditorsBetween(t *testing.T) {
	d, log := newFailing(t)
	other := newDeskOn(t, oattest.New(t, func(cfg *oat.Config) { cfg.Log, cfg.Now, cfg.Rand = log.Log, d.Clock.Now, oattest.NewRand(3) }))
	for _, o := range operations("acme", "") {
		if o.method != http.MethodPatch && o.method != http.MethodDelete {
			continue
		}
		created, etag := d.create()
		log.before = func() {
			other.ask(http.MethodPatch, tokensOfAcme+"/"+created.ID, "bob", map[string]any{"label": "bob's"}).is(200)
		}
		d.ask(o.method, o.path+created.ID, "alice", o.body, "If-Match", etag).is(412)
		if got := d.get(created.ID); got.Label != "bob's" {
			t.Errorf("%s: %+v", o.method, got)
		}
	}
}

// What fails on this side is logged and not told, and what may work later says so. Fails if
// refusalOfTrouble leaves out one of the storage errors of package events.
func TestFailures(t *testing.T) {
	d, log := newFailing(t)
	created, _ := d.create()
	const secret = "dial tcp 10.0.0.7: the password of the database is hunter2"
	for name, c := range map[string]struct {
		read, append error
		status       int
		changes      bool // only what changes something fails
	}{
		"a read fails":            {read: errors.New(secret), status: 500},
		"an append fails":         {append: errors.New(secret), status: 500, changes: true},
		"an unknown outcome":      {append: fmt.Errorf("%w: %s", events.ErrUnknownOutcome, secret), status: 503, changes: true},
		"conflicts without end":   {append: &events.ConflictError{}, status: 503, changes: true},
		"a read is interrupted":   {read: context.DeadlineExceeded, status: 503},
		"an append is, with ctx":  {append: context.Canceled, status: 503, changes: true},
		"a closed log":            {read: events.ErrClosed, status: 500},
		"a damaged log":           {read: events.ErrDamaged, status: 500},
		"a bug":                   {append: errors.New("no space left in a slice"), status: 500, changes: true},
		"a full disk":             {append: fmt.Errorf("append: %w: %s", events.ErrFull, secret), status: 503, changes: true},
		"a locked file":           {append: fmt.Errorf("append: %w: %s", events.ErrBusy, secret), status: 503, changes: true},
		"a locked file, read":     {read: fmt.Errorf("read: %w: %s", events.ErrBusy, secret), status: 503},
		"a read-only file":        {append: fmt.Errorf("append: %w: %s", events.ErrReadOnly, secret), status: 503, changes: true},
		"missing rights":          {append: fmt.Errorf("append: %w: %s", events.ErrDenied, secret), status: 503, changes: true},
		"an unreachable log":      {read: fmt.Errorf("read: %w: %s", events.ErrUnavailable, secret), status: 503},
		"unreachable and unknown": {append: fmt.Errorf("%w: %w: %s", events.ErrUnknownOutcome, events.ErrUnavailable, secret), status: 503, changes: true},
	} {
		t.Run(name, func(t *testing.T) {
			d := d.on(t)
			d.get(created.ID)
			log.read, log.append = c.read, c.append
			defer func() { log.read, log.append = nil, nil }()
			for _, o := range operations("acme", created.ID) {
				if c.changes && (o.method == http.MethodGet || o.method == http.MethodHead) {
					continue
				}
				got := d.ask(o.method, o.path, "alice", o.body).is(c.status)
				if (got.header.Get("Retry-After") != "") != (c.status == 503) {
					t.Errorf("%s: retry after %q", o.method, got.header.Get("Retry-After"))
				}
				if unknown := errors.Is(c.append, events.ErrUnknownOutcome); o.method != http.MethodHead && unknown != strings.Contains(string(got.body), "it is not known") {
					t.Errorf("%s: %s", o.method, got.body)
				}
				if strings.Contains(string(got.body), "hunter2") || strings.Contains(string(got.body), "space") {
					t.Errorf("%s tells %s", o.method, got.body)
				}
			}
		})
	}
	if !strings.Contains(d.Logged.String(), "hunter2") || !strings.Contains(d.Logged.String(), "no space left") {
		t.Error("the causes are not in the log")
	}
	if got := d.get(created.ID); got.Label != "ci" {
		t.Errorf("%+v", got)
	}
}

// Nothing is answered from an old state: where the read models stand still, reads are
// refused; and where they are not led at all, that is said.
func TestReadModelsBehind(t *testing.T) {
	env := oattest.New(t)
	ahead := newDeskOn(t, env)
	created, _ := ahead.create()
	still, err := projection.NewRunner(projection.RunnerConfig{
		Log: env.Log, Projections: []projection.Projection{projection.NewTokens()}, Logger: slog.New(slog.DiscardHandler),
	})
	must(t, err)
	d := newDeskOn(t, env, func(cfg *hubapi.Config) { cfg.Runner, cfg.MaxWait = still, time.Millisecond })
	address := tokensOfAcme + "/" + created.ID
	for _, path := range []string{address, tokensOfAcme, "/v2/auditlogs/acme"} {
		if got := d.ask(http.MethodGet, path, "alice", nil).is(503); got.header.Get("Retry-After") != "1" {
			t.Errorf("retry after %q", got.header.Get("Retry-After"))
		}
	}
	d.ask(http.MethodPatch, address, "alice", map[string]any{"label": "x"}, "If-Match", `"1.0"`).is(503)
	if !strings.Contains(d.Logged.String(), "read models are behind") {
		t.Error("it is not in the log")
	}
	d.ask(http.MethodGet, address, "mallory", nil).is(403)
	must(t, still.CatchUp(context.Background()))
	other := newDeskOn(t, env, func(cfg *hubapi.Config) {
		cfg.Runner, cfg.Tokens = still, projection.NewTokens()
	})
	other.ask(http.MethodGet, address, "alice", nil).is(500)
	if !strings.Contains(other.Logged.String(), "does not lead") {
		t.Errorf("logged %s", other.Logged)
	}
}

// A client sees at once what it did, and what was done in another process.
func TestReadYourWrites(t *testing.T) {
	d := newDesk(t)
	other := d.restarted()
	for i := range 30 {
		created, _ := d.create()
		for _, process := range []*desk{d, other} {
			process.get(created.ID)
			var page tokenPage
			if process.ask(http.MethodGet, tokensOfAcme, "alice", nil).as(200, &page); page.Total != i+1 {
				t.Fatalf("%d tokens after %d creates", page.Total, i+1)
			}
		}
	}
}

func TestConfig(t *testing.T) {
	d := newDesk(t)
	for name, spoil := range map[string]func(*hubapi.Config){
		"service": func(cfg *hubapi.Config) { cfg.Service = nil },
		"log":     func(cfg *hubapi.Config) { cfg.Log = nil },
		"tokens":  func(cfg *hubapi.Config) { cfg.Tokens = nil },
		"history": func(cfg *hubapi.Config) { cfg.History = nil },
		"last":    func(cfg *hubapi.Config) { cfg.LastUsed = nil },
		"runner":  func(cfg *hubapi.Config) { cfg.Runner = nil },
		"creden":  func(cfg *hubapi.Config) { cfg.SignIn = nil },
		"wait":    func(cfg *hubapi.Config) { cfg.MaxWait = -1 },
		"rate":    func(cfg *hubapi.Config) { cfg.Rate.Count = -1 },
		"sign-in": func(cfg *hubapi.Config) {
			cfg.SignIns = quota.NewAttempts(quota.Rate{Count: 1, Window: time.Millisecond})
		},
	} {
		cfg := d.cfg
		spoil(&cfg)
		if _, err := hubapi.New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, base := range []string{"hub.example.com", "ftp://hub.example.com", "https://", "https://hub.example.com?x", "https://hub.example.com#x", "https://me@hub.example.com", "://", "/hub"} {
		cfg := d.cfg
		cfg.BaseURL = base
		if _, err := hubapi.New(cfg); err == nil || !strings.Contains(err.Error(), "base url") {
			t.Errorf("base url %q: %v", base, err)
		}
	}
	zero := hubapi.Config{
		Service: d.cfg.Service, Log: d.cfg.Log, Tokens: d.cfg.Tokens, History: d.cfg.History, LastUsed: d.cfg.LastUsed,
		Runner: d.cfg.Runner, SignIn: d.cfg.SignIn, Keys: d.cfg.Keys,
	}
	handler, err := hubapi.New(zero)
	must(t, err)
	other := *d
	other.Handler, other.jwts = handler, make(map[string]string)
	if limit, _, _ := other.ask(http.MethodGet, tokensOfAcme, "alice", nil).is(200).rate(); limit != hubapi.DefaultRate().Count {
		t.Errorf("limit %d", limit)
	}
}
