package oat_test

import (
	"errors"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/oattest"
	"github.com/oatmill/oatmill/quota"
)

// watch is a verifier that knows one token, with a clock that does not confirm it.
type watch struct {
	*oat.Verifier
	t      *testing.T
	clock  *oattest.Clock
	secret oat.Secret
	token  oat.Token
}

func newWatch(t *testing.T, start time.Time, maxStaleness time.Duration) *watch {
	t.Helper()
	w := &watch{t: t, clock: oattest.NewClock(start)}
	d := newDesk(t)
	w.token, w.secret = d.generate()
	w.Verifier = oat.NewVerifier(oat.VerifierConfig{Now: w.clock.Now, MaxStaleness: maxStaleness})
	must(t, w.Apply(t.Context(), d.records()))
	return w
}

// isStale demands that the verifier refuses everyone, or that it does not.
func (w *watch) isStale(want bool) {
	w.t.Helper()
	_, err := w.Verify(w.t.Context(), oat.Attempt{Organization: "acme", Secret: w.secret})
	_, again := w.Recheck(w.t.Context(), oat.Recheck{Organization: "acme", Token: w.token.ID})
	stale := error(nil)
	if want {
		stale = oat.ErrStale
	}
	if err != stale || again != stale || w.Status().Stale != want || want && !errors.Is(err, oat.ErrRefused) {
		w.t.Fatalf("verify: %v, recheck: %v, status stale: %t; want %v", err, again, w.Status().Stale, stale)
	}
}

func TestStaleness(t *testing.T) {
	for configured, limit := range map[time.Duration]time.Duration{
		0: 10 * time.Second, -time.Hour: 10 * time.Second, time.Second: time.Second, 24 * time.Hour: 24 * time.Hour,
	} {
		w := newWatch(t, oattest.Start(), configured)
		w.isStale(true) // fed, but never told that this is all
		w.Confirm(w.clock.Now())
		w.isStale(false)
		w.clock.Advance(limit)
		w.isStale(false)
		w.clock.Advance(1)
		w.isStale(true)
		w.Confirm(w.clock.Now())
		w.isStale(false)
	}
}

// A confirmation is worth what its time says, not when it comes.
func TestConfirmationOfThePast(t *testing.T) {
	w := newWatch(t, oattest.Start(), 0)
	w.Confirm(w.clock.Now().Add(-10*time.Second - 1))
	w.isStale(true)
	w.Confirm(w.clock.Now().Add(-10 * time.Second))
	w.isStale(false)
	w.Confirm(time.Time{})
	w.isStale(true)
}

// A clock that goes back makes the age of a confirmation unknown. Break it by dropping
// the test 0 <= age in Verifier.fresh.
func TestClockThatGoesBackMakesTheVerifierUnsure(t *testing.T) {
	w := newWatch(t, oattest.Start(), 0)
	w.Confirm(w.clock.Now())
	w.clock.Advance(-1)
	w.isStale(true)
	w.clock.Advance(-24 * time.Hour)
	w.isStale(true)
	w.Confirm(w.clock.Now())
	w.isStale(false)
}

// A machine without a battery for its clock begins in 1970. Break it by letting 0
// stand for a confirmation that never was.
func TestNeverConfirmedIsStaleAtAnyTime(t *testing.T) {
	for _, now := range []time.Time{
		time.Unix(0, 0), time.Unix(5, 0), time.Unix(-5, 0), time.Unix(0, 1), oattest.Start(),
		time.Date(1700, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2250, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		w := newWatch(t, now, 0)
		w.isStale(true)
		if at := w.Status().Confirmed; !at.IsZero() {
			t.Errorf("confirmed at %s without having been", at)
		}
		w.Confirm(now)
		w.isStale(false)
		if at := w.Status().Confirmed; !at.Equal(now) {
			t.Errorf("confirmed at %s, want %s", at, now)
		}
	}
}

func TestStatus(t *testing.T) {
	d := newDesk(t)
	d.register("other", quota.Team)
	token, _ := d.generate()
	d.generate()
	d.delete(token.ID)
	records := d.records()
	v := oat.NewVerifier(oat.VerifierConfig{Now: d.Clock.Now})
	if got := v.Status(); !reflect.DeepEqual(got, oat.VerifierStatus{Stale: true}) || v.Position() != 0 {
		t.Errorf("new verifier: %+v", got)
	}
	d.Clock.Advance(3 * time.Second)
	must(t, v.Apply(t.Context(), records[:4]))
	if got, want := v.Status(), (oat.VerifierStatus{
		Position: records[3].Position, Stale: true, FollowDelay: 3 * time.Second, Credentials: 2, Organizations: 2,
	}); !reflect.DeepEqual(got, want) || v.Position() != want.Position {
		t.Errorf("status %+v, want %+v", got, want)
	}
	d.Clock.Advance(-time.Hour)
	must(t, v.Apply(t.Context(), records[4:]))
	v.Confirm(d.Clock.Now())
	got := v.Status()
	if !got.Confirmed.Equal(d.Clock.Now()) {
		t.Errorf("confirmed at %s, want %s", got.Confirmed, d.Clock.Now())
	}
	got.Confirmed = time.Time{}
	if want := (oat.VerifierStatus{Position: records[4].Position, Credentials: 1, Organizations: 2}); !reflect.DeepEqual(got, want) {
		t.Errorf("status %+v, want %+v", got, want)
	}
}

// Verifying while confirmations come in is never told that a confirmation came from
// the future. Break it by reading the clock before the confirmation in Verifier.fresh.
func TestConfirmationsDoNotDisturbVerify(t *testing.T) {
	d := newDesk(t)
	_, secret := d.generate()
	v := oat.NewVerifier(oat.VerifierConfig{}) // the machine's clock
	must(t, v.Apply(t.Context(), d.records()))
	v.Confirm(time.Now())
	var done atomic.Bool
	begun, confirmed := make(chan struct{}), make(chan int)
	go func() {
		v.Confirm(time.Now())
		close(begun) // on a busy machine everything could be verified before
		n := 1
		for ; !done.Load(); n++ {
			v.Confirm(time.Now())
		}
		confirmed <- n
	}()
	<-begun
	const verified = 20_000
	refused := 0
	for range verified {
		if _, err := v.Verify(t.Context(), oat.Attempt{Organization: "acme", Secret: secret}); err != nil {
			refused++
		}
	}
	done.Store(true)
	if n := <-confirmed; refused > 0 || n == 0 {
		t.Errorf("%d of %d refused beside %d confirmations", refused, verified, n)
	}
}
