package oat_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/oat"
)

func TestNewRecorderNeedsALog(t *testing.T) {
	if r, err := oat.NewRecorder(oat.RecorderConfig{}); r != nil || err == nil || !strings.Contains(err.Error(), "RecorderConfig.Log") {
		t.Errorf("%v, want an error that names the field", err)
	}
}

// A token's first use is in the log at once; after that there is one event for all
// its organization's tokens and interval, and none where nothing happened. Break it by
// taking all cells away in shard.take for first uses, too.
func TestOneEventForOrganizationAndInterval(t *testing.T) {
	inBubble(t, func(t *testing.T, b *book) {
		b.use(token(1))
		b.events(1)
		for range 59 {
			b.use(token(1))
			time.Sleep(time.Second)
		}
		b.events(1)
		time.Sleep(time.Second)
		b.events(2)

		b.use(token(1)) // waits, also while another token's first use is recorded
		b.use(token(100))
		b.events(3)
		if uses := b.recorded()[2].Uses; len(uses) != 1 || uses[0].Token != token(100).String() {
			t.Errorf("recorded at once: %+v, want the first use alone", uses)
		}
		b.interval()
		b.events(4)

		for range 10 {
			b.interval()
		}
		b.events(4) // nobody used anything

		for i := range 20 {
			b.use(token(2 + i))
			b.events(5 + i) // first uses
		}
		for n := range 5 {
			for range 30 {
				for i := range 20 {
					b.use(token(2 + i))
					b.use(token(2+i), func(u *oat.Use) { u.Cause = "expired" })
				}
				time.Sleep(time.Second)
			}
			b.events(24 + n)
			time.Sleep(30 * time.Second)
			b.events(24 + n + 1)
		}
	})
}

// Organizations are recorded apart, each in its own stream.
func TestOrganizationsAreRecordedApart(t *testing.T) {
	organization := func(i int) string { return "org-" + string(rune('a'+i%26)) }
	inBubble(t, func(t *testing.T, b *book) {
		streams := make(map[string]events.StreamID) // by token
		useAll := func() {
			for i := range 200 {
				b.use(token(i), func(u *oat.Use) { u.Organization = organization(i) })
				streams[token(i).String()] = events.UsageStream(organization(i))
			}
		}
		useAll()
		b.interval()
		before := len(b.recorded())
		useAll()
		b.interval()
		b.events(before + 26)
		for _, r := range records(t, b.log) {
			p, err := r.Payload()
			must(t, err)
			for _, u := range p.(*events.UsageRecorded).Uses {
				if r.Stream != streams[u.Token] {
					t.Errorf("a token recorded in %s, want %s", r.Stream, streams[u.Token])
				}
			}
		}
		b.holds(200, 2)
	})
}

// The sums are exact: first and last time, count, and the cause, address and user
// agent of the last attempt, for accepted and refused ones apart. Break it by setting
// last to u.At without comparing in cell.add.
func TestUsesAreSummedUpExactly(t *testing.T) {
	at := func(second int) time.Time { return bubbleStart().Add(time.Duration(second)*time.Second + 1500) }
	inBubble(t, func(t *testing.T, b *book) {
		b.use(token(1), func(u *oat.Use) { u.At = at(0) })
		b.events(1)
		for _, u := range []oat.Use{
			{At: at(7), Address: "a7", UserAgent: "u7"},
			{At: at(3), Address: "a3", UserAgent: "u3"}, // late to arrive
			{At: at(9), Address: "a9", UserAgent: "u9"},
			{At: at(8), Address: "a8", UserAgent: "u8"},
			{At: at(5), Cause: "expired", Address: "r5", UserAgent: "v5"},
			{At: at(6), Cause: "inactive", Address: "r6", UserAgent: "v6"},
			{At: at(4), Cause: "expired", Address: "r4", UserAgent: "v4"},
		} {
			u.Organization, u.Token = "acme", token(1)
			b.Record(u)
		}
		b.use(token(2), func(u *oat.Use) { u.At, u.Cause, u.Address, u.UserAgent = at(1), "plan", "", "" })
		b.interval()
		want := []*events.UsageRecorded{
			{Uses: []events.Use{{
				Token:    token(1).String(),
				Accepted: &events.UseSpan{First: events.Instant(at(0)), Last: events.Instant(at(0)), Count: 1, Address: "192.0.2.1", UserAgent: "docker/29"},
			}}},
			{Uses: []events.Use{{
				Token:   token(2).String(),
				Refused: &events.UseSpan{First: events.Instant(at(1)), Last: events.Instant(at(1)), Count: 1, Cause: "plan"},
			}}},
			{Uses: []events.Use{{
				Token:    token(1).String(),
				Accepted: &events.UseSpan{First: events.Instant(at(3)), Last: events.Instant(at(9)), Count: 4, Address: "a9", UserAgent: "u9"},
				Refused:  &events.UseSpan{First: events.Instant(at(4)), Last: events.Instant(at(6)), Count: 3, Cause: "inactive", Address: "r6", UserAgent: "v6"},
			}}},
		}
		if diff := cmp.Diff(want, b.recorded()); diff != "" {
			t.Errorf("recorded (-want +got):\n%s", diff)
		}
	})
}

// Refused attempts with a known secret are recorded with their cause, to the token
// whose secret it is: that is how a leak shows. Garbage and unknown secrets are not.
// Break it by returning before the recorder is told in Verify.
func TestRefusedAttemptsAreRecorded(t *testing.T) {
	g := newGate(t)
	log := memlog.New()
	recorder, err := oat.NewRecorder(oat.RecorderConfig{Log: log, Now: g.Clock.Now})
	must(t, err)
	v := oat.NewVerifier(oat.VerifierConfig{Now: g.Clock.Now, Recorder: recorder})
	must(t, v.Apply(t.Context(), g.records()))
	v.Confirm(g.Clock.Now())
	for _, a := range []oat.Attempt{
		{Organization: "acme", Secret: g.active.Secret, Address: "192.0.2.7", UserAgent: "docker/29"},
		{Organization: "acme", Secret: g.inactive.Secret},
		{Organization: "acme", Secret: g.expired.Secret},
		{Organization: "planless", Secret: g.planless.Secret},
		{Organization: "acme", Secret: g.elsewhere.Secret}, // example's
		{Organization: "acme", Secret: g.deleted.Secret},
		{Organization: "acme", Secret: oat.NewSecret("password")},
		{Organization: "acme", Secret: g.active.Secret, Service: "docker-scout"},
	} {
		_, _ = v.Verify(t.Context(), a)
	}
	must(t, recorder.Close(t.Context()))

	got := make(map[string]string)
	for _, r := range records(t, log) {
		p, err := r.Payload()
		must(t, err)
		for _, u := range p.(*events.UsageRecorded).Uses {
			switch {
			case u.Accepted != nil && u.Refused == nil && u.Accepted.Count == 1 && u.Accepted.Address == "192.0.2.7" && u.Accepted.UserAgent == "docker/29":
				got[r.Stream.Name()+" "+u.Token] = "accepted"
			case u.Refused != nil && u.Accepted == nil && u.Refused.Count == 1 && u.Refused.First.Equal(g.Clock.Now()):
				got[r.Stream.Name()+" "+u.Token] = u.Refused.Cause
			}
		}
	}
	want := map[string]string{
		"acme " + g.active.ID.String():       "accepted",
		"acme " + g.inactive.ID.String():     "inactive",
		"acme " + g.expired.ID.String():      "expired",
		"planless " + g.planless.ID.String(): "plan",
		"example " + g.elsewhere.ID.String(): "organization",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
}

// What clients say of themselves is cut and cleaned; it never keeps a use from being
// recorded. Break it by recording s.userAgent as it is.
func TestOddUserAgents(t *testing.T) {
	long := strings.Repeat("ü", 1000)
	for said, want := range map[string]string{
		"":                         "",
		"docker/29.1 (linux)":      "docker/29.1 (linux)",
		long:                       strings.Repeat("ü", 127),
		strings.Repeat("x", 1<<20): strings.Repeat("x", 255),
		"a\xff\xfeb":               "ab",
		"\xc3":                     "",
		"a\x00b\r\nc\x1b[31m\x7fd": "abc[31md",
		`"quotes" \ <html>`:        `"quotes" \ <html>`,
		"日本語":                      "日本語",
	} {
		inBubble(t, func(t *testing.T, b *book) {
			b.use(token(1), func(u *oat.Use) { u.UserAgent, u.Address = said, said })
			b.events(1)
			if span := b.recorded()[0].Uses[0].Accepted; span.UserAgent != want || span.Address != want {
				t.Errorf("%.20q recorded as %q at %q, want %q", said, span.UserAgent, span.Address, want)
			}
		})
	}
}

// More tokens than fit an event: the interval's event takes as many as fit, the rest
// come with the next, and a flush takes all of them. Break it by putting back what is
// beyond the first event also in Flush.
func TestMoreTokensThanFitAnEvent(t *testing.T) {
	const tokens = 1200
	inBubble(t, func(t *testing.T, b *book) {
		useAll := func() {
			for i := range tokens {
				b.use(token(i))
			}
		}
		useAll()
		must(t, b.Flush(t.Context()))
		b.holds(tokens, 1)

		synctest.Wait()
		before := len(b.recorded())
		useAll()
		for minute := range 3 {
			b.events(before + minute)
			b.interval()
			b.events(before + minute + 1)
		}
		b.holds(tokens, 2)

		useAll()
		must(t, b.Close(t.Context()))
		b.holds(tokens, 3)
	})
}

// holds demands that the log has each of n tokens used so often.
func (b *book) holds(n int, each int64) {
	b.t.Helper()
	accepted, _ := b.counts()
	for i := range n {
		if got := accepted[token(i).String()]; got != each {
			b.t.Fatalf("token %d used %d times, want %d", i, got, each)
		}
	}
}

// Owners see a token come alive again at once after it rested for some days.
func TestFirstUseAfterARest(t *testing.T) {
	inBubble(t, func(t *testing.T, b *book) {
		b.use(token(1))
		b.events(1)
		time.Sleep(22*time.Hour + 30*time.Minute)
		b.use(token(1))
		b.events(1) // remembered, so it waits for the interval
		time.Sleep(time.Hour)
		b.events(2)
		time.Sleep(49 * time.Hour)
		b.use(token(1))
		b.events(3)
	}, func(cfg *oat.RecorderConfig) { cfg.Interval = time.Hour })
}

func TestRecorderInterval(t *testing.T) {
	inBubble(t, func(t *testing.T, b *book) {
		b.use(token(1))
		b.events(1)
		b.use(token(1))
		time.Sleep(4 * time.Second)
		b.events(1)
		time.Sleep(time.Second)
		b.events(2)
	}, func(cfg *oat.RecorderConfig) { cfg.Interval = 5 * time.Second })
}

// Close records what is there and stops; it can be called again. That it leaves no
// goroutine the bubble sees to.
func TestCloseFlushes(t *testing.T) {
	inBubble(t, func(t *testing.T, b *book) {
		b.use(token(1))
		b.events(1)
		for range 41 {
			b.use(token(1))
		}
		must(t, b.Close(t.Context()))
		if accepted, _ := b.counts(); accepted[token(1).String()] != 42 {
			t.Errorf("%v, want 42 uses", accepted)
		}
		must(t, b.Close(t.Context()))
		b.use(token(2)) // too late, and harmless
		time.Sleep(time.Hour)
		b.events(2)
	})
}

// Without randomness there is no event's id: uses are kept until there is.
func TestRecorderWithoutRandomness(t *testing.T) {
	dry := errors.New("no randomness")
	random := &gauge{err: dry}
	random.fails.Store(true)
	inBubble(t, func(t *testing.T, b *book) {
		for range 3 {
			b.use(token(1))
			b.interval()
		}
		if err := b.Flush(t.Context()); !errors.Is(err, dry) {
			t.Errorf("error %v, want %v", err, dry)
		}
		b.events(0)
		random.fails.Store(false)
		b.interval()
		b.events(1)
		if accepted, _ := b.counts(); accepted[token(1).String()] != 3 {
			t.Errorf("%v, want 3 uses", accepted)
		}
	}, func(cfg *oat.RecorderConfig) { cfg.Rand = random })
}

// gauge is randomness that fails now and then.
type gauge struct {
	counting
	fails atomic.Bool
	err   error
}

func (g *gauge) Read(p []byte) (int, error) {
	if g.fails.Load() {
		return 0, g.err
	}
	return g.counting.Read(p)
}
