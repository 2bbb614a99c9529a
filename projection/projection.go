package projection

import (
	"context"
	"time"

	"github.com/oatmill/oatmill/events"
)

// Projection follows the log and keeps something folded from it. It owns its
// position, so that what it keeps and how far it came cannot disagree.
type Projection interface {
	// Position is the position of the last record the projection has dealt with,
	// records it had no interest in included; 0 before the first. It never moves
	// back. Safe for concurrent use, also beside Apply.
	Position() events.Position

	// Apply takes the records of batch in order, and skips those at or below
	// Position, so a batch that is delivered again changes nothing. The batch's
	// positions increase strictly; between Position and its first record there is
	// no record of the log. An empty batch is no error.
	//
	// After an error nothing of the record that caused it and nothing of the ones
	// after it is applied; Position is that of the record before it, and applying
	// the same batch again goes on from there. An ended context is such an error.
	//
	// The slice is the caller's again when Apply returns. A projection must not
	// keep it or a pointer into it; records copied out of it, their Data and their
	// payloads are immutable and may be kept.
	//
	// Apply is not called twice at the same time.
	Apply(ctx context.Context, batch []events.Recorded) error
}

// Confirmer is a projection that wants to know how fresh it is, like a verifier
// that refuses when it might have missed a revocation.
type Confirmer interface {
	// Confirm says that every record which was committed before at has been
	// applied. The runner reads at from its clock before it asks the log where it
	// ends. It is called after each pass that reached that end without an error,
	// never at the same time as Apply.
	Confirm(at time.Time)
}
