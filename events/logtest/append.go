package logtest

import (
	"errors"
	"fmt"
	"io"

	"github.com/oatmill/oatmill/events"
)

func abilityCases() []Case {
	return []Case{{
		"the log has the abilities that its harness declares",
		"A method with a small mistake in its signature satisfies no interface, and the ability is lost without a word: " +
			"readers poll, snapshots are never written, a changed last record goes unseen.",
		hasDeclaredAbilities,
	}}
}

func hasDeclaredAbilities(s *subject) {
	_, notifier := s.log.(events.Notifier)
	_, heads := s.log.(events.Heads)
	_, snapshots := s.log.(events.Snapshots)
	_, checkpoints := s.log.(events.Checkpoints)
	_, closer := s.log.(io.Closer)
	for _, ability := range []struct {
		name      string
		has, want bool
	}{
		{"events.Notifier", notifier, !s.h.NoNotifier},
		{"events.Heads", heads, !s.h.NoHeads},
		{"events.Snapshots", snapshots, !s.h.NoSnapshots},
		{"events.Checkpoints", checkpoints, !s.h.NoCheckpoints},
		{"io.Closer", closer, true},
	} {
		if ability.has != ability.want {
			s.Errorf("%T is %s: %v, the harness says %v", s.log, ability.name, ability.has, ability.want)
		}
	}
}

func appendCases() []Case {
	return []Case{{
		"an append returns the records that reads then yield",
		"A writer that folds what Append returned decides on something other than what a restart reads from the log.",
		returnsWhatIsRead,
	}, {
		"versions have no holes",
		"A reader that expects version n+1 after n stops for ever at a number that was drawn and not used, " +
			"or takes a deleted record for one that never was.",
		versionsHaveNoHoles,
	}, {
		"positions increase in the order of commits",
		"A follower remembers the highest position it has seen. Whatever is committed later below it is lost to every " +
			"projection: the revoked token goes on working.",
		positionsFollowCommits,
	}, {
		"a wrong expected version is a conflict that leaves no trace",
		"Two owners each generate the last token that the plan allows. The one who decided on an old version must be told, " +
			"with an error that is the same for every log, and may then decide anew with the same event IDs.",
		conflictsAreTraceless,
	}, {
		"a batch that follows another record than the last one is a conflict",
		"A failover loses a record, and another process appends one at the same version. A writer that decided on the lost record " +
			"appends what was never true, an edit of a token that does not exist for example, and nobody can fold the stream any more.",
		otherHistoryIsConflict,
	}, {
		"expected 0 creates a stream once",
		"An organization is registered twice, and the second registration replaces the owners. A log in memory that takes 0 for " +
			"no expectation overwrites the stream without an error.",
		zeroCreatesOnce,
	}, {
		"Any appends to a stream at any version",
		"The use of a token is refused as a conflict, and with it the trace of a leak.",
		anyNeverConflicts,
	}, {
		"a batch is recorded as a whole or not at all",
		"An organization exists without its owners, because the log took the first event of a batch and refused the last.",
		batchesAreWhole,
	}, {
		"the events of a batch follow each other in their stream",
		"Another writer's event between the two of one decision makes a fold pass through a state that nobody decided on.",
		batchesStandTogether,
	}}
}

func returnsWhatIsRead(s *subject) {
	var want []events.Recorded
	var head events.Head
	for _, n := range []int{1, 3, 1, 2} {
		batch := s.batch(n)
		recorded := s.append(acme, head.Version, batch...)
		var sealed []events.Recorded
		sealed, head = events.Seal(acme, head, batch)
		for i := range sealed {
			sealed[i].Position = recorded[i].Position // the log's to choose
		}
		s.same("what Append returned", recorded, sealed)
		want = append(want, recorded...)
		// Visible to every read that begins after the append.
		s.same("ReadStream", s.stream(acme, 0), want)
		s.same("ReadAll", s.all(0), want)
	}
}

func versionsHaveNoHoles(s *subject) {
	streams := []events.StreamID{acme, "organization/beta", "usage/acme"}
	for i := range 12 {
		stream := streams[i%len(streams)]
		s.add(stream, 1+i%3)
		// What does not succeed must not use a version up.
		s.refuses(events.ErrConflict, stream, 1000, s.envelope())
		s.refuses(events.ErrInvalid, stream, events.Any)
	}
	for _, stream := range streams {
		for i, r := range s.stream(stream, 0) {
			if r.Version != events.Version(i+1) {
				s.Errorf("record %d of %s has version %d", i, stream, r.Version)
			}
		}
	}
}

func positionsFollowCommits(s *subject) {
	var last events.Position
	for i := range 20 {
		stream := []events.StreamID{acme, "usage/acme", "organization/beta"}[i%3]
		for _, r := range s.add(stream, 1+i%2) {
			if r.Position <= last {
				s.Fatalf("position %d was given after %d", r.Position, last)
			}
			last = r.Position
		}
	}
}

func conflictsAreTraceless(s *subject) {
	s.add(acme, 3)
	for _, wrong := range []struct {
		stream           events.StreamID
		expected, actual events.Version
	}{
		{acme, 0, 3}, {acme, 2, 3}, {acme, 4, 3}, {acme, 1 << 40, 3}, {"organization/none", 1, 0},
	} {
		batch := s.batch(2)
		err := s.refuses(events.ErrConflict, wrong.stream, wrong.expected, batch...)
		var conflict *events.ConflictError
		if !errors.As(err, &conflict) {
			s.Fatalf("the conflict is a %T", err)
		}
		if want := (events.ConflictError{Stream: wrong.stream, Expected: wrong.expected, Actual: wrong.actual}); *conflict != want {
			s.Errorf("the conflict is %+v, want %+v", *conflict, want)
		}
		if got := s.stream(wrong.stream, 0); len(got) != int(wrong.actual) {
			s.Errorf("after the conflict %s has %d records, want %d", wrong.stream, len(got), wrong.actual)
		}
	}
	batch := s.batch(2)
	s.refuses(events.ErrConflict, acme, 2, batch...)
	s.append(acme, 3, batch...) // the IDs are not used up
}

func otherHistoryIsConflict(s *subject) {
	records := s.add(acme, 2)
	for _, expected := range []events.Version{2, events.Any} {
		batch := s.batch(2)
		batch[0].Follows = records[0].Hash() // as if version 2 were another record
		err := s.refuses(events.ErrConflict, acme, expected, batch...)
		var conflict *events.ConflictError
		if !errors.As(err, &conflict) || conflict.Actual != 2 {
			s.Errorf("the conflict is %v", err)
		}
	}
	batch := s.batch(2)
	batch[0].Follows = records[1].Hash()
	records = append(records, s.append(acme, 2, batch...)...)
	s.holds(records)
	s.append(acme, 2, batch...) // again, after a lost reply
	s.holds(records)
}

func zeroCreatesOnce(s *subject) {
	first := s.append(acme, 0, s.envelope())
	s.refuses(events.ErrConflict, acme, 0, s.envelope())
	s.holds(first)
}

func anyNeverConflicts(s *subject) {
	for i := range 5 {
		if got := s.append("usage/acme", events.Any, s.envelope())[0].Version; got != events.Version(i+1) {
			s.Errorf("append %d made version %d", i+1, got)
		}
	}
}

func batchesAreWhole(s *subject) {
	s.add("organization/beta", 1)
	taken := s.add(acme, 1)[0]
	batch := s.batch(4)
	batch[3].ID = taken.ID
	s.refuses(events.ErrDuplicate, acme, 1, batch...)
	batch[3] = s.envelope()
	batch[3].Data = []byte(`{`)
	s.refuses(events.ErrInvalid, acme, 1, batch...)
	batch[3] = s.envelope()
	s.append(acme, 1, batch...)
}

func batchesStandTogether(s *subject) {
	s.concurrently(8, func(i int) error {
		stream := []events.StreamID{acme, "usage/acme"}[i%2]
		for range s.size(16) {
			recorded, err := s.log.Append(s.ctx, stream, events.Any, s.batch(3)...)
			if err != nil {
				return err
			}
			for j, r := range recorded[1:] {
				if before := recorded[j]; r.Version != before.Version+1 || r.Position <= before.Position {
					return fmt.Errorf("a batch was torn between %s and %s", describe(before), describe(r))
				}
			}
		}
		return nil
	})
}
