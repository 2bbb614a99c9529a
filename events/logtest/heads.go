package logtest

import (
	"errors"
	"slices"

	"github.com/oatmill/oatmill/events"
)

func headCases() []Case {
	return []Case{{
		"every record is chained to the one before it",
		"A record that was changed or slipped in behind the library's back is served as if it had been appended.",
		recordsAreChained,
	}, {
		"the chain holds after racing appends",
		"Two writers link to the same record, and every later check of an honest stream fails.",
		chainsHoldAfterRaces,
	}, {
		"the head is the last record",
		"A head that lags behind hides a change to the last record, and a snapshot is confirmed that has missed a revocation.",
		headsAreLastRecords,
	}, {
		"the end is the position of the last record",
		"A follower that waits for an end which is too high never gets there; with one that is too low it reports itself up to date and is not.",
		endsAreLastPositions,
	}}
}

func recordsAreChained(s *subject) {
	s.add(acme, 2)
	s.add("organization/beta", 1)
	s.add(acme, 1)
	for _, stream := range []events.StreamID{acme, "organization/beta"} {
		var previous events.Hash
		for _, r := range s.stream(stream, 0) {
			if r.Previous != previous {
				s.Errorf("%s names %s as the hash before it, want %s", describe(r), r.Previous, previous)
			}
			previous = r.Hash()
		}
	}
}

// verified demands an unbroken chain and returns its head.
func (s *subject) verified(stream events.StreamID, noted ...events.Head) events.Head {
	s.Helper()
	head, err := events.VerifyChain(s.ctx, s.log, stream, noted...)
	if err != nil {
		s.Fatal(err)
	}
	return head
}

func chainsHoldAfterRaces(s *subject) {
	s.add(acme, 3)
	noted := s.verified(acme)
	s.concurrently(8, func(i int) error {
		for range s.size(16) {
			if _, err := s.log.Append(s.ctx, acme, events.Any, s.batch(1+i%2)...); err != nil {
				return err
			}
		}
		return nil
	})
	records := s.stream(acme, 0)
	last := records[len(records)-1]
	if got, want := s.verified(acme, noted), (events.Head{Version: last.Version, Hash: last.Hash()}); got != want {
		s.Errorf("the chain ends at %+v, the stream at %+v", got, want)
	}
}

// heads is the log's ability. The test is skipped where the harness denies it.
func (s *subject) heads() events.Heads {
	s.Helper()
	if s.h.NoHeads {
		s.Skip("the harness declares that the log has no heads")
	}
	return s.log.(events.Heads)
}

// headIs demands the head that follows from the last of records.
func (s *subject) headIs(stream events.StreamID, records []events.Recorded) {
	s.Helper()
	var want events.Head
	if len(records) > 0 {
		last := records[len(records)-1]
		want = events.Head{Version: last.Version, Hash: last.Hash()}
	}
	got, err := s.heads().Head(s.ctx, stream)
	if err != nil || got != want {
		s.Errorf("Head of %s is %+v, error %v, want %+v", stream, got, err, want)
	}
}

// endIs demands the position of the last of records.
func (s *subject) endIs(records []events.Recorded) {
	s.Helper()
	var want events.Position
	if len(records) > 0 {
		want = records[len(records)-1].Position
	}
	got, err := s.heads().End(s.ctx)
	if err != nil || got != want {
		s.Errorf("End is %d, error %v, want %d", got, err, want)
	}
}

func headsAreLastRecords(s *subject) {
	s.headIs(acme, nil)
	var records []events.Recorded
	for i := range 6 {
		batch := s.batch(1 + i%3)
		records = append(records, s.append(acme, events.Any, batch...)...)
		s.headIs(acme, records)
		s.refuses(events.ErrConflict, acme, 1000, s.envelope())
		s.duplicateElsewhere("organization/beta", 0, records, batch...)
		s.append(acme, events.Any, batch...) // a repetition
		s.add("usage/acme", 1)
		s.headIs(acme, records)
	}
	s.headIs("organization/beta", nil)
}

func endsAreLastPositions(s *subject) {
	s.endIs(nil)
	var records []events.Recorded
	for i := range 6 {
		stream := []events.StreamID{acme, "usage/acme"}[i%2]
		records = append(records, s.add(stream, 1+i%3)...)
		s.endIs(records)
		s.refuses(events.ErrConflict, stream, 1000, s.envelope())
		s.endIs(records)
	}
}

func checkpointCases() []Case {
	return []Case{{
		"a checkpoint is kept for its name",
		"One consumer group goes on at the position of another, and skips what it never handled.",
		checkpointsAreKept,
	}, {
		"a checkpoint never moves back",
		"Two members of a group save in the wrong order, and what was dealt with is delivered again after the next start.",
		checkpointsNeverMoveBack,
	}, {
		"a checkpoint has a name of 1 to MaxText bytes",
		"Readers without a name, or with names that are cut off, share one checkpoint.",
		checkpointNamesAreBounded,
	}}
}

// checkpoints is the log's ability. The test is skipped where the harness denies it.
func (s *subject) checkpoints() events.Checkpoints {
	s.Helper()
	if s.h.NoCheckpoints {
		s.Skip("the harness declares that the log has no checkpoints")
	}
	return s.log.(events.Checkpoints)
}

// checkpointIs demands a position for name.
func (s *subject) checkpointIs(name string, want events.Position) {
	s.Helper()
	if got, err := s.checkpoints().LoadCheckpoint(s.ctx, name); err != nil || got != want {
		s.Errorf("checkpoint %.20q is %d, error %v, want %d", name, got, err, want)
	}
}

// saveCheckpoint must succeed.
func (s *subject) saveCheckpoint(name string, p events.Position) {
	s.Helper()
	if err := s.checkpoints().SaveCheckpoint(s.ctx, name, p); err != nil {
		s.Fatalf("SaveCheckpoint %.20q at %d: %v", name, p, err)
	}
}

// checkpointNames are names that must not be taken for one another.
func checkpointNames() []string {
	return []string{"mailer", "Mailer", "mailer ", "mail.er", "mail*", "%", "a/b", "über", "'; --", long("n", events.MaxText), long("n", events.MaxText-1)}
}

func checkpointsAreKept(s *subject) {
	for _, name := range checkpointNames() {
		s.checkpointIs(name, 0)
	}
	for i, name := range checkpointNames() {
		s.saveCheckpoint(name, events.Position(10+i))
	}
	for i, name := range slices.Backward(checkpointNames()) {
		s.checkpointIs(name, events.Position(10+i))
	}
}

func checkpointsNeverMoveBack(s *subject) {
	highest := events.Position(0)
	for _, p := range []events.Position{5, 3, 5, 0, -1, 9, 8, 1 << 60, 1} {
		highest = max(highest, p)
		s.saveCheckpoint("mailer", p)
		s.checkpointIs("mailer", highest)
	}
	s.concurrently(8, func(i int) error { return s.checkpoints().SaveCheckpoint(s.ctx, "racing", events.Position(i+1)) })
	s.checkpointIs("racing", 8)
}

func checkpointNamesAreBounded(s *subject) {
	for _, name := range []string{"", long("n", events.MaxText+1)} {
		if err := s.checkpoints().SaveCheckpoint(s.ctx, name, 1); !errors.Is(err, events.ErrInvalid) {
			s.Errorf("SaveCheckpoint with a name of %d bytes: %v, want %q", len(name), err, events.ErrInvalid)
		}
	}
}
