package oattest_test

import (
	"sync"
	"testing"
	"time"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/oattest"
)

// A test may do several things at once, as what it tests does. Whoever moved the clock
// last, it was confirmed at the time it shows. Break it by calling moved in Clock.Advance
// after the lock was given back.
func TestEnvIsSafeForConcurrentUse(t *testing.T) {
	env := oattest.New(t)
	_, secret := env.Generate("acme", oat.Public())
	const rounds, goroutines = 2000, 4
	for round := range rounds {
		var wg sync.WaitGroup
		for range goroutines {
			wg.Go(func() {
				env.Clock.Advance(time.Minute)
				if round%100 == 0 {
					env.Generate("acme", oat.Public())
				}
			})
		}
		wg.Wait()
		opens(t, env, "acme", secret, true)
	}
	if moved := env.Clock.Now().Sub(oattest.Start()); moved != rounds*goroutines*time.Minute {
		t.Errorf("the clock moved by %s", moved)
	}
}

func TestClockMovesWhenToldTo(t *testing.T) {
	start := time.Date(2030, 2, 3, 4, 5, 6, 7, time.UTC)
	clock := oattest.NewClock(start)
	for _, step := range []time.Duration{0, time.Nanosecond, time.Hour, -2 * time.Hour} {
		start = start.Add(step)
		clock.Advance(step)
		for range 2 { // reading it does not move it
			if now := clock.Now(); !now.Equal(start) {
				t.Errorf("%s, want %s", now, start)
			}
		}
	}
}
