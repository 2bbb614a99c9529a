package projection

import (
	"context"
	"iter"

	"github.com/oatmill/oatmill/events"
)

// Rebuilder is a projection that checks what it folds and can fold it again. A log can
// lose its newest records in a failover, be restored from a copy, or be changed behind the
// library's back; a record then does not continue what the projection knows.
//
// [events.Head.Advance] finds it. On its first error the projection closes that
// organization: it ignores the organization's further records and names the stream in
// Suspects; a projection that grants access refuses everything of the organization. Apply
// returns no error for it and goes on with the other organizations. The [Runner] then calls
// Refold.
//
// A Runner calls the methods as it calls Apply: one at a time. Last and Suspects are safe
// for concurrent use.
type Rebuilder interface {
	Projection

	// Last returns the marks of the newest records that the projection has seen: the last
	// one that was applied, unless Position is 0, and the newest one that it has from
	// elsewhere. The Runner compares them with the records that the log has at these
	// positions, and calls Reset when it has another one or none.
	Last() []events.Mark

	// Suspects returns the streams of the organizations that are closed.
	Suspects() []events.StreamID

	// Refold replaces all that the projection holds of the stream's organization with
	// what records say: the stream from version 1, and then the uses of the organization's
	// tokens. It applies the records up to Position and leaves those above it to Apply. It returns nil when the organization is
	// open again. On an error, a [*events.ChainError] for example, the organization stays
	// closed, with the state that the records before the error lead to.
	Refold(ctx context.Context, stream events.StreamID, records iter.Seq2[events.Recorded, error]) error

	// Reset forgets everything. Position is 0 afterwards.
	Reset(ctx context.Context) error
}
