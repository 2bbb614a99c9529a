package durable_test

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
)

// watchedOrganization is the one whose tokens are revoked.
const watchedOrganization = "acme"

// crew is several processes on one log: one that writes and some that only verify. All
// of them verify all the time.
type crew struct {
	tb        testing.TB
	address   string
	writer    *process
	followers []*process
	kept      news // a token that nobody revokes
	revoked   []revocation
}

// revocation is what the writing process told of one.
type revocation struct {
	token    uuid.UUID
	at       int64 // when the command had returned
	position events.Position
}

func newCrew(tb testing.TB, s sharedStore, followers int, cfg memberConfig) *crew {
	tb.Helper()
	address := s.start(tb)
	cfg.Store, cfg.Address, cfg.Writes = s.name, address, true
	c := &crew{tb: tb, address: address, writer: startProcess(tb, "writing", cfg)}
	c.writer.await("ready", uuid.Nil)
	cfg.Writes = false
	for i := range followers {
		own, wires := s.attach(tb, address)
		cfg.Address = own
		f := startProcess(tb, fmt.Sprintf("verifying (%d)", i+1), cfg)
		f.wires = wires
		c.followers = append(c.followers, f)
	}
	for _, f := range c.followers {
		f.await("ready", uuid.Nil)
	}
	c.writer.tell(order{Do: "register", Organization: watchedOrganization})
	c.kept = c.generate()
	c.known(c.kept)
	return c
}

func (c *crew) all() []*process { return append([]*process{c.writer}, c.followers...) }

// generate makes a token, which all processes are to present from now on.
func (c *crew) generate() news {
	c.tb.Helper()
	c.writer.tell(order{Do: "generate", Organization: watchedOrganization})
	token := c.writer.next("generated")
	for _, p := range c.all() {
		p.tell(order{Do: "watch", Organization: token.Organization, Token: token.Token, Secret: token.Secret})
	}
	return token
}

// known waits until all processes accept a token.
func (c *crew) known(token news) {
	c.tb.Helper()
	for _, p := range c.all() {
		p.await("accepted", token.Token)
	}
}

// revoke ends a token's use, by deactivation and by deletion in turn.
func (c *crew) revoke(token news) revocation {
	c.tb.Helper()
	c.writer.tell(order{
		Do: "revoke", Organization: token.Organization, Token: token.Token, After: token.Position, Delete: len(c.revoked)%2 == 1,
	})
	told := c.writer.await("revoked", token.Token)
	r := revocation{token: token.Token, at: told.At, position: told.Position}
	c.revoked = append(c.revoked, r)
	return r
}

// delays revokes so many tokens, and is for how long after each the other processes
// accepted it.
func (c *crew) delays(tokens int) (delays testkit.Samples) {
	c.tb.Helper()
	made := make([]news, tokens)
	for i := range made {
		made[i] = c.generate()
	}
	for _, token := range made {
		c.known(token)
	}
	for _, token := range made {
		c.revoke(token)
	}
	for _, r := range c.revoked[len(c.revoked)-tokens:] {
		c.writer.await("refused", r.token)
		for _, f := range c.followers {
			refused := f.await("refused", r.token)
			delays = append(delays, time.Duration(max(0, refused.At-r.at)))
		}
	}
	return delays
}

// slack is for corrections of the machine's clock, and for nothing else: that a process
// has not seen a revocation is no excuse for it to accept the token after MaxStaleness,
// however busy the machine is.
const slack = 100 * time.Millisecond

// check holds what the processes saw against what was revoked. No process accepted a token
// that it had refused as revoked, or whose revocation it had come past in the log, or, had
// it seen nothing of it, later than maxStaleness after the command returned. The
// process that revoked it accepted it never after that. None refused the token that was
// kept.
func (c *crew) check(maxStaleness time.Duration) {
	c.tb.Helper()
	for _, p := range c.all() {
		r := p.report("sweep", 1)
		seen := make(map[uuid.UUID]watched)
		for _, w := range r.Tokens {
			seen[w.Token] = w
		}
		if kept := seen[c.kept.Token]; kept.Refused != 0 {
			c.tb.Errorf("the %s process refused a token that nobody revoked", p.name)
		}
		bound := maxStaleness + slack
		if p == c.writer {
			bound = 0
		}
		for _, r := range c.revoked {
			w := seen[r.token]
			if w.Again > 0 || w.LastPosition >= r.position || w.Last > r.at+int64(bound) {
				c.tb.Errorf("the %s process accepted a token that was revoked: %d times after it had refused it; last %v after the revocation at position %d, knowing the log up to %d",
					p.name, w.Again, time.Duration(w.Last-r.at), r.position, w.LastPosition)
			}
		}
	}
}

// percentile is the duration that so much of all samples does not exceed.
func percentile(s testkit.Samples, p float64) time.Duration {
	slices.Sort(s)
	return s[max(0, int(math.Ceil(p*float64(len(s))))-1)].Round(time.Microsecond)
}

// TestManyVerifiers has four processes work on one log, of which one writes and all verify,
// and revokes tokens while that one goes on generating, editing and using others. Then it
// cuts the three others off from the log. It prints for how long tokens were accepted
// after they were revoked; how long that may be is for [BenchmarkRevocation] to say.
//
// Each of these makes it fail: Runner.pass confirming c.cfg.Now() instead of at, on the
// logs that have a server; Verifier.fresh returning true; credential.refuses without the
// case of !c.active; Verifier.Verify refusing for a cause only where now%1000 is not 0.
func TestManyVerifiers(t *testing.T) {
	if testing.Short() {
		testkit.Missing(t, "starts servers and processes: run without -short")
	}
	const maxStaleness = 1500 * time.Millisecond
	var table strings.Builder
	rows := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(rows, "log\trevocations\tother commands\trefused after p50\tp99\tmax\tcut off: refuses all after\tlog is back: answers after")
	for _, s := range sharedStores() {
		t.Run(s.name, func(t *testing.T) {
			c := newCrew(t, s, 3, memberConfig{MaxStaleness: maxStaleness, PollInterval: 100 * time.Millisecond})
			c.writer.tell(order{Do: "load", Writers: 2})
			began := time.Now()
			var delays testkit.Samples
			for range 8 {
				delays = append(delays, c.delays(6)...)
			}
			load := float64(c.writer.report("sweep", 1).Commands) / time.Since(began).Seconds()
			fmt.Fprintf(rows, "%s\t%d × %d processes\t%.0f/s\t%v\t%v\t%v", s.name, len(c.revoked), len(c.followers), load,
				percentile(delays, 0.5), percentile(delays, 0.99), percentile(delays, 1))
			stale, back := c.cutOff(t, maxStaleness)
			fmt.Fprintf(rows, "\t%v\t%v\n", stale, back)
			c.check(maxStaleness)
		})
	}
	rows.Flush()
	t.Logf("revocations under load, MaxStaleness %v\n%s", maxStaleness, &table)
}

// cutOff takes the log away from the processes that verify, from each in another way, and
// gives it back. Meanwhile one token is revoked and one is generated. stale is how long
// after the cut the last process began to refuse everyone, and back how long after the
// return of the log all of them answer again.
func (c *crew) cutOff(t *testing.T, maxStaleness time.Duration) (stale, back time.Duration) {
	if runtime.GOOS != "linux" && len(c.followers[0].wires) == 0 {
		t.Log("not cut off: how a file is taken away from a process is known for Linux only")
		return 0, 0
	}
	old := c.generate()
	c.known(old)
	for i, how := range []gate{silent, deaf, torn} {
		c.followers[i].cut(how)
	}
	began := time.Now()
	for _, f := range c.followers {
		// After 100 sweeps the runner has asked for the end of the log, so that an answer
		// from before the revocation is held back.
		f.tell(order{Do: "sweep", Sweeps: 100})
	}
	for _, f := range c.followers {
		f.await("report", uuid.Nil)
	}
	r, cut := c.revoke(old), c.generate()
	for _, f := range c.followers {
		report := f.report("until stale", 100)
		for _, w := range report.Tokens {
			if w.Last > r.at+int64(maxStaleness+slack) {
				t.Errorf("the %s process accepted a token %v after it missed a revocation", f.name, time.Duration(w.Last-r.at))
			}
			if w.Token == cut.Token && w.Accepted {
				t.Errorf("the %s process is not cut off", f.name)
			}
		}
		stale = max(stale, time.Unix(0, report.Since).Sub(began))
	}
	c.writer.report("until fresh", 100)
	for _, f := range c.followers {
		f.heal()
	}
	healed := time.Now()
	c.known(cut)
	for _, f := range c.followers {
		f.await("refused", old.Token)
	}
	back = time.Since(healed)
	c.delays(2) // all see revocations as before
	return stale.Round(time.Millisecond), back.Round(time.Millisecond)
}
