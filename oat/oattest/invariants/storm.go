package invariants

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
)

// step is one thing that one of several goroutines does. It is drawn beforehand; the
// token it is about is picked when it is done, among those that others have generated
// by then.
type step struct {
	kind    string
	process int
	org     string
	by      oat.Actor
	pick    int
	variant int
	version events.Version // that the command is given for, 0 for none
	trouble *trouble
}

const (
	goroutines = 6
	steps      = 10
)

func drawStep(t *rapid.T, kinds []string, troubled bool) step {
	s := step{
		kind:    rapid.SampledFrom(kinds).Draw(t, "step"),
		process: rapid.IntRange(0, 2).Draw(t, "process"),
		org:     pick(t, "organization", []string{acme, acme, beta}, nil),
		by:      pick(t, "actor", []oat.Actor{{User: "alice"}, {Host: "billing"}}, []oat.Actor{{User: "bob"}, {User: "mallory"}}),
		pick:    rapid.IntRange(0, 5).Draw(t, "pick"),
		variant: rapid.IntRange(0, 5).Draw(t, "variant"),
		trouble: new(trouble),
	}
	if troubled {
		s.trouble = drawTrouble(t, 2)
	}
	return s
}

// storm has several goroutines give commands of these kinds to several processes, all
// at once, and judges afterwards.
func storm(t *testing.T, h Harness, kinds ...string) {
	troubled := slices.Contains(kinds, "trouble")
	kinds = slices.DeleteFunc(kinds, func(k string) bool { return k == "trouble" })
	check(t, h, 20, func(rt *rapid.T) {
		w := newWorld(t, rt, h, 3)
		w.begin(rt)
		scripts := make([][]step, goroutines)
		for i := range scripts {
			for range steps {
				scripts[i] = append(scripts[i], drawStep(rt, kinds, troubled))
			}
		}
		w.rage(rt, scripts)
	})
}

// targets are the tokens that were generated so far in a storm.
type targets struct {
	mu  sync.Mutex
	all []held
}

func (o *targets) add(h held) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, h)
}

// pick is the newest token but n, or one that there never was.
func (o *targets) pick(n int) held {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n >= len(o.all) {
		return held{org: acme}
	}
	return o.all[len(o.all)-1-n]
}

func (w *world) rage(t *rapid.T, scripts [][]step) {
	var (
		wg       sync.WaitGroup
		known    targets
		problems = make(chan string, goroutines)
	)
	for _, script := range scripts {
		wg.Go(func() {
			for i := range script {
				if problem := w.do(&script[i], &known); problem != "" {
					problems <- problem
					return
				}
			}
		})
	}
	wg.Wait()
	close(problems)
	for problem := range problems {
		t.Errorf("%s", problem)
	}
	w.judgeStorm(t)
}

// judgeStorm judges all that was done, and that all processes agree in the end with
// one that begins anew.
func (w *world) judgeStorm(t *rapid.T) {
	w.absorb(t)
	for i := range len(w.calls) {
		if c := w.calls[fmt.Sprintf("call-%d", i)]; !c.done {
			w.conclude(t, c)
		}
	}
	now := w.processes[0].clock.now()
	var first string
	for i, p := range w.processes {
		p.clock.set(now)
		p.catchUp(t)
		portrait := w.portrait(t, p.engine.Load())
		if i == 0 {
			first = portrait
		}
		if portrait != first {
			t.Fatalf("process %d:\n%s\nprocess 0:\n%s", i, difference(portrait, first), difference(first, portrait))
		}
	}
	w.processes[0].restart(t, true)
	w.processes[0].catchUp(t)
	if again := w.portrait(t, w.processes[0].engine.Load()); again != first {
		t.Fatalf("begun anew:\n%s\nfollowed:\n%s", difference(again, first), difference(first, again))
	}
	w.sameTokens(t, w.processes[0].engine.Load().views)
}

// do does one step, and says what was wrong at once.
func (w *world) do(s *step, known *targets) string {
	p, target := w.processes[s.process], known.pick(s.pick)
	switch s.kind {
	case "clock":
		p.clock.move([]time.Duration{time.Second, 2 * time.Second, 5 * time.Second, time.Minute, -time.Second, -5 * time.Second}[s.variant])
		return ""
	case "restart":
		w.mu.Lock() // gives out randomness
		defer w.mu.Unlock()
		if err := p.boot(); err != nil {
			return err.Error()
		}
		return ""
	case "verify":
		return p.verifyNow(target)
	}
	c := s.command(p.clock.now(), target)
	called := w.call(p, c, s.trouble)
	if called.err != nil {
		return ""
	}
	switch cmd := called.what.(type) {
	case oat.Generate:
		known.add(held{org: c.org, token: called.token.ID.String(), id: called.token.ID, secret: called.secret})
	case oat.Deactivate:
		return called.stillOpen(held{org: c.org, id: cmd.Token})
	case oat.Delete:
		return called.stillOpen(held{org: c.org, id: cmd.Token})
	}
	return ""
}

// verifyNow has a verifier take in what is new in the log, and a secret.
func (p *process) verifyNow(target held) string {
	e, at := p.engine.Load(), p.clock.now()
	var batch []events.Recorded
	for r, err := range p.line.ReadAll(context.Background(), e.verifier.Position()) {
		if err != nil {
			return err.Error()
		}
		batch = append(batch, r)
	}
	if err := e.verifier.Apply(context.Background(), batch); err != nil {
		return err.Error()
	}
	e.verifier.Confirm(at)
	// What it says depends on the others by now; that it can be asked is enough.
	_, _ = e.verifier.Verify(context.Background(), oat.Attempt{Organization: target.org, Secret: target.secret})
	return ""
}

// stillOpen demands that a token whose end was acknowledged does not open in the same
// process, not even once.
func (c *call) stillOpen(h held) string {
	v := c.engine.verifier
	v.Confirm(c.process.clock.now())
	if _, err := v.Recheck(context.Background(), oat.Recheck{Organization: h.org, Token: h.id}); err == nil {
		return fmt.Sprintf("%+v is done, and the token opens", c.what)
	}
	return ""
}

func (s *step) command(now time.Time, target held) command {
	c := command{org: s.org, by: s.by}
	switch s.kind {
	case "register":
		c.what = oat.Register{Organization: s.org, Plan: planFour, Owners: []string{"alice", "bob"}}
		return c
	case "generate":
		cmd := oat.Generate{Organization: s.org, Label: "ci", Expires: oat.Never(), Resources: []oat.Resource{oat.All(s.org, oat.Read)}}
		c.expiry = expiry{chosen: true}
		if s.variant < 3 {
			at := now.Add(time.Duration(s.variant+1) * time.Second)
			cmd.Expires, c.expiry.text = oat.ExpiresAt(at), at.Format(time.RFC3339Nano)
		}
		c.what = cmd
		return c
	case "change plan":
		c.what = oat.ChangePlan{Organization: s.org, Plan: []string{planTwo, planFour, planTwo, planFour, planNone, planTwo}[s.variant]}
		return c
	case "add owner":
		c.what = oat.AddOwner{Organization: s.org, Owner: []string{"bob", "carol", "alice"}[s.variant%3]}
		return c
	case "remove owner":
		c.what = oat.RemoveOwner{Organization: s.org, Owner: []string{"bob", "carol", "alice"}[s.variant%3]}
		return c
	}
	if s.variant > 0 {
		c.org = target.org // and otherwise perhaps another's
	}
	switch s.kind {
	case "edit":
		label := fmt.Sprintf("label-%d", s.variant)
		c.what = oat.Edit{Organization: c.org, Token: target.id, Label: &label, Version: s.version}
	case "deactivate":
		c.what = oat.Deactivate{Organization: c.org, Token: target.id, Version: s.version}
	case "delete":
		c.what = oat.Delete{Organization: c.org, Token: target.id, Version: s.version}
	}
	return c
}
