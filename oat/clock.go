package oat

import (
	"sync/atomic"
	"time"
)

// clock reads the time in nanoseconds since 1970. Without a function of the host's
// it reads the machine's monotonic clock and adds it to the last known time of day,
// because that takes half as long as asking for the time of day. Confirm sets it
// anew several times a minute at the least, so that a correction of the time of day
// is soon seen.
//
// On most systems the monotonic clock stands still while the machine sleeps. A verifier
// that wakes up lives in the time before until it is confirmed, and that is when its
// runner has seen the end of the log; if it cannot, for MaxStaleness at the most.
type clock struct {
	now  func() time.Time
	base atomic.Pointer[reading]
}

// reading is the machine's time of day, with the monotonic clock beside it in at.
type reading struct {
	at          time.Time
	nanoseconds int64
}

// set notes the time of day.
func (c *clock) set() {
	if c.now == nil {
		now := time.Now()
		c.base.Store(&reading{now, now.UnixNano()})
	}
}

func (c *clock) read() int64 {
	if c.now != nil {
		return c.now().UnixNano()
	}
	base := c.base.Load()
	return base.nanoseconds + int64(time.Since(base.at))
}
