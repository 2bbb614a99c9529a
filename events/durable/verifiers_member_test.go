package durable_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
)

// TestVerifierProcess is what the processes of the other tests do, which are this program
// again. By itself it does nothing.
func TestVerifierProcess(t *testing.T) {
	given := os.Getenv(memberEnv)
	if given == "" {
		return
	}
	var cfg memberConfig
	err := json.Unmarshal([]byte(given), &cfg)
	if err == nil {
		err = play(cfg, os.Stdin, json.NewEncoder(os.Stdout))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// play does what is ordered on in, until in ends.
func play(cfg memberConfig, in io.Reader, out *json.Encoder) error {
	store, err := storeNamed(cfg.Store)
	if err != nil {
		return err
	}
	log, err := store.open(context.Background(), cfg.Address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{cfg: cfg, log: log, ctx: ctx, cancel: cancel, out: out, since: time.Now().UnixNano(), stale: true}
	switch {
	case cfg.Waits:
		m.work.Go(m.wait)
	default:
		err = m.follow()
	}
	if err == nil {
		m.say(news{About: "ready"})
		err = m.obey(in)
	}
	cancel()
	m.work.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	return errors.Join(err, m.failed, log.Close())
}

// member is one of several processes on one log, from inside.
type member struct {
	cfg      memberConfig
	log      sharedLog
	verifier *oat.Verifier
	service  *oat.Service // nil in those that only verify
	replug   func() error
	work     sync.WaitGroup
	ctx      context.Context
	cancel   context.CancelFunc

	speaking sync.Mutex
	out      *json.Encoder

	mu       sync.Mutex // for all that follows
	watched  []*watched // not refused yet
	refused  []*watched
	turn     int   // of those that were refused
	stale    bool  // nothing that is watched was accepted in the last sweep
	since    int64 // when that began
	pending  []*pending
	commands int
	failed   error
}

// watched is a token whose secret is presented again and again, and what came of it. The
// times are those before a verification of acceptances, and after it of refusals.
type watched struct {
	Organization string
	Token        uuid.UUID
	Secret       string `json:"-"`
	Accepted     bool
	Refused      int64           // when it was, for the first time after it was accepted
	Again        int             // how often it was accepted after that
	Last         int64           // when it was accepted last
	LastPosition events.Position // to which the verifier had come before that
}

func (m *member) say(n news) {
	m.speaking.Lock()
	defer m.speaking.Unlock()
	if err := m.out.Encode(n); err != nil {
		m.cancel() // nobody listens any more
	}
}

func (m *member) fail(err error) {
	fmt.Fprintln(os.Stderr, err) // now, for those who wait in vain for something else
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed = errors.Join(m.failed, err)
}

// wait tells whenever the log wakes it, and where the log ended then.
func (m *member) wait() {
	for end := events.Position(0); ; {
		err := m.log.Wait(m.ctx, end)
		at := time.Now().UnixNano()
		if err == nil {
			end, err = m.log.End(m.ctx)
		}
		if m.ctx.Err() != nil {
			return
		}
		if err != nil {
			m.fail(err)
			return
		}
		m.say(news{About: "woken", At: at, Position: end})
	}
}

// sweepPause is how long the watched tokens rest, at the most, before they are presented
// again.
const sweepPause = 2 * time.Millisecond

// follow has a verifier follow the log, and presents the watched tokens to it after every
// batch that it was fed, which is the first moment at which it can refuse, and every
// sweepPause.
func (m *member) follow() error {
	m.verifier = oat.NewVerifier(oat.VerifierConfig{Plans: plans(), MaxStaleness: m.cfg.MaxStaleness})
	runner, err := projection.NewRunner(projection.RunnerConfig{
		Log: m.log, Projections: []projection.Projection{m.verifier}, PollInterval: m.cfg.PollInterval,
		Progress: func(projection.Progress) { m.sweep() }, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	m.work.Go(func() {
		if err := runner.Run(m.ctx); err != nil {
			m.fail(err)
		}
	})
	m.work.Go(func() {
		ticker := time.NewTicker(sweepPause)
		defer ticker.Stop()
		for m.ctx.Err() == nil {
			m.sweep()
			select {
			case <-ticker.C:
			case <-m.ctx.Done():
			}
		}
	})
	if !m.cfg.Writes {
		return nil
	}
	m.service, err = oat.New(oat.Config{Log: m.log, Plans: plans(), Verifier: m.verifier})
	return err
}

// again is how many of the tokens that were refused a sweep presents.
const again = 4

// sweep presents every watched token that was not refused yet, and some of the others in
// turn.
func (m *member) sweep() {
	m.mu.Lock()
	defer m.mu.Unlock()
	accepted := 0
	for _, w := range m.watched {
		if m.present(w) {
			accepted++
		}
	}
	for range min(again, len(m.refused)) {
		m.turn = (m.turn + 1) % len(m.refused)
		if m.present(m.refused[m.turn]) {
			accepted++
		}
	}
	m.watched = slices.DeleteFunc(m.watched, func(w *watched) bool {
		if w.Refused != 0 {
			m.refused = append(m.refused, w)
		}
		return w.Refused != 0
	})
	if stale := accepted == 0; stale != m.stale {
		m.stale, m.since = stale, time.Now().UnixNano()
	}
	m.pending = slices.DeleteFunc(m.pending, func(p *pending) bool { return m.met(p) })
}

// pending is an order to report once something has been so for a number of sweeps.
type pending struct {
	order
	met int // in so many sweeps on end
}

// met counts a sweep, and reports if it was the last one that was wanted.
func (m *member) met(p *pending) bool {
	if p.Do == "until stale" && !m.stale || p.Do == "until fresh" && m.stale {
		p.met = 0
		return false
	}
	p.met++
	if p.met < p.Sweeps {
		return false
	}
	m.say(news{About: "report", Report: m.report()})
	return true
}

// present verifies a watched token, and tells whether it was accepted. A refusal for
// staleness is none of the token.
func (m *member) present(w *watched) bool {
	position, before := m.verifier.Position(), time.Now().UnixNano()
	_, err := m.verifier.Verify(context.Background(), oat.Attempt{Organization: w.Organization, Secret: oat.NewSecret(w.Secret)})
	after := time.Now().UnixNano()
	switch {
	case err == nil:
		if w.Refused != 0 {
			w.Again++
		}
		w.Last, w.LastPosition = before, position
		if !w.Accepted {
			w.Accepted = true
			m.say(news{About: "accepted", Token: w.Token, At: after})
		}
	case !errors.Is(err, oat.ErrRefused):
		m.failed = errors.Join(m.failed, fmt.Errorf("a refusal that is none: %w", err))
	case !errors.Is(err, oat.ErrStale) && w.Accepted && w.Refused == 0:
		w.Refused = after
		m.say(news{About: "refused", Token: w.Token, At: after})
	}
	return err == nil
}

func (m *member) report() *report {
	r := &report{Since: m.since, Commands: m.commands}
	for _, w := range slices.Concat(m.watched, m.refused) {
		r.Tokens = append(r.Tokens, *w)
	}
	return r
}

// obey carries out orders until there are no more.
func (m *member) obey(in io.Reader) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return err
		}
		if err := m.do(o); err != nil {
			return fmt.Errorf("%s: %w", o.Do, err)
		}
	}
	return lines.Err()
}

func (m *member) do(o order) (err error) {
	switch o.Do {
	case "watch":
		m.mu.Lock()
		defer m.mu.Unlock()
		m.watched = append(m.watched, &watched{Organization: o.Organization, Token: o.Token, Secret: o.Secret})
	case "sweep", "until stale", "until fresh":
		m.mu.Lock()
		defer m.mu.Unlock()
		m.pending = append(m.pending, &pending{order: o})
	case "unplug":
		m.replug, err = unplug(m.cfg.Address)
		m.say(news{About: "unplugged"})
	case "replug":
		err = m.replug()
		m.say(news{About: "replugged"})
	case "register":
		return m.service.Register(m.ctx, owner(), oat.Register{Organization: o.Organization, Plan: "endless", Owners: []string{owner().User}})
	case "load":
		return m.load(o.Writers)
	case "generate":
		return m.generate(o.Organization)
	case "revoke":
		return m.revoke(o)
	default:
		err = errors.New("unknown order")
	}
	return err
}
