package hubapi

import (
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/oatmill/oatmill/quota"
)

// A flood from ever new addresses takes some megabytes and no more, and everybody who
// floods is stopped. Breaks when callers are counted by their name.
func TestLimiterIsBounded(t *testing.T) {
	l := newLimiter(quota.Rate{Count: 10, Window: time.Hour})
	now := time.Unix(0, 0)
	for i := range 4 * slots {
		l.take("one of many "+strconv.Itoa(i), now)
	}
	before := heap()
	for i := range 4 * slots {
		l.take("another of many "+strconv.Itoa(i), now)
	}
	if grown := heap() - before; grown > 2<<20 {
		t.Errorf("grown by %d bytes", grown)
	}
	for i := range 12 {
		if _, within := l.take("one", now); within && i >= 10 {
			t.Errorf("request %d is within the limit", i)
		}
	}
	runtime.KeepAlive(l)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
