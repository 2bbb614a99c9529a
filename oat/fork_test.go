package oat_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/quota"
)

// failover is a log whose server can be replaced by another one, which has lost the newest
// records, as an asynchronous replica has.
type failover struct {
	mu  sync.Mutex
	log *memlog.Log
}

func (f *failover) server() *memlog.Log {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log
}

// to has the log go on with the first n records of the present one.
func (f *failover) to(t *testing.T, n int) {
	t.Helper()
	replica := memlog.New()
	for _, r := range records(t, f)[:n] {
		_, err := replica.Append(t.Context(), r.Stream, events.Any, r.Envelope)
		must(t, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = replica
}

func (f *failover) Append(ctx context.Context, stream events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	return f.server().Append(ctx, stream, expected, batch...)
}

func (f *failover) ReadStream(ctx context.Context, stream events.StreamID, after events.Version) iter.Seq2[events.Recorded, error] {
	return f.server().ReadStream(ctx, stream, after)
}

func (f *failover) ReadAll(ctx context.Context, after events.Position) iter.Seq2[events.Recorded, error] {
	return f.server().ReadAll(ctx, after)
}

func (f *failover) End(ctx context.Context) (events.Position, error) { return f.server().End(ctx) }

func (f *failover) Head(ctx context.Context, stream events.StreamID) (events.Head, error) {
	return f.server().Head(ctx, stream)
}

var _ projection.Rebuilder = (*oat.Verifier)(nil)

// process is a service and a verifier that follows the log.
type process struct {
	t        *testing.T
	service  *oat.Service
	verifier *oat.Verifier
	runner   *projection.Runner
}

func newProcess(t *testing.T, log events.Log) *process {
	t.Helper()
	verifier := oat.NewVerifier(oat.VerifierConfig{})
	service, err := oat.New(oat.Config{Log: log, Verifier: verifier})
	must(t, err)
	runner, err := projection.NewRunner(projection.RunnerConfig{
		Log: log, Projections: []projection.Projection{verifier}, Logger: slog.New(slog.DiscardHandler),
	})
	must(t, err)
	p := &process{t, service, verifier, runner}
	p.catchUp()
	return p
}

func (p *process) catchUp() {
	p.t.Helper()
	must(p.t, p.runner.CatchUp(p.t.Context()))
}

func (p *process) generate() (oat.Token, oat.Secret) {
	p.t.Helper()
	token, secret, err := p.service.Generate(p.t.Context(), alice, wellFormed())
	must(p.t, err)
	return token, secret
}

func (p *process) deactivate(token oat.Token) {
	p.t.Helper()
	must(p.t, p.service.Deactivate(p.t.Context(), alice, oat.Deactivate{Organization: "acme", Token: token.ID}))
}

// stays demands the verdict right after a command and after following the log.
func (p *process) stays(secret oat.Secret, want bool) {
	p.t.Helper()
	p.catchUp()
	opens(p.t, p.verifier, secret, want)
}

// A process that saw records which the log then lost does not skip the revocation that
// takes their place. Source: PostgreSQL and Redis document that an asynchronous failover
// loses acknowledged writes. Fails if adoptOne compares versions only.
func TestRevocationAfterTheLogLostItsEnd(t *testing.T) {
	log := &failover{log: memlog.New()}
	p := newProcess(t, log)
	must(t, p.service.Register(t.Context(), alice, oat.Register{Organization: "acme", Plan: quota.Team, Owners: []string{"alice"}}))
	x, secretX := p.generate()
	end := len(records(t, log))
	_, secretY := p.generate()
	p.stays(secretY, true)
	log.to(t, end)

	p.deactivate(x)
	opens(t, p.verifier, secretX, false)
	p.stays(secretX, false)
	p.stays(secretY, false)
	z, secretZ := p.generate()
	p.stays(secretZ, true)
	must(t, p.service.Delete(t.Context(), alice, oat.Delete{Organization: "acme", Token: z.ID}))
	p.stays(secretZ, false)
}

// The same, with the revocation in another process, before and after the first one
// follows the log. Fails if Last returns what was followed only, or if follow compares
// versions only.
func TestForkIsFoundByFollowing(t *testing.T) {
	for _, follows := range []bool{false, true} {
		log := &failover{log: memlog.New()}
		p := newProcess(t, log)
		must(t, p.service.Register(t.Context(), alice, oat.Register{Organization: "acme", Plan: quota.Team, Owners: []string{"alice"}}))
		x, secretX := p.generate()
		end := len(records(t, log))
		_, secretY := p.generate()
		if follows {
			p.catchUp()
		}
		log.to(t, end)
		other := newProcess(t, log)
		other.deactivate(x)
		_, secretZ := other.generate()
		p.stays(secretX, false)
		p.stays(secretY, false)
		p.stays(secretZ, true)
	}
}

// A revocation is not skipped whatever the verifier had seen at its version: the record of a
// command that the log did not bring yet, one that it brought, or several. Fails if adoptOne
// does not compare with ahead, with followed, or if observe does not call check.
func TestRevocationAtAVersionThatWasSeen(t *testing.T) {
	for _, lost := range []int{1, 2, 3} {
		for _, follows := range []bool{false, true} {
			log := &failover{log: memlog.New()}
			p := newProcess(t, log)
			must(t, p.service.Register(t.Context(), alice, oat.Register{Organization: "acme", Plan: quota.Team, Owners: []string{"alice"}}))
			x, secret := p.generate()
			end := len(records(t, log))
			for range lost {
				p.generate()
			}
			if follows {
				p.catchUp()
			}
			log.to(t, end)
			p.deactivate(x)
			opens(t, p.verifier, secret, false)
			p.stays(secret, false)
		}
	}
}

// A process forgets what it followed and the log lost, also after a command of its own that
// the log has. Fails if Last leaves out the record that was followed.
func TestForkBehindAnOwnCommand(t *testing.T) {
	log := &failover{log: memlog.New()}
	p := newProcess(t, log)
	for _, name := range []string{"acme", "globex"} {
		must(t, p.service.Register(t.Context(), alice, oat.Register{Organization: name, Plan: quota.Team, Owners: []string{"alice"}}))
	}
	end := len(records(t, log))
	_, lost := p.generate()
	p.catchUp()
	log.to(t, end)
	add := oat.AddOwner{Organization: "globex", Owner: "bob"}
	must(t, newProcess(t, log).service.AddOwner(t.Context(), alice, add))
	add.Owner = "carol"
	must(t, p.service.AddOwner(t.Context(), alice, add))
	p.stays(lost, false)
}

// An organization is closed when the log brings another record than the one that this
// process appended, or none until behind its position. Fails if follow does not compare with
// ahead, or if Apply does not call closeLost.
func TestOwnRecordThatTheLogDoesNotBring(t *testing.T) {
	for name, instead := range map[string]events.StreamID{"another": acme, "none": "organization/other"} {
		d := newDesk(t)
		_, secret := d.generate()
		d.follow()
		d.generate()
		end := d.records()[len(d.records())-1].Position
		var head events.Head
		if instead == acme {
			known := d.records()[len(d.records())-2]
			head = events.Head{Version: known.Version, Hash: known.Hash()}
		}
		envelope, err := events.NewEnvelope([16]byte{1}, d.Clock.Now(), "host:other", &events.OrganizationPlanChanged{Plan: quota.Business})
		must(t, err)
		theirs, _ := events.Seal(instead, head, []events.Envelope{envelope})
		theirs[0].Position = end
		must(t, d.Verifier.Apply(t.Context(), theirs))
		if closed := d.Verifier.Suspects(); len(closed) != 1 || closed[0] != acme {
			t.Errorf("%s: closed are %v", name, closed)
		}
		d.opens(secret, false)
	}
}

// A verifier that could not fold the record of a command waits for it no longer than the
// log reaches its position. Fails if lost does not look at requiredAt: the organization then
// stays closed until somebody appends to it.
func TestCommandThatTheLogLostBeforeItWasFolded(t *testing.T) {
	log := &failover{log: memlog.New()}
	first := newProcess(t, log)
	for _, name := range []string{"acme", "globex"} {
		must(t, first.service.Register(t.Context(), alice, oat.Register{Organization: name, Plan: quota.Team, Owners: []string{"alice"}}))
	}
	_, secret := first.generate()
	end := len(records(t, log))

	verifier := oat.NewVerifier(oat.VerifierConfig{}) // knows nothing yet
	service, err := oat.New(oat.Config{Log: log, Verifier: verifier})
	must(t, err)
	must(t, service.AddOwner(t.Context(), alice, oat.AddOwner{Organization: "acme", Owner: "bob"}))
	log.to(t, end)
	for _, owner := range []string{"carol", "dave"} {
		must(t, service.AddOwner(t.Context(), alice, oat.AddOwner{Organization: "globex", Owner: owner}))
	}
	runner, err := projection.NewRunner(projection.RunnerConfig{Log: log, Projections: []projection.Projection{verifier}, Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	must(t, runner.CatchUp(t.Context()))
	opens(t, verifier, secret, true)
}

// A verifier whose log ends before what it has seen refuses everyone until it was read
// again.
func TestShorterLogIsReadAgain(t *testing.T) {
	log := &failover{log: memlog.New()}
	p := newProcess(t, log)
	must(t, p.service.Register(t.Context(), alice, oat.Register{Organization: "acme", Plan: quota.Team, Owners: []string{"alice"}}))
	_, secretX := p.generate()
	end := len(records(t, log))
	_, secretY := p.generate()
	log.to(t, end)
	p.stays(secretX, true)
	p.stays(secretY, false)
}

// A command that a verifier overtook is not taken for a fork: the log has the record that
// the verifier's state ends with. Fails if adoptOne returns an error for such a version.
func TestCommandThatWasOvertaken(t *testing.T) {
	var log *tapped
	d := newDesk(t, tap(&log))
	_, secret := d.generate()
	other := d.second()
	log.appended = func() {
		log.appended = nil
		must(t, other.AddOwner(t.Context(), alice, oat.AddOwner{Organization: "acme", Owner: "carol"}))
		must(t, d.Verifier.Apply(t.Context(), d.records()))
	}
	must(t, d.Service.AddOwner(t.Context(), alice, oat.AddOwner{Organization: "acme", Owner: "bob"}))
	d.opens(secret, true)
}

// An organization that a command changes while it is folded again stays closed: what was
// read may lack the change. Fails if Refold does not look at moved.
func TestRefoldThatWasOvertaken(t *testing.T) {
	d := newDesk(t)
	token, secret := d.generate()
	_, kept := d.generate()
	records := d.records()
	forked := records[1]
	forked.Previous = events.Hash{1}
	must(t, d.Verifier.Apply(t.Context(), []events.Recorded{records[0], forked}))
	d.opens(kept, false)
	before := func(yield func(events.Recorded, error) bool) {
		for _, r := range d.records() {
			if !yield(r, nil) {
				return
			}
		}
		d.deactivate(token.ID)
	}
	if err := d.Verifier.Refold(t.Context(), acme, before); err == nil {
		t.Fatal("opened without the deactivation")
	}
	d.opens(secret, false)
	must(t, d.Verifier.Refold(t.Context(), acme, d.Log.ReadStream(t.Context(), acme, 0)))
	d.opens(secret, false)
	d.opens(kept, true)
}

// The service decides on no record that does not continue its organization's stream.
// Fails if organization.apply does not call Advance.
func TestServiceChecksTheChain(t *testing.T) {
	var log *tapped
	d := newDesk(t, tap(&log))
	d.generate()
	service, err := oat.New(oat.Config{Log: &changed{log}, Now: d.Clock.Now})
	must(t, err)
	if _, _, err := service.Generate(t.Context(), alice, wellFormed()); !errors.Is(err, events.ErrDamaged) || !errors.Is(err, events.ErrBrokenChain) {
		t.Errorf("%v, want a broken chain", err)
	}
}

// changed is a log of which somebody changed the first record of every stream.
type changed struct{ *tapped }

func (l *changed) ReadStream(ctx context.Context, stream events.StreamID, after events.Version) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		for r, err := range l.tapped.ReadStream(ctx, stream, after) {
			if r.Version == 1 {
				r.Actor = "mallory"
			}
			if !yield(r, err) {
				return
			}
		}
	}
}
