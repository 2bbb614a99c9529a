package logtest

import (
	"errors"
	"slices"

	"github.com/oatmill/oatmill/events"
)

func repeatCases() []Case {
	return []Case{{
		"a batch that is there already is answered with the first outcome",
		"A caller whose reply was lost tries again, and the organization has the same token twice, or the caller takes a conflict " +
			"with its own write for another's and tells the user that nothing happened.",
		repeatsGiveTheFirstOutcome,
	}, {
		"a repeated batch is known by its IDs alone",
		"A retry that carries a new reading of the clock changes what the log said before, or is recorded beside it.",
		repeatsAreKnownByID,
	}, {
		"an ID is known however long ago it came, and whatever it looks like",
		"A request that is repeated after a week makes a second token, because the log forgets IDs, or takes the time in an ID for " +
			"the time at which the event came.",
		oldIDsAreKnown,
	}, {
		"a batch of which a part is there is a duplicate",
		"Half of a decision is recorded a second time, or the unknown half is dropped in silence and reported as done.",
		partlyKnownIsDuplicate,
	}, {
		"known IDs in another order or apart are a duplicate",
		"A batch that was never appended as such is answered with records that do not correspond to it.",
		reorderedIsDuplicate,
	}, {
		"an ID of another stream is a duplicate",
		"One event stands in two organizations, and a reader that remembers IDs takes the second for a repetition.",
		foreignIsDuplicate,
	}, {
		"a lost reply is settled by appending again",
		"After a broken connection nobody knows whether the token was revoked. Appending the same events again must say, both " +
			"where the first attempt was kept and where it was not.",
		lostRepliesAreSettled,
	}, {
		"the same batch from many writers at once is there once",
		"A retry overtakes the attempt it repeats. Both look for the ID, both find nothing, both write.",
		racingRepeatsAppendOnce,
	}}
}

func repeatsGiveTheFirstOutcome(s *subject) {
	s.add("organization/beta", 2)
	batch := append(s.batch(1), s.batch(3)...)
	first := s.append(acme, 0, batch[0])
	first = append(first, s.append(acme, 1, batch[1:]...)...)
	for range 2 { // at the end of the stream, then in its middle
		// A part of an earlier batch, and a run over two of them, are there as well.
		for _, run := range [][2]int{{0, 1}, {1, 4}, {0, 4}, {2, 3}, {0, 2}} {
			for _, expected := range []events.Version{events.Any, 0, 1, 4, 1000} {
				before := s.all(0)
				s.same("the outcome of the repetition", s.append(acme, expected, batch[run[0]:run[1]]...), first[run[0]:run[1]])
				s.holds(before)
			}
		}
		s.add("organization/beta", 1)
		s.add(acme, 2)
	}
}

func repeatsAreKnownByID(s *subject) {
	batch := s.batch(2)
	first := s.append(acme, 0, batch...)
	again := slices.Clone(batch)
	again[1].Type, again[1].Actor, again[1].Data = "token.deleted.v1", "mallory", []byte(`{"n":"other"}`)
	s.same("the outcome of the repetition", s.append(acme, events.Any, again...), first)
	s.holds(first)
}

// oldIDsAreKnown has IDs that are made of something else than the time: they lie before,
// between and behind the others, and many come after them.
func oldIDsAreKnown(s *subject) {
	odd := s.batch(3)
	odd[0].ID, odd[1].ID, odd[2].ID = [16]byte{15: 1}, [16]byte{0: 0x7f, 15: 1}, [16]byte{6: 0x80, 8: 0x80, 15: 1}
	for i := range odd {
		odd[i].ID[14] = byte(i)
	}
	var first []events.Recorded
	for i := range odd {
		first = append(first, s.append(acme, events.Any, odd[i])...)
	}
	for range s.size(4) {
		s.append(acme, events.Any, s.batch(300)...)
	}
	before := s.all(0)
	for i := range odd {
		s.same("the outcome of the repetition", s.append(acme, events.Any, odd[i]), first[i:i+1])
	}
	if s.h.Reopen != nil {
		s = s.restart()
	}
	for i := range odd {
		s.same("the outcome of another repetition", s.append(acme, 0, odd[i]), first[i:i+1])
	}
	s.holds(before)
}

// duplicate demands a DuplicateError that names the stream and one of the taken IDs.
func (s *subject) duplicate(stream events.StreamID, expected events.Version, taken []events.Recorded, batch ...events.Envelope) {
	s.Helper()
	err := s.refuses(events.ErrDuplicate, stream, expected, batch...)
	var duplicate *events.DuplicateError
	if !errors.As(err, &duplicate) {
		s.Fatalf("the duplicate is a %T", err)
	}
	named := func(r events.Recorded) bool { return r.ID == duplicate.ID }
	if duplicate.Stream != stream || !slices.ContainsFunc(taken, named) {
		s.Errorf("the duplicate is %+v, which names no event that is there already", *duplicate)
	}
}

func partlyKnownIsDuplicate(s *subject) {
	known := s.batch(2)
	first := s.append(acme, 0, known...)
	fresh := s.batch(2)
	for _, batch := range [][]events.Envelope{
		{known[0], fresh[0]}, {fresh[0], known[0]}, {known[1], fresh[0]}, {fresh[0], known[1]},
		{known[0], known[1], fresh[0]}, {fresh[0], known[0], known[1]}, {known[0], fresh[0], known[1]}, {fresh[0], known[1], fresh[1]},
	} {
		s.duplicate(acme, 2, first, batch...)
		s.duplicate(acme, events.Any, first, batch...)
	}
	s.append(acme, 2, fresh...) // the IDs that were not taken still are not
}

func reorderedIsDuplicate(s *subject) {
	b := s.batch(4)
	first := s.append(acme, 0, b...)
	for _, batch := range [][]events.Envelope{{b[1], b[0]}, {b[0], b[2]}, {b[0], b[1], b[3]}, {b[3], b[2], b[1], b[0]}} {
		s.duplicate(acme, 4, first, batch...)
		s.duplicate(acme, events.Any, first, batch...)
	}
}

func foreignIsDuplicate(s *subject) {
	if s.h.IDsPerStream {
		s.foreignIsTaken()
		return
	}
	known := s.batch(2)
	first := s.append(acme, 0, known...)
	for _, stream := range []events.StreamID{"organization/beta", "usage/acme"} {
		s.duplicate(stream, 0, first, known...)
		s.duplicate(stream, events.Any, first, known[1])
		s.duplicate(stream, 0, first, s.envelope(), known[0])
	}
	second := s.append("organization/beta", 0, s.batch(1)...)
	mixed := s.envelope()
	mixed.ID = second[0].ID
	s.duplicate(acme, events.Any, append(first, second...), known[1], mixed)
}

// foreignIsTaken demands that the harness needs what it declares: that there is a batch
// with an ID of another stream which the log takes.
func (s *subject) foreignIsTaken() {
	s.Helper()
	known := s.batch(2)
	first := s.append(acme, 0, known...)
	batch := []events.Envelope{s.envelope(), known[1]}
	second, err := s.log.Append(s.ctx, "organization/beta", 0, batch...)
	if err != nil {
		s.Fatalf("an ID of another stream is refused (%v), and the harness says that it is not seen", err)
	}
	s.holds(append(first, second...))
	s.duplicate("organization/beta", events.Any, second, s.envelope(), known[1])
}

// duplicateElsewhere demands a DuplicateError for IDs that another stream has, unless
// the harness declares that these go unseen.
func (s *subject) duplicateElsewhere(stream events.StreamID, expected events.Version, taken []events.Recorded, batch ...events.Envelope) {
	s.Helper()
	if !s.h.IDsPerStream {
		s.duplicate(stream, expected, taken, batch...)
	}
}

func lostRepliesAreSettled(s *subject) {
	s.add(acme, 1)
	for i, loss := range []Loss{LostKept, LostDropped, LostKept, LostDropped} {
		losses := []Loss{loss}
		flaky := &Flaky{Complete: completed(s.log), Lose: func(events.StreamID, []events.Envelope) Loss {
			next := losses[0]
			losses = append(losses[1:], Delivered)
			return next
		}}
		expected, batch := events.Version(1+2*i), s.batch(2)
		if _, err := flaky.Append(s.ctx, acme, expected, batch...); !errors.Is(err, events.ErrUnknownOutcome) {
			s.Fatalf("the lost reply is %v", err)
		}
		kept := s.stream(acme, expected)
		again, err := flaky.Append(s.ctx, acme, expected, batch...)
		if err != nil {
			s.Fatalf("appending again: %v", err)
		}
		if loss == LostKept {
			s.same("the outcome of the repetition", again, kept)
		}
		s.same("the stream", s.stream(acme, expected), again)
	}
}

func racingRepeatsAppendOnce(s *subject) {
	for range s.size(16) {
		batch := s.batch(2)
		outcomes := make([][]events.Recorded, 8)
		s.concurrently(len(outcomes), func(i int) (err error) {
			outcomes[i], err = s.log.Append(s.ctx, acme, events.Any, batch...)
			return err
		})
		for _, outcome := range outcomes {
			s.same("the outcome of one of many", outcome, outcomes[0])
		}
		all := s.all(0)
		s.same("the end of the log", all[len(all)-2:], outcomes[0])
	}
	if got, want := len(s.all(0)), 2*s.size(16); got != want {
		s.Errorf("the log has %d records, want %d", got, want)
	}
}
