package logtest

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/oatmill/oatmill/events"
)

func readCases() []Case {
	return []Case{{
		"an empty log and an unknown stream are empty",
		"The first start of a program ends with an error for an organization that nobody has registered yet.",
		unknownIsEmpty,
	}, {
		"a read resumes after any point",
		"A follower that goes on from its checkpoint is given a record twice, or not at all, where the checkpoint falls on " +
			"the border of a page.",
		readsResumeAnywhere,
	}, {
		"a sequence can be ranged over again",
		"A retry loop around a read finds nothing the second time and takes the log for empty.",
		sequencesCanBeRepeated,
	}, {
		"a read can be broken off",
		"Each read that is left early keeps its connection. After a hundred of them nobody gets one any more.",
		readsCanBeLeft,
	}, {
		"a panic in the reader's loop leaves the log usable",
		"A handler panics, net/http recovers, and the connection or lock that the read held is gone for good.",
		panicsAreSurvived,
	}, {
		"appends go on while a read is open",
		"A log that keeps a lock or a transaction during the caller's work stops when the caller appends from within its loop, " +
			"or lets one slow reader hold up every writer.",
		appendsPassOpenReads,
	}, {
		"a read yields all that was there when it began, while others append",
		"A read over pages that are counted by offset skips records when the log grows under it.",
		readsAreCompleteWhileAppending,
	}}
}

func unknownIsEmpty(s *subject) {
	if got := s.all(0); len(got) > 0 {
		s.Errorf("an empty log yields %d records", len(got))
	}
	if got := s.stream(acme, 0); len(got) > 0 {
		s.Errorf("an unknown stream of an empty log yields %d records", len(got))
	}
	s.add(acme, 1)
	if got := s.stream("organization/beta", 0); len(got) > 0 {
		s.Errorf("an unknown stream yields %d records", len(got))
	}
}

func readsResumeAnywhere(s *subject) {
	streams := []events.StreamID{acme, "usage/acme", "organization/beta"}
	byStream := make(map[events.StreamID][]events.Recorded)
	var all []events.Recorded
	for i := range 24 {
		stream := streams[i*i%len(streams)]
		added := s.add(stream, 1+i%3)
		byStream[stream] = append(byStream[stream], added...)
		all = append(all, added...)
	}
	s.same("ReadAll after -1", s.all(-1), all)
	s.same("ReadAll after the greatest position", s.all(math.MaxInt64), nil)
	for i, r := range all {
		s.same(fmt.Sprintf("ReadAll after %d", r.Position), s.all(r.Position), all[i+1:])
		s.same(fmt.Sprintf("ReadAll after %d", r.Position-1), s.all(r.Position-1), all[i:])
	}
	for stream, records := range byStream {
		s.same("ReadStream after -1", s.stream(stream, -1), records)
		s.same("ReadStream after the greatest version", s.stream(stream, math.MaxInt64), nil)
		for i := range len(records) + 2 {
			s.same(fmt.Sprintf("ReadStream %s after %d", stream, i), s.stream(stream, events.Version(i)), records[min(i, len(records)):])
		}
	}
}

func sequencesCanBeRepeated(s *subject) {
	want := s.add(acme, 3)
	for name, read := range s.reads(s.ctx) {
		s.same(name, s.collect(name, read), want)
		s.same(name+" again", s.collect(name, read), want)
	}
}

// reads are the two ways to read a log that has one stream.
func (s *subject) reads(ctx context.Context) map[string]iter.Seq2[events.Recorded, error] {
	return map[string]iter.Seq2[events.Recorded, error]{
		"ReadAll":    s.log.ReadAll(ctx, 0),
		"ReadStream": s.log.ReadStream(ctx, acme, 0),
	}
}

func readsCanBeLeft(s *subject) {
	want := s.add(acme, 10)
	for i := range 200 {
		for name, read := range s.reads(s.ctx) {
			left := i % len(want)
			for r, err := range read {
				if err != nil {
					s.Fatalf("%s, broken off %d times before: %v", name, i, err)
				}
				if left--; left <= 0 || r.Version == want[len(want)-1].Version {
					break
				}
			}
		}
	}
	s.holds(append(want, s.add(acme, 1)...))
}

func panicsAreSurvived(s *subject) {
	want := s.add(acme, 10)
	panicking := func(read iter.Seq2[events.Recorded, error]) (recovered any) {
		defer func() { recovered = recover() }()
		for range read {
			panic("the reader's own")
		}
		return nil
	}
	for range 50 {
		for name, read := range s.reads(s.ctx) {
			if got := panicking(read); got != "the reader's own" {
				s.Fatalf("%s made of the reader's panic: %v", name, got)
			}
		}
	}
	s.promptly("an append after panics in readers", func() error {
		_, err := s.log.Append(s.ctx, acme, 10, s.envelope())
		return err
	})
	s.same("the log", s.all(0)[:10], want)
}

func appendsPassOpenReads(s *subject) {
	s.add(acme, 40)
	for name, read := range s.reads(s.ctx) {
		// Ten reads that stand still in the middle, more than a small pool of
		// connections has.
		for range 10 {
			next, stop := iter.Pull2(read)
			defer stop()
			if _, err, ok := next(); err != nil || !ok {
				s.Fatalf("%s: %v, %v", name, err, ok)
			}
		}
		s.promptly("appends beside ten open reads by "+name, func() error {
			for range 5 {
				if _, err := s.log.Append(s.ctx, acme, events.Any, s.envelope()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for name, read := range s.reads(s.ctx) {
		s.promptly("an append from within a loop over "+name, func() error { return s.appendWithin(read) })
	}
}

// appendWithin appends in the first rounds of a loop over read.
func (s *subject) appendWithin(read iter.Seq2[events.Recorded, error]) error {
	rounds := 0
	for _, err := range read {
		if err != nil {
			return err
		}
		if rounds++; rounds > 5 {
			return nil
		}
		if _, err := s.log.Append(s.ctx, acme, events.Any, s.envelope()); err != nil {
			return err
		}
	}
	return fmt.Errorf("the read ended after %d of at least 40 records", rounds)
}

func readsAreCompleteWhileAppending(s *subject) {
	before := s.append(acme, 0, s.batch(events.MaxBatch)...)
	for range 3 {
		for name, read := range s.reads(s.ctx) {
			records, err := s.readAndAppend(atMost(len(before)+20, read))
			if err != nil {
				s.Fatalf("%s: %v", name, err)
			}
			s.same(name, records[:min(len(records), len(before))], before)
			if !slices.IsSortedFunc(records, func(a, b events.Recorded) int { return cmp.Compare(a.Position, b.Position) }) {
				s.Fatalf("%s: positions do not increase", name)
			}
		}
	}
}

// readAndAppend reads, and makes the log grow under the read all the time.
func (s *subject) readAndAppend(read iter.Seq2[events.Recorded, error]) (records []events.Recorded, err error) {
	for r, err := range read {
		if err != nil {
			return nil, err
		}
		if records = append(records, r); len(records)%50 > 0 {
			continue
		}
		for _, stream := range []events.StreamID{acme, "usage/acme"} {
			if _, err := s.log.Append(s.ctx, stream, events.Any, s.envelope()); err != nil {
				return nil, err
			}
		}
	}
	return records, nil
}

// atMost breaks a read off after n records. A reader may never get ahead of a writer
// that does not rest.
func atMost(n int, read iter.Seq2[events.Recorded, error]) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		left := n
		for r, err := range read {
			if left--; !yield(r, err) || left <= 0 {
				return
			}
		}
	}
}
