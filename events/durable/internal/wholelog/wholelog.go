// Package wholelog checks the rows of a whole log that keeps its records in a table of a
// database, with the hash of each, and the position of the last record in a counter.
package wholelog

import (
	"errors"
	"fmt"

	"github.com/oatmill/oatmill/events"
)

// maxProblems bounds how many problems a check describes.
const maxProblems = 20

// Check holds what a check has seen of a log. Its memory grows with the number of streams.
type Check struct {
	end      events.Position
	last     events.Position
	heads    map[events.StreamID]events.Head
	problems []string
	count    int
}

// New returns a check of a log whose counter is at end.
func New(end events.Position) *Check {
	return &Check{end: end, heads: make(map[events.StreamID]events.Head)}
}

// Row checks the next row, in the order of positions. stored is the hash that is kept with
// the record, zero when the hash or something of the record cannot be read.
func (c *Check) Row(r *events.Recorded, stored events.Hash) {
	if r.Position < 1 || r.Position > c.end {
		c.found("position %d, %s version %d: the row is not part of the log, which has the positions 1 to %d", r.Position, r.Stream, r.Version, c.end)
		return
	}
	c.reach(r.Position)
	r.SetStored(stored)
	head := c.heads[r.Stream]
	var broken *events.ChainError
	if errors.As(head.Advance(r), &broken) {
		c.found("position %d, %s version %d: %s", r.Position, broken.Stream, broken.Version, broken.Problem)
		// What follows is compared with what stands here, so that one problem is one message.
		if head = (events.Head{Version: r.Version, Hash: stored}); stored == (events.Hash{}) {
			head.Hash = r.Hash()
		}
	}
	c.heads[r.Stream] = head
}

// reach notes that the row at p was read, and which positions before it were not.
func (c *Check) reach(p events.Position) {
	if p > c.last+1 {
		c.found("%v", &events.MissingError{First: c.last + 1, Last: p - 1})
	}
	c.last = p
}

func (c *Check) found(format string, args ...any) {
	if c.count++; c.count <= maxProblems {
		c.problems = append(c.problems, fmt.Sprintf(format, args...))
	}
}

// Problems returns, after the last row, what does not fit.
func (c *Check) Problems() []string {
	c.reach(c.end + 1)
	if c.count > maxProblems {
		return append(c.problems, fmt.Sprintf("and %d more problems", c.count-maxProblems))
	}
	return c.problems
}
