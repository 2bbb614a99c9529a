// Package logtest is what every log must pass: the contract of package events,
// sentence by sentence, as tests.
//
// The test of a log is nearly one line:
//
//	func TestLog(t *testing.T) {
//		logtest.Run(t, logtest.Harness{Open: func(testing.TB) events.Log { return memlog.New() }})
//	}
//
// # Cases
//
// Every [Case] has a name, which says what holds, and an explanation of what goes
// wrong in a program whose log fails it. The explanation is printed beside a
// failure: whoever breaks a log should learn at once why it matters.
//
// One case is a state machine that compares the log with a plain model through
// random sequences of calls; it takes rapid's flags, -rapid.checks above all. Another
// group races writers and readers against each other, records when each call began
// and ended, and demands that the calls can be put in one order that explains every
// answer.
//
// # Differences
//
// A log that lacks an optional ability says so in the [Harness]; it does not leave
// the ability out silently. A log that has an ability which the harness denies fails
// as well, so that a declaration cannot outlive its reason.
//
// # For other tests
//
// [Flaky] wraps a log and loses replies, once with the write kept and once without.
// It is how code above a log shows that it survives both.
package logtest

import (
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
)

// Harness says how to get at a log, and in what it differs from a complete one.
//
// Cases run one after the other, and each has done with its logs before the next
// begins, so that a harness may keep where the newest log is in a variable.
type Harness struct {
	// Open is a new, empty log, of which nobody else knows. What must be cleaned
	// up later is registered with t; the suite closes the log itself. Required.
	Open func(t testing.TB) events.Log

	// Reopen opens the data of a log that was closed just before, as a restart of
	// the program does. Nil where the data ends with the log.
	Reopen func(t testing.TB, closed events.Log) events.Log

	// Second opens the data of a log that stays open, as a second process does.
	// Nil where only one process can have the log open.
	Second func(t testing.TB, first events.Log) events.Log

	// What the log does not have of the optional abilities in package events.
	NoNotifier    bool // readers have to poll
	NoHeads       bool // a changed last record goes unseen
	NoSnapshots   bool // streams are always folded from their beginning
	NoCheckpoints bool // readers keep their positions elsewhere

	// IDsPerStream says that an event ID which another stream has may go unseen. Within
	// one stream every ID that is taken is seen, as always.
	IDsPerStream bool

	// Slow says that an append takes many milliseconds, and shrinks the loads so
	// that the suite still ends in seconds. It changes no demand.
	Slow bool

	// patience is how long something may take that must happen soon; 0 means a
	// time that even a busy machine keeps.
	patience time.Duration
}

// Case is one demand on a log.
type Case struct {
	Name     string // what holds, as a sentence
	Prevents string // what goes wrong elsewhere when it does not hold
	check    func(*subject)
}

// Cases are all demands on a log, in the order in which [Run] makes them.
func Cases() []Case {
	var all []Case
	for _, group := range [][]Case{
		abilityCases(), appendCases(), repeatCases(), validCases(), fidelityCases(),
		readCases(), pageCases(), contextCases(), headCases(), snapshotCases(), checkpointCases(),
		notifierCases(), raceCases(), historyCases(), restartCases(), secondCases(), closeCases(), modelCases(),
	} {
		all = append(all, group...)
	}
	return all
}

// Run holds the log of h against every case, each in a subtest of its own.
func Run(t *testing.T, h Harness) {
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) { c.run(t, h) })
	}
}

// run holds one new log against the case.
func (c Case) run(t testing.TB, h Harness) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("what this case prevents: %s", c.Prevents)
		}
	}()
	s := newSubject(t, h)
	defer s.end()
	c.check(s)
}
