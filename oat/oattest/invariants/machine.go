package invariants

import (
	"context"
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/oatmill/oatmill/oat"
)

// seeded is the correlation of records that the test wrote itself.
const seeded = "seeded"

// sequential is one run of a state machine: one thing happens after the other, and
// each is judged before the next.
type sequential struct {
	*world
	troubled int // one command in so many meets with trouble
}

// configure draws what a host could configure.
func (w *world) configure(t *rapid.T) {
	w.rules.requireInactive = once(t, "RequireInactiveToDelete", 4)
	if once(t, "owners are the host's", 6) {
		w.rules.hostOwners = map[string]bool{acme + "/alice": true, acme + "/bob": true, beta + "/alice": true, beta + "/bob": true}
	}
}

// sequence is one sequential run, in which some tokens are generated already.
func sequence(w *world, t *rapid.T) *sequential {
	w.configure(t)
	w.begin(t)
	s := &sequential{world: w, troubled: 6}
	for range rapid.IntRange(0, 2).Draw(t, "tokens") {
		s.command("generate")(t)
	}
	return s
}

func (s *sequential) process(t *rapid.T) *process {
	return s.processes[rapid.IntRange(0, len(s.processes)-1).Draw(t, "process")]
}

// command is the action of giving a command of a kind.
func (s *sequential) command(kind string) func(*rapid.T) {
	return func(t *rapid.T) {
		p := s.process(t)
		c := drawCommand(t, kind, p.clock.now(), s.tokens)
		d := drawTrouble(t, s.troubled)
		if !once(t, "a rival", 8) {
			s.give(t, p, c, d)
			return
		}
		rival := s.rival(t, p, d)
		s.give(t, p, c, d)
		if called := rival(); called != nil {
			s.conclude(t, called)
		}
	}
}

// rival draws what another process does while a command is about to be appended. The
// function tells what came of it, nil when it never came to that.
func (s *sequential) rival(t *rapid.T, p *process, d *trouble) func() *call {
	others := slices.DeleteFunc(slices.Clone(s.processes), func(o *process) bool { return o == p })
	other := others[rapid.IntRange(0, len(others)-1).Draw(t, "rival process")]
	kind := rapid.SampledFrom([]string{"generate", "deactivate", "delete", "edit", "change plan", "remove owner"}).Draw(t, "rival")
	c := drawCommand(t, kind, other.clock.now(), s.tokens)
	d.rivalTry = rapid.IntRange(0, 1).Draw(t, "rival at try")
	var called *call
	d.rival = func() { called = s.call(other, c, new(trouble)) }
	return func() *call { return called }
}

// actions are the actions of these names. Names that are given several times are drawn
// as often; what follows a comma only tells them apart.
func (s *sequential) actions(names ...string) map[string]func(*rapid.T) {
	all := map[string]func(*rapid.T){
		"follow":  func(t *rapid.T) { s.process(t).follow(t, drawPace(t)) },
		"restart": func(t *rapid.T) { s.process(t).restart(t, rapid.Bool().Draw(t, "crash")) },
		"reopen":  func(t *rapid.T) { s.reopen(t, rapid.Bool().Draw(t, "crash")) },
		"clocks":  s.moveClocks,
		"owners":  s.changeHostOwners,
		"probe":   s.probe,
		"verify":  s.verify,
		"edge":    s.verifyAtEdge,
		"blind":   s.blind,
		"lose":    s.loseUses,
		"settle":  func(t *rapid.T) { s.settle(t) },
	}
	for _, kind := range []string{"register", "change plan", "add owner", "remove owner", "generate", "edit", "deactivate", "delete"} {
		all[kind] = s.command(kind)
	}
	chosen := make(map[string]func(*rapid.T))
	for i, name := range names {
		chosen[fmt.Sprintf("%s, %d", name, i)] = all[name]
	}
	return chosen
}

func (s *sequential) moveClocks(t *rapid.T) {
	d := rapid.SampledFrom([]time.Duration{
		time.Second, 5 * time.Second, time.Minute, time.Hour, 10 * time.Second, time.Microsecond, time.Nanosecond,
		-time.Nanosecond, -time.Second, -2 * time.Minute, -3 * time.Hour, 366 * 24 * time.Hour,
	}).Draw(t, "by")
	if once(t, "one clock only", 3) {
		s.process(t).clock.move(d)
		return
	}
	for _, p := range s.processes {
		p.clock.move(d)
	}
}

func (s *sequential) changeHostOwners(t *rapid.T) {
	if s.rules.hostOwners == nil {
		t.Skip("owners are in the log")
	}
	who := rapid.SampledFrom([]string{acme + "/alice", acme + "/bob", beta + "/carol"}).Draw(t, "owner")
	s.rules.hostOwners[who] = !s.rules.hostOwners[who]
}

func (s *sequential) verify(t *rapid.T) {
	p, a, asks := s.process(t), s.drawAttempt(t), drawAsks(t)
	if once(t, "caught up", 2) {
		p.catchUp(t)
	}
	p.attempt(t, a, asks)
	if len(s.held) > 0 {
		h := rapid.SampledFrom(s.held).Draw(t, "token")
		p.recheck(t, pick(t, "organization", []string{h.org}, []string{beta, acme, "", "nobody"}), h, asks)
	}
}

// verifyAtEdge presents a secret around the instant at which its token expires.
func (s *sequential) verifyAtEdge(t *rapid.T) {
	p, asks := s.process(t), drawAsks(t)
	var expiring []held
	for _, h := range s.held {
		if k := s.org(h.org).last().tokens[h.token]; k.expires != "" {
			expiring = append(expiring, h)
		}
	}
	if len(expiring) == 0 {
		t.Skip("no token expires")
	}
	h := rapid.SampledFrom(expiring).Draw(t, "token")
	at, err := time.Parse(time.RFC3339Nano, s.org(h.org).last().tokens[h.token].expires)
	if err != nil || at.Year() > 2200 {
		t.Skip("so far a clock does not go")
	}
	p.clock.set(at.Add(rapid.SampledFrom([]time.Duration{-1, 0, 1, -time.Microsecond, time.Microsecond}).Draw(t, "off")))
	p.catchUp(t)
	p.attempt(t, oat.Attempt{Organization: h.org, Secret: h.secret}, asks)
	p.recheck(t, h.org, h, asks)
}

// blind has a process that is behind change a token, and keeps it from reading what
// came before. It cannot know then whether the token may open.
func (s *sequential) blind(t *rapid.T) {
	open := s.changeable()
	if len(open) == 0 {
		t.Skip("no token can be edited")
	}
	h := rapid.SampledFrom(open).Draw(t, "token")
	p, other, host := s.processes[0], s.processes[1], oat.Actor{Host: "test"}
	if once(t, "the other one", 2) {
		p, other = other, p
	}
	p.catchUp(t)
	for i, by := range []*process{other, other, p} {
		description := fmt.Sprintf("%d of version %d", i, s.org(h.org).version())
		d := &trouble{failRead: by == p, blind: true, read: rapid.IntRange(0, 1).Draw(t, "read")}
		s.give(t, by, command{org: h.org, by: host, what: oat.Edit{Organization: h.org, Token: h.id, Description: &description}}, d)
	}
	p.attempt(t, oat.Attempt{Organization: h.org, Secret: h.secret}, nil)
	p.recheck(t, h.org, h, nil)
}

// changeable are the held tokens that everybody's clock lets be edited.
func (s *sequential) changeable() (open []held) {
	for _, h := range s.held {
		k, exists := s.org(h.org).last().tokens[h.token]
		if exists && !slices.ContainsFunc(s.processes, func(p *process) bool { return !k.changeable(p.clock.now()) }) {
			open = append(open, h)
		}
	}
	return open
}

// loseUses uses a token while something happens to what the recorder appends: also
// that the token is used once more just then.
func (s *sequential) loseUses(t *rapid.T) {
	open := s.changeable()
	if len(open) == 0 {
		t.Skip("no token can be used")
	}
	h, p := rapid.SampledFrom(open).Draw(t, "token"), s.process(t)
	d := rapid.SampledFrom([]time.Duration{time.Second, -time.Second}).Draw(t, "later")
	uses := rapid.SliceOfN(rapid.SampledFrom([]mishap{lostKept, failed, lostDropped, fine}), 1, 4).Draw(t, "uses")
	a, e, again := oat.Attempt{Organization: h.org, Secret: h.secret, Address: "192.0.2.9"}, p.engine.Load(), false
	p.catchUp(t)
	p.attempt(t, a, nil)
	// The recorder may append in a goroutine of its own, which must leave alone
	// what the oracle knows.
	p.line.setUses(func() {
		p.clock.move(d)
		_, _ = e.verifier.Verify(context.Background(), a)
		again = true
	}, uses...)
	// Whether that fails is for settle to see: the recorder may have done it by itself.
	_ = e.recorder.Flush(context.Background())
	p.line.setUses(nil, uses[1:]...)
	if again {
		if now := p.clock.now(); e.fresh(now) {
			s.uses.note(s.expect(e, a, now), now, a)
		}
		e.unsettled[h.id] = true
	}
}

// probe restarts a process and has it say of every token of acme whether it can be
// edited, by edits that change nothing.
func (s *sequential) probe(t *rapid.T) {
	p := s.process(t)
	p.restart(t, false)
	for _, id := range s.ids {
		if _, exists := s.org(acme).last().tokens[id.String()]; exists {
			s.give(t, p, command{org: acme, by: oat.Actor{Host: "test"}, what: oat.Edit{Organization: acme, Token: id}}, new(trouble))
		}
	}
}
