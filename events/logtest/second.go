package logtest

import (
	"github.com/oatmill/oatmill/events"
)

func secondCases() []Case {
	return []Case{{
		"two handles see each other's records",
		"A second process answers from what it knew when it started.",
		handlesSeeEachOther,
	}, {
		"a handle shows at once what another acknowledged",
		"A process decides on what it saw last, and refuses a command for what another process has changed.",
		handlesAreNeverBehind,
	}, {
		"two handles refuse each other's conflicts and duplicates",
		"Versions and IDs are checked against the memory of one process, and the other writes past it.",
		handlesRefuseEachOther,
	}, {
		"writers on two handles race on one stream",
		"Two processes both win the same version.",
		func(s *subject) {
			second := s.second()
			defer second.end()
			s.race([]*subject{s, second}, 8, acme)
		},
	}, {
		"a follower on one handle misses nothing of writers on two",
		"Positions are handed out in one process in another order than they are committed in the other.",
		func(s *subject) {
			second := s.second()
			defer second.end()
			s.followRacingWriters([]*subject{s, second})
		},
	}, {
		"an append on one handle wakes readers on the other",
		"The command line revokes a token, and the server goes on serving it until it polls.",
		handlesWakeEachOther,
	}, {
		"closing one handle leaves the other open",
		"The command line exits, and with it the server's log is closed, or its lock is gone.",
		handlesCloseAlone,
	}}
}

func handlesSeeEachOther(s *subject) {
	before := s.add(acme, 2)
	second := s.second()
	defer second.end()
	second.holds(before)
	want := append(before, second.append(acme, 2, s.batch(2)...)...)
	s.holds(want)
	want = append(want, s.append(acme, 4, s.envelope())...)
	second.holds(want)
	for _, handle := range []*subject{s, second} {
		if !s.h.NoHeads {
			handle.headIs(acme, want)
			handle.endIs(want)
		}
		if !s.h.NoCheckpoints {
			handle.saveCheckpoint("mailer", want[0].Position)
		}
		handle.verified(acme)
	}
	if !s.h.NoCheckpoints {
		second.saveCheckpoint("mailer", want[4].Position)
		s.checkpointIs("mailer", want[4].Position)
	}
}

// handlesAreNeverBehind has each handle look before the other one appends, so that whatever a
// handle remembers is old.
func handlesAreNeverBehind(s *subject) {
	second := s.second()
	defer second.end()
	var want []events.Recorded
	for i := range 6 {
		pair := []*subject{s, second}
		writer, reader := pair[i%2], pair[(i+1)%2]
		reader.refuses(events.ErrConflict, acme, 1000, s.envelope())
		reader.holds(want)
		want = append(want, writer.append(acme, events.Any, s.batch(1+i%2)...)...)
		if !s.h.NoHeads {
			reader.headIs(acme, want)
			reader.endIs(want)
		}
		reader.same("the end of the stream", reader.stream(acme, want[len(want)-1].Version-1), want[len(want)-1:])
		reader.holds(want)
	}
}

func handlesRefuseEachOther(s *subject) {
	second := s.second()
	defer second.end()
	b := s.batch(2)
	first := s.append(acme, 0, b...)
	second.refuses(events.ErrConflict, acme, 0, s.envelope())
	second.same("the outcome of the repetition", second.append(acme, 0, b...), first)
	second.duplicateElsewhere("organization/beta", 0, first, b[1])
	second.duplicate(acme, 2, first, b[1], s.envelope())
	last := second.append(acme, 2, s.batch(1)...)
	s.refuses(events.ErrConflict, acme, 2, s.envelope())
	s.holds(append(first, last...))
}

func handlesWakeEachOther(s *subject) {
	s.notifier()
	second := s.second()
	defer second.end()
	for range 3 {
		for _, pair := range [][2]*subject{{s, second}, {second, s}} {
			done := pair[0].woken(s.last())
			s.asleep(1)
			pair[1].add(acme, 1)
			s.receive("waking a reader on the other handle", done)
		}
	}
}

func handlesCloseAlone(s *subject) {
	second := s.second()
	want := second.add(acme, 2)
	second.end()
	s.holds(want)
	want = append(want, s.add(acme, 1)...)
	s.holds(want)
	third := s.second()
	defer third.end()
	third.holds(want)
}
