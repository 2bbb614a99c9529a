// Package invariants holds package oat to its invariants, on any log.
//
// The test of a log is nearly one line:
//
//	func TestInvariants(t *testing.T) {
//		invariants.Run(t, invariants.Harness{Open: func(testing.TB) events.Log { return memlog.New() }})
//	}
//
// # What is checked
//
//   - I1: there are never more undeleted tokens than the limit at the moment of a
//     Generate, under any interleaving of writers.
//   - I2: an inactive or expired token never changes except by Delete; a deleted
//     token never changes at all.
//   - I3: replaying the log from zero gives the same state as following it live, in
//     any batching, after any restart.
//   - I4: counts equal what is counted from the list of tokens; last used equals the
//     maximum of all recorded uses.
//   - I5: a secret verifies exactly while its token is active, unexpired and its
//     plan has tokens, and allows exactly what the rules allow.
//   - I6: no secret and no part of one is in the log, in an error, in a log line or
//     in any JSON, also when a client sends it in the wrong field.
//   - I7: every acknowledged command is in the log; no refused or failed command left
//     a trace.
//
// # How
//
// Random commands are given to several services on one log, each with a clock, a
// verifier and read models of its own, as so many processes would have. Clocks
// advance and jump back, processes and the log are restarted,
// appends fail, replies get lost, contexts end in the middle, and another process is
// quicker at the worst moment.
//
// What should come of it is computed by an oracle: the rules of the domain, written
// down a second time, from the words and not from the code. It reads the records with
// encoding/json, and shares neither a type nor a function with package oat beyond the
// commands themselves. Every command names itself in the record (its correlation), so
// that what it left in the log, and how often, can be told.
//
// The commands of a sequential run are judged one after the other. Those of a
// concurrent run are judged afterwards: every record must have been right after the
// ones before it in its stream, and every refusal at some moment between the call and
// its return.
//
// # How long
//
// The number of runs follows rapid's own flag and environment: -rapid.checks and
// RAPID_CHECKS, 100 by default, of which each property takes the share it can
// afford. For a long run say -rapid.checks=5000.
package invariants

import (
	"flag"
	"strconv"
	"testing"

	"github.com/oatmill/oatmill/events"
	"pgregory.net/rapid"
)

// Harness says how to get at a log.
type Harness struct {
	// Open is a new, empty log, of which nobody else knows. What must be cleaned
	// up later is registered with t. The suite closes the log itself, if it has a
	// Close. Required.
	Open func(t testing.TB) events.Log

	// Reopen opens the data of a log that was closed just before, as a restart of
	// the program does. Nil where the data ends with the log.
	Reopen func(t testing.TB, closed events.Log) events.Log

	// Second opens the data of a log that stays open, as a second process does.
	// Nil where only one process can have the log open; all services then share it.
	Second func(t testing.TB, first events.Log) events.Log

	// Slow says that an append takes milliseconds, and shrinks the number of runs
	// so that the suite still ends in seconds.
	Slow bool
}

// Run holds package oat on the log of h against every invariant, each in a subtest
// of its own.
func Run(t *testing.T, h Harness) {
	t.Run("I1 limits", func(t *testing.T) { limits(t, h) })
	t.Run("I2 inactive only delete", func(t *testing.T) { inactiveOnlyDelete(t, h) })
	t.Run("I3 replay", func(t *testing.T) { replay(t, h) })
	t.Run("I4 counts and last used", func(t *testing.T) { countsAndLastUsed(t, h) })
	t.Run("I5 verification", func(t *testing.T) { verification(t, h) })
	t.Run("I6 secrets", func(t *testing.T) { secrets(t, h) })
	t.Run("I7 acknowledged", func(t *testing.T) { acknowledged(t, h) })
	t.Run("I7 lost end", func(t *testing.T) { lostEnd(t, h) })
}

// check runs a property as often as rapid is told to, times percent over 100. The
// flag is set back at the end; nothing else of this binary runs beside a test that is
// not parallel.
func check(t *testing.T, h Harness, percent int, property func(*rapid.T)) {
	t.Helper()
	checks := flag.Lookup("rapid.checks").Value
	asked := checks.String()
	n, err := strconv.Atoi(asked)
	if err != nil {
		t.Fatal(err)
	}
	if h.Slow {
		percent = (percent + 7) / 8
	}
	set := func(s string) {
		if err := checks.Set(s); err != nil {
			t.Fatal(err)
		}
	}
	defer set(asked)
	set(strconv.Itoa(max(1, n*percent/100)))
	rapid.Check(t, property)
}
