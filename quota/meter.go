package quota

import (
	"sync"
	"time"
)

// Rate allows Count uses in every Window. The zero Rate is without limit; any other
// allows nothing unless both fields are above 0, so that a forgotten Window does not open
// what a Count was there to limit.
type Rate struct {
	Count  int
	Window time.Duration
}

// Unlimited tells whether the rate sets no limit.
func (r Rate) Unlimited() bool { return r == Rate{} }

// Status is how a key stands against its rate.
type Status struct {
	Rate      Rate
	Remaining int       // uses left in this window
	Reset     time.Time // when the window ends and all uses are back
}

// Meter counts uses by key in fixed windows; a key's window begins with its first
// use. It keeps counts in memory, one small entry for a key that was used in its
// last window. The zero Meter is ready, and safe for concurrent use.
type Meter struct {
	mu      sync.Mutex
	windows map[string]window
	sweep   time.Time // when to look for windows that ended
}

type window struct {
	used int
	ends time.Time
}

// sweepInterval is how often entries of ended windows are let go.
const sweepInterval = time.Minute

// Take counts one use by key at now if rate has room for it, and tells whether it
// had. With an unlimited rate nothing is counted and the Status is zero.
func (m *Meter) Take(key string, rate Rate, now time.Time) (Status, bool) {
	if rate.Unlimited() {
		return Status{}, true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.current(key, rate, now)
	ok := w.remaining(rate) > 0
	if ok {
		w.used++
		m.windows[key] = w
	}
	return w.status(rate), ok
}

// Look is how key stands against rate at now, without counting a use. With an unlimited
// rate the Status is zero.
func (m *Meter) Look(key string, rate Rate, now time.Time) Status {
	if rate.Unlimited() {
		return Status{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current(key, rate, now).status(rate)
}

func (w window) status(rate Rate) Status {
	return Status{Rate: rate, Remaining: w.remaining(rate), Reset: w.ends}
}

func (w window) remaining(rate Rate) int {
	if rate.Window <= 0 {
		return 0
	}
	return max(0, rate.Count-w.used)
}

// current is the key's window at now. A window that ends later than it could have
// begun was opened by a clock that has since jumped back, and is begun anew.
func (m *Meter) current(key string, rate Rate, now time.Time) window {
	if m.windows == nil || !now.Before(m.sweep) || m.sweep.Sub(now) > sweepInterval {
		m.forget(now)
	}
	w, ok := m.windows[key]
	if !ok || !now.Before(w.ends) || w.ends.Sub(now) > rate.Window {
		return window{ends: now.Add(rate.Window)}
	}
	return w
}

func (m *Meter) forget(now time.Time) {
	kept := make(map[string]window)
	for key, w := range m.windows {
		if now.Before(w.ends) {
			kept[key] = w
		}
	}
	m.windows, m.sweep = kept, now.Add(sweepInterval)
}
