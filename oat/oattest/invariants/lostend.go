package invariants

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"sync"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
)

// lostEnd is I7 on a log that loses its newest records at random moments, as an
// asynchronous failover or a restored copy does, under several processes. A revocation
// that a process acknowledged and that the log still holds is never skipped: neither by
// that process, from the moment the command returned, nor by any process that followed the
// log. It fails, within 3,000 checks, after each of these changes to the code:
//
//   - oat/execute.go, append: without Follows
//   - oat/verifier_follow.go, adoptOne: only versions are compared with what was followed
//   - the same, Last: without the record that was followed
//   - the same, Apply: without closeLost
//   - projection/runner_refold.go, resetForked: positions are compared without hashes
//
// The tests of package oat named after forks hold the other comparisons one by one.
func lostEnd(t *testing.T, h Harness) {
	check(t, h, 40, func(rt *rapid.T) {
		s := newShrinking(t, h)
		defer s.close(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"generate":   s.generate,
			"generate 2": s.generate,
			"deactivate": s.deactivate,
			"delete":     s.delete,
			"edit":       s.edit,
			"follow":     s.follow,
			"lose":       s.lose,
			"":           s.judge,
		})
		for _, p := range s.processes {
			s.followed(rt, p)
		}
	})
}

// shrinking is a log that can lose its newest records, and processes that work on it.
type shrinking struct {
	tb        testing.TB
	h         Harness
	processes []*shrinkingProcess
	secrets   map[uuid.UUID]issued
	issued    []uuid.UUID // in order

	mu  sync.Mutex
	log events.Log
}

// issued is a token that a command returned. The log may have lost it since.
type issued struct {
	organization string
	secret       oat.Secret
}

// shrinkingProcess is a process with a service, a verifier and a read model.
type shrinkingProcess struct {
	service  *oat.Service
	verifier *oat.Verifier
	tokens   *projection.Tokens
	runner   *projection.Runner
	revoked  map[uuid.UUID]bool // by this process
}

var shrinkingOrganizations = []string{"acme", "globex"}

func newShrinking(tb testing.TB, h Harness) *shrinking {
	s := &shrinking{tb: tb, h: h, secrets: make(map[uuid.UUID]issued), log: h.Open(tb)}
	for range 3 {
		s.processes = append(s.processes, s.newProcess())
	}
	for _, name := range shrinkingOrganizations {
		cmd := oat.Register{Organization: name, Plan: planFour, Owners: []string{"alice"}}
		if err := s.processes[0].service.Register(context.Background(), oat.Actor{User: "alice"}, cmd); err != nil {
			tb.Fatal(err)
		}
	}
	return s
}

func (s *shrinking) newProcess() *shrinkingProcess {
	p := &shrinkingProcess{
		verifier: oat.NewVerifier(oat.VerifierConfig{Plans: plans()}), tokens: projection.NewTokens(), revoked: make(map[uuid.UUID]bool),
	}
	var err error
	if p.service, err = oat.New(oat.Config{Log: s, Plans: plans(), Verifier: p.verifier}); err != nil {
		s.tb.Fatal(err)
	}
	p.runner, err = projection.NewRunner(projection.RunnerConfig{
		Log: s, Projections: []projection.Projection{p.verifier, p.tokens}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		s.tb.Fatal(err)
	}
	return p
}

func (s *shrinking) close(t rapid.TB) {
	if log, ok := s.server().(io.Closer); ok {
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// server returns the log that is there now.
func (s *shrinking) server() events.Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log
}

// Append implements [events.Log].
func (s *shrinking) Append(ctx context.Context, stream events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	return s.server().Append(ctx, stream, expected, batch...)
}

// ReadStream implements [events.Log].
func (s *shrinking) ReadStream(ctx context.Context, stream events.StreamID, after events.Version) iter.Seq2[events.Recorded, error] {
	return s.server().ReadStream(ctx, stream, after)
}

// ReadAll implements [events.Log].
func (s *shrinking) ReadAll(ctx context.Context, after events.Position) iter.Seq2[events.Recorded, error] {
	return s.server().ReadAll(ctx, after)
}

// Head implements [events.Heads].
func (s *shrinking) Head(ctx context.Context, stream events.StreamID) (events.Head, error) {
	return s.server().(events.Heads).Head(ctx, stream)
}

// End implements [events.Heads].
func (s *shrinking) End(ctx context.Context) (events.Position, error) {
	return s.server().(events.Heads).End(ctx)
}

// lose replaces the log with one that lacks the newest records.
func (s *shrinking) lose(t *rapid.T) {
	var all []events.Recorded
	for r, err := range s.ReadAll(context.Background(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	kept := max(len(shrinkingOrganizations), len(all)-rapid.IntRange(1, 5).Draw(t, "lost"))
	s.close(t)
	replica := s.h.Open(s.tb)
	for _, r := range all[:kept] {
		if _, err := replica.Append(context.Background(), r.Stream, events.Any, r.Envelope); err != nil {
			t.Fatal(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = replica
}

// active returns the tokens that the log holds and that may open, read with encoding/json.
func (s *shrinking) active(t rapid.TB) map[uuid.UUID]bool {
	active := make(map[uuid.UUID]bool)
	for r, err := range s.ReadAll(context.Background(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		var about struct{ Token uuid.UUID }
		if err := json.Unmarshal(r.Data, &about); err != nil {
			t.Fatal(err)
		}
		switch r.Type {
		case "token.generated.v1":
			active[about.Token] = true
		case "token.deactivated.v1":
			active[about.Token] = false
		case "token.deleted.v1":
			delete(active, about.Token)
		}
	}
	return active
}

func (s *shrinking) process(t *rapid.T) *shrinkingProcess {
	return s.processes[rapid.IntRange(0, len(s.processes)-1).Draw(t, "process")]
}

// token draws a token that was ever issued.
func (s *shrinking) token(t *rapid.T) (uuid.UUID, issued) {
	if len(s.secrets) == 0 {
		t.Skip("no token was issued")
	}
	id := s.issued[rapid.IntRange(0, len(s.issued)-1).Draw(t, "token")]
	return id, s.secrets[id]
}

func (s *shrinking) generate(t *rapid.T) {
	p, name := s.process(t), rapid.SampledFrom(shrinkingOrganizations).Draw(t, "organization")
	token, secret, err := p.service.Generate(context.Background(), oat.Actor{User: "alice"}, oat.Generate{
		Organization: name, Label: "ci", Expires: oat.Never(), Resources: repos(name, 1),
	})
	if err == nil {
		s.secrets[token.ID], s.issued = issued{name, secret}, append(s.issued, token.ID)
		s.verdict(t, p, token.ID, true)
	}
}

func (s *shrinking) deactivate(t *rapid.T) {
	p := s.process(t)
	id, of := s.token(t)
	err := p.service.Deactivate(context.Background(), oat.Actor{User: "alice"}, oat.Deactivate{Organization: of.organization, Token: id})
	if err == nil {
		p.revoked[id] = true
		s.verdict(t, p, id, false)
	}
}

func (s *shrinking) delete(t *rapid.T) {
	p := s.process(t)
	id, of := s.token(t)
	err := p.service.Delete(context.Background(), oat.Actor{User: "alice"}, oat.Delete{Organization: of.organization, Token: id})
	if err == nil {
		p.revoked[id] = true
		s.verdict(t, p, id, false)
	}
}

func (s *shrinking) edit(t *rapid.T) {
	p := s.process(t)
	id, of := s.token(t)
	label := fmt.Sprint("label ", rapid.IntRange(0, 1000).Draw(t, "label"))
	// Refused for a token that is not active any more.
	_, _ = p.service.Edit(context.Background(), oat.Actor{User: "alice"}, oat.Edit{Organization: of.organization, Token: id, Label: &label})
}

func (s *shrinking) follow(t *rapid.T) { s.followed(t, s.process(t)) }

// followed demands that a process which followed the log gives the verdicts of the log.
func (s *shrinking) followed(t rapid.TB, p *shrinkingProcess) {
	if err := p.runner.CatchUp(context.Background()); err != nil {
		t.Fatal(err)
	}
	if closed := p.verifier.Status().Closed; len(closed) > 0 {
		t.Fatalf("closed: %+v", closed)
	}
	active, listed := s.active(t), 0
	for id := range s.secrets {
		s.verdict(t, p, id, active[id])
	}
	for _, name := range shrinkingOrganizations {
		for _, token := range p.tokens.List(name, projection.Query{}).Tokens {
			if is, exists := active[token.ID]; !exists || is != (token.State == projection.Active) {
				t.Fatalf("the list has %s as %s", token.ID, token.State)
			}
			listed++
		}
	}
	if listed != len(active) {
		t.Fatalf("%d tokens are listed, and the log has %d; closed are %v", listed, len(active), p.tokens.Suspects())
	}
}

// judge demands that every process refuses what it revoked, as long as the log holds that.
func (s *shrinking) judge(t *rapid.T) {
	active := s.active(t)
	for _, p := range s.processes {
		for id := range p.revoked {
			if active[id] { // the log lost the revocation
				delete(p.revoked, id)
				continue
			}
			s.verdict(t, p, id, false)
		}
	}
}

// verdict demands that a verifier accepts or refuses a token. One that was not fed yet
// refuses everything, and so does one whose organization is closed.
func (s *shrinking) verdict(t rapid.TB, p *shrinkingProcess, id uuid.UUID, want bool) {
	of := s.secrets[id]
	_, err := p.verifier.Verify(context.Background(), oat.Attempt{Organization: of.organization, Secret: of.secret})
	if status := p.verifier.Status(); want && (status.Stale || len(status.Closed) > 0) {
		return
	}
	if (err == nil) != want {
		t.Fatalf("token %s of %s: %v, want it accepted: %t", id, of.organization, err, want)
	}
}
