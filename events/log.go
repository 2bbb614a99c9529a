package events

import (
	"context"
	"iter"
)

// Log is an append-only sequence of records in streams. The package comment holds
// the contract in full; package logtest checks it.
//
// A Log is safe for concurrent use.
type Log interface {
	// Append adds batch to the end of stream, all of it or nothing, and returns
	// the records with stream, versions, positions and chain set, in order. When
	// it returns without an error the records are durable and visible to every
	// read that begins afterwards.
	//
	// expected is the version of the stream before the append: 0 when the stream
	// must not exist, [Any] when it does not matter. A stream at another version is
	// a [*ConflictError], and so is one whose last record is not the one that
	// [Envelope.Follows] of the first envelope names.
	//
	// When all IDs of the batch are already in the stream, next to each other and
	// in this order, Append returns those records, whatever expected says. Any
	// other ID that is taken is a [*DuplicateError].
	//
	// An empty or malformed batch is [ErrInvalid]. [ErrUnknownOutcome] means that
	// the log cannot tell whether the batch was appended; the caller may append
	// the very same envelopes again to find out. After every other error, also
	// the context's, nothing was or will be appended.
	Append(ctx context.Context, stream StreamID, expected Version, batch ...Envelope) ([]Recorded, error)

	// ReadStream yields the records of stream with a version above after, in
	// order, until the end of the stream as it is when the read gets there. A
	// stream that does not exist is empty. The sequence ends after the first
	// error, which comes with a zero record; an ended context is such an error. A
	// read that ends without an error has yielded every record that was
	// acknowledged before the read began, to this process or to another one.
	ReadStream(ctx context.Context, stream StreamID, after Version) iter.Seq2[Recorded, error]

	// ReadAll yields the records of all streams with a position above after, in
	// commit order, until the end of the log as it is when the read gets there. It
	// ends as ReadStream does. A read that ends without an error has yielded every
	// record that was committed before the read began.
	ReadAll(ctx context.Context, after Position) iter.Seq2[Recorded, error]
}

// Notifier is a log that can wake its readers. Readers of a log that is none poll.
type Notifier interface {
	// Wait returns nil when there may be a record with a position above after,
	// at once if there is one already. It may return nil without cause, and it may
	// be late: a reader should still look by itself from time to time. When ctx
	// ends first, Wait returns the context's error.
	Wait(ctx context.Context, after Position) error
}

// Head is the end of a stream: the version of its last record and that record's
// hash. The head of an empty stream is the zero Head.
type Head struct {
	Version Version `json:"version"`
	Hash    Hash    `json:"hash"`
}

// Heads is a log that can tell where it and its streams end without reading them. What
// Head and End return is not older than a record that was acknowledged before the call,
// to this process or to another one. Package oat confirms with Head that a command is refused
// for what is still so.
type Heads interface {
	// Head is what the log noted of the stream's last record when it was
	// appended. [VerifyChain] holds the stream against it, so that a change to the
	// very last record, which no later link covers, is seen too.
	Head(ctx context.Context, stream StreamID) (Head, error)

	// End is the position of the last record of the log, 0 when it is empty.
	End(ctx context.Context) (Position, error)
}

// Snapshot is the folded state of a stream at a version, in a form that only the
// one who saved it understands.
type Snapshot struct {
	Head   Head   // the record up to which the state is folded
	Format string // what Data is; a reader ignores formats it does not know
	Data   []byte // opaque to the log
}

// MaxSnapshotSize is the number of bytes of [Snapshot.Data] every log can keep.
const MaxSnapshotSize = 64 << 20

// Snapshots is a log with a place for snapshots beside its records. A snapshot
// saves time and nothing else: it may be lost or deleted at any moment, and a
// reader trusts it only as far as the log confirms its Head.
type Snapshots interface {
	// SaveSnapshot keeps the snapshot for stream in place of an earlier one. It
	// need not be durable.
	SaveSnapshot(ctx context.Context, stream StreamID, s Snapshot) error

	// LoadSnapshot returns the stream's newest snapshot, the zero Snapshot when
	// there is none.
	LoadSnapshot(ctx context.Context, stream StreamID) (Snapshot, error)
}

// Checkpoints is a log with a place for the positions of named readers, so that a
// relay or a consumer group goes on where it stopped.
type Checkpoints interface {
	// SaveCheckpoint notes that the reader called name, 1 to [MaxText] bytes, has
	// dealt with every record up to p. It is durable when it returns. A checkpoint
	// never moves back: saving a lower position changes nothing.
	SaveCheckpoint(ctx context.Context, name string, p Position) error

	// LoadCheckpoint is the position last saved for name, 0 when there is none.
	LoadCheckpoint(ctx context.Context, name string) (Position, error)
}
