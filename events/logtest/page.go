package logtest

import (
	"fmt"
	"math"
	"runtime"

	"github.com/oatmill/oatmill/events"
)

func pageCases() []Case {
	return []Case{{
		"a long log is read without holes",
		"Records are lost or doubled where one page ends and the next begins, and only in logs longer than any test's.",
		longLogsAreWhole,
	}, {
		"a read costs what it yields, not what the log holds",
		"Each batch of a follower loads everything behind it, so that catching up with n records costs n², and a reader of " +
			"ten records ends the process for want of memory.",
		readsCostWhatTheyYield,
	}}
}

// longLog has records of two streams in turn, enough for several pages of any
// sensible size, with size bytes of data in each record.
func (s *subject) longLog(records, size int) []events.Recorded {
	s.Helper()
	var all []events.Recorded
	data := fmt.Appendf(nil, `{"pad":"%s"}`, long("x", size))
	for i := 0; len(all) < records; i++ {
		batch := s.batch(100)
		for j := range batch {
			batch[j].Data = data
		}
		stream := []events.StreamID{acme, "usage/acme"}[i%2]
		all = append(all, s.append(stream, events.Any, batch...)...)
	}
	return all
}

func longLogsAreWhole(s *subject) {
	all := s.longLog(6000, 20)
	s.holds(all)
	byStream := make(map[events.StreamID][]events.Recorded)
	for _, r := range all {
		byStream[r.Stream] = append(byStream[r.Stream], r)
	}
	for stream, want := range byStream {
		s.same("ReadStream "+string(stream), s.stream(stream, 0), want)
	}
	for _, i := range []int{0, 1, 99, 127, 128, 255, 256, 499, 500, 511, 512, 999, 1000, 1023, 1024, 2047, 2048, 4095, 5998} {
		s.same(fmt.Sprintf("ReadAll after record %d", i), s.all(all[i].Position), all[i+1:])
	}
}

// readsCostWhatTheyYield counts the bytes that are allocated in this process, which
// is no measure of time and the same on every machine. A log that runs here, or whose
// client does, cannot have read what it did not find room for. One read that is cheap
// is the proof: what a server in this process allocates in the meantime, filling its
// caches or bringing a replica up to date, comes on top of a read and ends some time.
func readsCostWhatTheyYield(s *subject) {
	const records, size, attempts = 8000, 2500, 50
	all := s.longLog(records, size)
	usage := all[len(all)-1].Stream
	for _, read := range []struct {
		name string
		ten  func() []events.Recorded
	}{
		{"the first ten of ReadAll", func() []events.Recorded { return s.collect("ReadAll", atMost(10, s.log.ReadAll(s.ctx, 0))) }},
		{"the last ten of ReadAll", func() []events.Recorded { return s.all(all[len(all)-11].Position) }},
		{"the first ten of ReadStream", func() []events.Recorded { return s.collect("ReadStream", atMost(10, s.log.ReadStream(s.ctx, acme, 0))) }},
		{"the last ten of ReadStream", func() []events.Recorded { return s.stream(usage, all[len(all)-11].Version) }},
	} {
		least := uint64(math.MaxUint64)
		for i := 0; i < attempts && least > records*size/2; i++ {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got := read.ten()
			runtime.ReadMemStats(&after)
			if len(got) != 10 {
				s.Errorf("%s: %d records", read.name, len(got))
			}
			least = min(least, after.TotalAlloc-before.TotalAlloc)
		}
		if least > records*size/2 {
			s.Errorf("%s: %d bytes were allocated, half of the log", read.name, least)
		}
	}
}
