package quota_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oatmill/oatmill/quota"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// A window begins with a key's first use and gives everything back at its end.
func TestMeterCountsInWindows(t *testing.T) {
	var m quota.Meter
	rate := quota.Rate{Count: 2, Window: time.Hour}
	for i, step := range []struct {
		at        time.Duration
		ok        bool
		remaining int
		reset     time.Duration
	}{
		{0, true, 1, time.Hour},
		{30 * time.Minute, true, 0, time.Hour},
		{31 * time.Minute, false, 0, time.Hour},
		{time.Hour - 1, false, 0, time.Hour},
		{time.Hour, true, 1, 2 * time.Hour},
		{5 * time.Hour, true, 1, 6 * time.Hour},
	} {
		now := start.Add(step.at)
		want := quota.Status{Rate: rate, Remaining: step.remaining, Reset: start.Add(step.reset)}
		if got, ok := m.Take("acme", rate, now); ok != step.ok || got != want {
			t.Errorf("step %d: %t %+v, want %t %+v", i, ok, got, step.ok, want)
		}
		if got := m.Look("acme", rate, now); got != want {
			t.Errorf("step %d: look %+v, want %+v", i, got, want)
		}
	}
	if got := m.Look("example", rate, start); got.Remaining != 2 {
		t.Errorf("another key has %d left, want 2", got.Remaining)
	}
}

// A rate somebody forgot a half of limits all the more. Break it by dropping the test of
// the window from window.remaining.
func TestMeterWithHalfARate(t *testing.T) {
	for _, rate := range []quota.Rate{{Count: 5}, {Count: 5, Window: -1}, {Window: time.Hour}, {Count: -1, Window: time.Hour}} {
		var m quota.Meter
		for range 3 {
			if status, ok := m.Take("acme", rate, start); ok || status.Remaining != 0 {
				t.Errorf("%+v: %t, %+v, want nothing allowed", rate, ok, status)
			}
		}
	}
	var m quota.Meter
	for range 1000 {
		if status, ok := m.Take("acme", quota.Rate{}, start); !ok || status != (quota.Status{}) {
			t.Fatalf("no rate: %t, %+v, want no limit", ok, status)
		}
	}
}

// A clock that was ahead and was put right does not keep anybody out until the time it
// had shown. Break it by dropping the comparison with rate.Window in Meter.current.
func TestMeterWhenTheClockGoesBack(t *testing.T) {
	var m quota.Meter
	rate := quota.Rate{Count: 1, Window: time.Hour}
	ahead := start.AddDate(1, 0, 0)
	if _, ok := m.Take("acme", rate, ahead); !ok {
		t.Fatal("the first use is refused")
	}
	if _, ok := m.Take("acme", rate, start); !ok {
		t.Error("kept out by a window of a wrong clock")
	}
	if _, ok := m.Take("acme", rate, start.Add(time.Minute)); ok {
		t.Error("the new window has no limit")
	}
}

// Keys that are not used any more are let go, and those in use are not. Look does not
// begin a window.
func TestMeterForgets(t *testing.T) {
	var m quota.Meter
	rate := quota.Rate{Count: 1, Window: 10 * time.Minute}
	for minute := range 60 {
		now := start.Add(time.Duration(minute) * time.Minute)
		for i := range 10 {
			if _, ok := m.Take(fmt.Sprintf("%d-%d", minute, i), rate, now); !ok {
				t.Fatal("a new key is refused")
			}
			m.Look(fmt.Sprintf("looked-%d-%d", minute, i), rate, now)
		}
		if minute >= 5 {
			if _, ok := m.Take(fmt.Sprintf("%d-0", minute-5), rate, now); ok {
				t.Fatal("a key in its window was forgotten")
			}
		}
	}
	if n := quota.Keys(&m); n < 100 || n > 120 {
		t.Errorf("%d keys kept, want those of the last ten or eleven minutes", n)
	}
}

// However many take at once, no more get through than the rate allows.
func TestMeterUnderContention(t *testing.T) {
	var m quota.Meter
	var taken atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if _, ok := m.Take("acme", quota.Rate{Count: 100, Window: time.Hour}, start); ok {
					taken.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := taken.Load(); n != 100 {
		t.Errorf("%d got through, want 100", n)
	}
}
