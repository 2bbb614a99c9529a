package invariants

import (
	"context"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
)

// limits is I1. It fails after each of these changes to the code:
//
//   - oat/commands.go, Generate.decide: plan.Check(len(o.tokens)-1)
//   - the same, with a count of active tokens only
//   - quota/quota.go, Plan.Check: count > p.Tokens
//   - oat/execute.go, appendOnce: append at events.Any instead of expected (the
//     sequential runs see it through rivals, the concurrent ones by themselves)
func limits(t *testing.T, h Harness) {
	t.Run("sequential", func(t *testing.T) {
		check(t, h, 100, func(rt *rapid.T) {
			s := sequence(newWorld(t, rt, h, 2), rt)
			actions := s.actions("generate", "generate", "generate", "generate", "delete", "deactivate", "change plan", "change plan", "clocks", "restart", "register")
			actions[""] = func(rt *rapid.T) { s.absorb(rt) }
			rt.Repeat(actions)
			s.reread(rt, func(before state, r events.Recorded) string { return s.rules.breaksI1(before, r) })
		})
	})
	t.Run("concurrent", func(t *testing.T) {
		storm(t, h, "generate", "generate", "generate", "generate", "delete", "delete", "change plan", "restart")
	})
}

// inactiveOnlyDelete is I2. It fails after each of these changes to the code:
//
//   - oat/commands.go, editable: case false instead of case !t.Active
//   - the same instead of case t.Expires.Reached(now)
//   - oat/expiry.go, Reached: now.After(e.at), which is one instant late
//   - oat/organization.go, fold: a TokenDeleted sets t.Active = false and leaves the
//     token where it is
func inactiveOnlyDelete(t *testing.T, h Harness) {
	t.Run("sequential", func(t *testing.T) {
		check(t, h, 100, func(rt *rapid.T) {
			s := sequence(newWorld(t, rt, h, 2), rt)
			actions := s.actions("generate", "generate", "edit", "edit", "edit", "deactivate", "delete", "clocks", "clocks", "restart", "add owner", "remove owner")
			actions[""] = func(rt *rapid.T) { s.absorb(rt) }
			rt.Repeat(actions)
			s.reread(rt, breaksI2)
		})
	})
	t.Run("concurrent", func(t *testing.T) {
		storm(t, h, "generate", "edit", "edit", "deactivate", "delete", "clock", "verify")
	})
}

// reread reads the log from zero, as a program does that starts on it, and demands
// that it is what was judged, record by record, and breaks nothing.
func (w *world) reread(t rapid.TB, breaks func(state, events.Recorded) string) {
	w.absorb(t)
	w.reopen(t, true)
	states, n := make(map[events.StreamID]state), 0
	for r, err := range w.log.ReadAll(context.Background(), 0) {
		if err != nil {
			t.Fatalf("ReadAll: %v", err)
		}
		if n == len(w.records) || !r.Equal(w.records[n]) {
			t.Fatalf("record %d of %d is %+v", n, len(w.records), r)
		}
		n++
		if r.Stream.Kind() != events.KindOrganization {
			continue
		}
		before := states[r.Stream]
		if broken := breaks(before, r); broken != "" {
			t.Fatalf("%s", broken)
		}
		if states[r.Stream], err = before.after(r); err != nil {
			t.Fatalf("%v", err)
		}
	}
	if n != len(w.records) {
		t.Fatalf("the log has %d records, and had %d", n, len(w.records))
	}
}

// replay is I3. It fails after each of these changes to the code:
//
//   - projection/model.go, take: records at or below the position are not skipped
//   - projection/token.go, edit: the description is not taken over
//   - oat/verifier_follow.go, follow: records of the process's own commands are folded again
func replay(t *testing.T, h Harness) {
	t.Run("followers", func(t *testing.T) {
		check(t, h, 50, func(rt *rapid.T) {
			w := newWorld(t, rt, h, 2)
			w.recording = true
			s := sequence(w, rt)
			actions := s.actions("generate", "generate", "edit", "edit", "edit", "deactivate", "delete", "change plan", "remove owner", "register",
				"restart", "reopen", "clocks", "follow", "follow", "verify", "verify", "lose", "edge", "probe")
			actions["replay"] = s.replayed
			actions[""] = func(rt *rapid.T) { s.absorb(rt) }
			rt.Repeat(actions)
			s.replayed(rt)
		})
	})
}

// replayed compares a process that followed the log live with one that reads it from
// zero, at another pace, and with the rules.
func (s *sequential) replayed(t *rapid.T) {
	p, how := s.process(t), drawPace(t)
	s.settle(t)
	p.catchUp(t)
	live := p.engine.Load()
	s.sameTokens(t, live.views)
	how.batches = 0
	again := &engine{views: newViews(), verifier: oat.NewVerifier(oat.VerifierConfig{Plans: plans(), Now: p.clock.now})}
	feed(t, append(again.views.all(), projection.Projection(again.verifier)), slices.Clone(s.records), how)
	again.verifier.Confirm(p.clock.now())
	if a, b := live.verifier.Status(), again.verifier.Status(); a.Credentials != b.Credentials || a.Position != b.Position {
		t.Fatalf("the live verifier stands at %+v, one that began anew at %+v", a, b)
	}
	if a, b := s.portrait(t, live), s.portrait(t, again); a != b {
		t.Fatalf("followed live:\n%s\nread from zero:\n%s", difference(a, b), difference(b, a))
	}
}

// difference is the lines of a that b has not.
func difference(a, b string) string {
	lines := strings.Split(b, "\n")
	only := slices.DeleteFunc(strings.Split(a, "\n"), func(line string) bool { return slices.Contains(lines, line) })
	return strings.Join(only, "\n")
}

// countsAndLastUsed is I4. It fails after each of these changes to the code:
//
//   - projection/counts.go, delete: without o.inactive--
//   - projection/lastused.go, merge: the span that comes last is taken for the latest
//   - oat/flush.go, appendEvent: uses that could not be appended are not put back
//   - the same: uses are put back when it is unknown whether they were appended
//   - oat/recorder.go, cell.add: the use that comes last is taken for the latest
//   - oat/flush.go, span.merge: the first use of what is put back is forgotten
func countsAndLastUsed(t *testing.T, h Harness) {
	t.Run("sequential", func(t *testing.T) {
		check(t, h, 80, func(rt *rapid.T) {
			w := newWorld(t, rt, h, 2)
			w.recording = true
			s := sequence(w, rt)
			actions := s.actions("generate", "generate", "deactivate", "delete", "change plan", "register", "clocks", "verify", "verify", "verify", "edge",
				"follow", "restart", "lose", "lose", "reopen")
			actions["settle"] = s.settled
			actions[""] = func(rt *rapid.T) {
				s.processes[0].catchUp(rt)
				s.sameTokens(rt, s.processes[0].engine.Load().views)
			}
			rt.Repeat(actions)
			s.settled(rt)
		})
	})
	t.Run("concurrent", func(t *testing.T) {
		check(t, h, 20, func(rt *rapid.T) {
			w := newWorld(t, rt, h, 2)
			w.recording = true
			s := sequence(w, rt)
			for range 3 {
				s.useAtOnce(rt)
				s.moveClocks(rt)
				s.command("deactivate")(rt)
			}
			s.settled(rt)
		})
	})
}

// settled demands that all uses are recorded, and that the read models know them.
func (s *sequential) settled(t *rapid.T) {
	s.settle(t)
	for _, p := range s.processes {
		p.follow(t, pace{size: 3, again: 2})
		s.sameUses(t, p.engine.Load().lastUsed)
	}
}

// verification is I5. It fails after each of these changes to the code:
//
//   - oat/verifier.go, refuses: now > c.expires
//   - the same, without any of its four cases
//   - oat/verifier.go, fresh: without 0 <= age, or without age <= MaxStaleness
//   - oat/verifier.go, observe: without t.required, or without reading what came before
//   - oat/fold.go, foldPayload: a deactivated token stays active
//   - oat/execute.go, append: without telling the verifier
//   - oat/access.go, belongs: without looking for the slash
//   - oat/access.go, level: public is whatever is not VisibilityPrivate
func verification(t *testing.T, h Harness) {
	check(t, h, 120, func(rt *rapid.T) {
		s := sequence(newWorld(t, rt, h, 2), rt)
		actions := s.actions("generate", "generate", "edit", "deactivate", "delete", "change plan", "register", "clocks", "restart",
			"follow", "verify", "verify", "verify", "verify", "edge", "edge", "blind")
		actions[""] = func(rt *rapid.T) {
			for _, p := range s.processes {
				s.verifyNewest(rt, p)
			}
		}
		rt.Repeat(actions)
	})
}

// verifyNewest presents the newest secrets to a process as it is: caught up or not,
// sure of itself or not.
func (s *sequential) verifyNewest(t rapid.TB, p *process) {
	asks := []ask{
		{oat.Pull, acme + "/api", oat.VisibilityPrivate}, {oat.Push, acme + "/api", oat.VisibilityPrivate}, {oat.Push, acme + "/web", oat.VisibilityUnknown},
		{oat.Pull, "library/nginx", oat.VisibilityPublic}, {oat.Pull, "library/nginx", oat.VisibilityUnknown}, {oat.Pull, acme + "x/api", oat.VisibilityPrivate},
	}
	for _, h := range s.held[max(0, len(s.held)-3):] {
		p.attempt(t, oat.Attempt{Organization: h.org, Secret: h.secret}, asks)
		p.recheck(t, h.org, h, asks)
	}
}

// secrets is I6. It fails after each of these changes to the code:
//
//   - oat/secret.go, Format, MarshalText or LogValue: the text instead of "[redacted]"
//   - oat/secret.go, ParseSecret: the error quotes the text
//   - oat/verifier.go, logRefusal: the organization as it was given, which is the
//     secret where somebody exchanged user name and password
//   - oat/service.go, Generate: a part of the secret in the correlation
//   - oat/text.go, characterProblem: without secretProblem
//   - oat/access.go, clip: without maskBeginning
//   - oat/flush.go, useText: without maskBeginning
//   - oat/verifier_refusals.go, log: the user agent as it was given
func secrets(t *testing.T, h Harness) {
	check(t, h, 8, func(rt *rapid.T) {
		w := newWorld(t, rt, h, 2)
		w.recording, w.ears.open = true, true
		s := sequence(w, rt)
		actions := s.actions("generate", "generate", "generate", "edit", "deactivate", "delete", "change plan", "clocks", "verify", "verify", "verify", "edge", "follow", "restart", "lose")
		actions["parse"], actions["misplace"], actions["misplace again"] = s.parse, s.misplace, s.misplace
		rt.Repeat(actions)
		s.listen(rt)
	})
}

// parse has texts refused that are nearly somebody's secret.
func (s *sequential) parse(t *rapid.T) {
	if len(s.held) == 0 {
		t.Skip("nobody has a secret")
	}
	h := rapid.SampledFrom(s.held).Draw(t, "secret of")
	for _, distort := range distortions() {
		secret, err := oat.ParseSecret(distort(h.secret.Reveal()))
		s.ears.hear(secret, err)
	}
	secret, err := oat.ParseSecret(h.secret.Reveal())
	if err != nil {
		t.Fatalf("ParseSecret of a genuine secret: %v", err)
	}
	s.ears.hearClosely(oat.Attempt{Organization: h.org, Secret: secret})
}

// listen demands that no part of a secret was heard anywhere.
func (s *sequential) listen(t *rapid.T) {
	s.settle(t)
	for _, p := range s.processes {
		p.catchUp(t)
		p.engine.Load().verifier.FlushLog()
		s.ears.note(s.portrait(t, p.engine.Load()))
	}
	var all []oat.Secret
	for _, h := range s.held {
		all = append(all, h.secret)
	}
	if heard := s.ears.overheard(all); heard != "" {
		t.Fatalf("part of a secret was heard: %s", heard)
	}
}

// acknowledged is I7. It fails after each of these changes to the code:
//
//   - oat/execute.go, appendOnce: another ID for every try
//   - the same: an error that follows on an unknown outcome is returned as it is
//   - oat/execute.go, append: an unknown outcome is taken for success
//   - oat/execute.go, run: a conflict is taken for success
//   - oat/execute.go, run: a refusal is believed without looking into the log
func acknowledged(t *testing.T, h Harness) {
	t.Run("sequential", func(t *testing.T) {
		check(t, h, 80, func(rt *rapid.T) {
			s := sequence(newWorld(t, rt, h, 3), rt)
			s.troubled = 1
			actions := s.actions("register", "change plan", "add owner", "remove owner", "owners", "generate", "generate", "edit", "deactivate", "delete", "reopen", "clocks")
			actions[""] = func(rt *rapid.T) { s.absorb(rt) }
			rt.Repeat(actions)
			s.reread(rt, func(state, events.Recorded) string { return "" })
		})
	})
	t.Run("concurrent", func(t *testing.T) {
		storm(t, h, "generate", "edit", "delete", "change plan", "add owner", "remove owner", "restart", "trouble")
	})
}
