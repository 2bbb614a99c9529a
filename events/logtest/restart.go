package logtest

import (
	"slices"

	"github.com/oatmill/oatmill/events"
)

func restartCases() []Case {
	return []Case{{
		"a restart keeps everything",
		"What was acknowledged yesterday is gone today, or comes back changed.",
		restartsKeepEverything,
	}, {
		"a restart knows every event ID",
		"The process dies between the commit and the reply, the caller tries again after the restart, and the event is there twice.",
		restartsKnowIDs,
	}, {
		"versions and positions go on after a restart",
		"A counter begins again, and followers take new events for old ones.",
		countersSurviveRestarts,
	}, {
		"checkpoints are durable",
		"After each start a consumer group handles the whole log again.",
		checkpointsSurviveRestarts,
	}, {
		"a snapshot is right after a restart, or gone",
		"Half a snapshot was on disk when the process died, and is loaded as a whole one.",
		snapshotsSurviveRestarts,
	}}
}

func restartsKeepEverything(s *subject) {
	s.restart()
	s.holds(nil)
	want := s.add(acme, 3)
	want = append(want, s.add("usage/acme", 2)...)
	s.refuses(events.ErrConflict, "organization/beta", 1, s.envelope())
	for range 2 {
		s.restart()
		s.holds(want)
		s.same("ReadStream", s.stream(acme, 0), want[:3])
		s.same("an unknown stream", s.stream("organization/beta", 0), nil)
		if !s.h.NoHeads {
			s.headIs(acme, want[:3])
			s.endIs(want)
		}
		s.verified(acme)
	}
}

func restartsKnowIDs(s *subject) {
	b := s.batch(3)
	first := s.append(acme, 0, b...)
	s.restart()
	for _, expected := range []events.Version{0, 3, events.Any} {
		s.same("the outcome of the repetition", s.append(acme, expected, b...), first)
	}
	s.duplicateElsewhere("organization/beta", 0, first, b[0])
	s.duplicate(acme, 3, first, b[2], s.envelope())
	s.holds(first)
}

func countersSurviveRestarts(s *subject) {
	want := s.add(acme, 2)
	for range 3 {
		s.restart()
		s.refuses(events.ErrConflict, acme, 0, s.envelope())
		added := s.append(acme, want[len(want)-1].Version, s.batch(2)...)
		if before := want[len(want)-1].Position; added[0].Position <= before {
			s.Errorf("position %d was given after a restart, %d before it", added[0].Position, before)
		}
		want = append(want, added...)
		s.holds(want)
	}
	s.verified(acme)
}

func checkpointsSurviveRestarts(s *subject) {
	names := checkpointNames()
	for i, name := range names {
		s.saveCheckpoint(name, events.Position(i+1))
	}
	s.restart()
	for i, name := range slices.Backward(names) {
		s.checkpointIs(name, events.Position(i+1))
		s.saveCheckpoint(name, 0)
		s.checkpointIs(name, events.Position(i+1))
	}
}

func snapshotsSurviveRestarts(s *subject) {
	want := events.Snapshot{Head: events.Head{Version: 3, Hash: events.Hash{1}}, Format: "f", Data: []byte(long("abc", 100_000))}
	s.saveSnapshot(acme, want)
	s.restart()
	got, err := s.snapshots().LoadSnapshot(s.ctx, acme)
	if err != nil || !equal(got, want) && !equal(got, events.Snapshot{}) {
		s.Errorf("after a restart the snapshot is %+v with %d bytes, error %v", got.Head, len(got.Data), err)
	}
}
