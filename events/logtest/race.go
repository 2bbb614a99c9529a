package logtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/oatmill/oatmill/events"
)

func raceCases() []Case {
	var cases []Case
	for _, writers := range []int{8, 64} {
		cases = append(cases, Case{
			fmt.Sprintf("%d writers race on one stream", writers),
			"Under load a decision is recorded twice, or acknowledged and not recorded, or two writers both win the same version.",
			func(s *subject) { s.race([]*subject{s}, writers, acme) },
		}, Case{
			fmt.Sprintf("%d writers race on many streams", writers),
			"Writers that are committed together get each other's versions, replies or errors.",
			func(s *subject) {
				s.race([]*subject{s}, writers, acme, "usage/acme", "organization/beta", "organization/gamma")
			},
		})
	}
	return append(cases, Case{
		"a follower misses nothing, however late a writer commits",
		"A transaction draws a position, another one draws the next and commits first, a follower reads past the hole, and what then fills it " +
			"is never read. With database sequences this has lost events in library after library.",
		func(s *subject) { s.followRacingWriters([]*subject{s}) },
	}, Case{
		"a reader never sees a part of a batch",
		"A token exists for a moment before the event that limits what it may reach.",
		batchesAppearWhole,
	}, Case{
		"losers of a race leave no trace",
		"A batch that met a conflict in the middle of a group commit takes its neighbours with it, or stays although its writer was refused.",
		losersLeaveNoTrace,
	})
}

// race lets writers append one batch after the other, each under the version it
// knows, deciding anew after every conflict. In the end every acknowledged batch is
// there exactly once, as its writer was told, and nothing else is.
func (s *subject) race(handles []*subject, writers int, streams ...events.StreamID) {
	s.Helper()
	r := newRecorder()
	acknowledged := make([][]events.Recorded, writers)
	s.concurrently(writers, func(w int) error {
		log, stream := handles[w%len(handles)].log, streams[w%len(streams)]
		var version events.Version
		for i := range s.size(max(2, 256/writers)) {
			batch := s.batch(1 + i%2)
			for won := false; !won; {
				recorded, seen, err := r.append(s.ctx, log, stream, version, batch)
				if err != nil {
					return fmt.Errorf("writer %d, batch %d: %w", w, i, err)
				}
				acknowledged[w] = append(acknowledged[w], recorded...)
				version, won = seen, recorded != nil
			}
		}
		return nil
	})
	if err := r.explain(); err != nil {
		s.Fatal(err)
	}
	all := slices.Concat(acknowledged...)
	slices.SortFunc(all, func(a, b events.Recorded) int { return cmp.Compare(a.Position, b.Position) })
	for _, handle := range handles {
		handle.holds(all)
	}
	for _, stream := range streams {
		s.verified(stream)
	}
}

// followRacingWriters lets readers follow the log while many writers append to many
// streams. What a follower has put together from its steps must be the log.
func (s *subject) followRacingWriters(handles []*subject) {
	s.Helper()
	const writers, followers = 8, 2
	writing, written := context.WithCancel(s.ctx)
	followed := make([][]events.Recorded, followers)
	var left atomic.Int32
	left.Store(writers)
	s.concurrently(writers+followers, func(i int) (err error) {
		log := handles[i%len(handles)].log
		if i >= writers {
			followed[i-writers], err = s.follow(log, writing)
			return err
		}
		defer func() {
			if left.Add(-1) == 0 {
				written()
			}
		}()
		for n := range s.size(64) {
			stream := events.StreamID(fmt.Sprintf("usage/w%d", (i+n)%16))
			if _, err := log.Append(s.ctx, stream, events.Any, s.batch(1+n%3)...); err != nil {
				return err
			}
		}
		return nil
	})
	all := s.all(0)
	for _, records := range followed {
		s.same("what a follower saw", records, all)
	}
}

// follow reads from the last position on, again and again, until writing has ended
// and then once more.
func (s *subject) follow(log events.Log, writing context.Context) (seen []events.Recorded, err error) {
	var last events.Position
	for over := false; !over; {
		over = writing.Err() != nil // asked before the read, which then is the last
		for r, err := range log.ReadAll(s.ctx, last) {
			if err != nil {
				return nil, err
			}
			if r.Position <= last {
				return nil, fmt.Errorf("position %d was read after %d", r.Position, last)
			}
			last = r.Position
			seen = append(seen, r)
		}
	}
	return seen, nil
}

func batchesAppearWhole(s *subject) {
	const size = 5
	writing, written := context.WithCancel(s.ctx)
	s.concurrently(3, func(i int) error {
		if i == 0 {
			defer written()
			for range s.size(128) {
				if _, err := s.log.Append(s.ctx, acme, events.Any, s.batch(size)...); err != nil {
					return err
				}
			}
			return nil
		}
		for over := false; !over; {
			over = writing.Err() != nil // there is something to see in the last round
			for name, read := range s.reads(s.ctx) {
				records, err := collect(read)
				if err != nil {
					return err
				}
				if len(records)%size != 0 {
					return fmt.Errorf("%s found %d records, which is no whole number of batches of %d", name, len(records), size)
				}
			}
		}
		return nil
	})
}

func losersLeaveNoTrace(s *subject) {
	const writers = 8
	for round := range s.size(16) {
		version := events.Version(2 * round)
		recorded := make([][]events.Recorded, writers)
		s.concurrently(writers, func(w int) (err error) {
			// One wins on acme; those who lose there win elsewhere at the same moment.
			if w%2 == 1 {
				_, err = s.log.Append(s.ctx, events.StreamID(fmt.Sprintf("usage/w%d", w)), version, s.batch(2)...)
				return err
			}
			recorded[w], err = s.log.Append(s.ctx, acme, version, s.batch(2)...)
			if errors.Is(err, events.ErrConflict) {
				return nil
			}
			return err
		})
		s.same("the end of the stream", s.stream(acme, version), slices.Concat(recorded...))
	}
	for w := 1; w < writers; w += 2 {
		stream := events.StreamID(fmt.Sprintf("usage/w%d", w))
		if got, want := len(s.stream(stream, 0)), 2*s.size(16); got != want {
			s.Errorf("%s has %d records, want %d", stream, got, want)
		}
	}
}
