// Package events is the ground floor of oatmill: what happened, in which
// stream, in which order.
//
// Everything else in the module is decided against, or folded from, the records
// this package describes. It knows no rules: an event is a plain fact, and what
// the fact means is said in package oat.
//
// # Streams and the log
//
// A log is one append-only sequence of records. Every record belongs to one
// stream, named "kind/name":
//
//   - "organization/acme" holds everything that was decided about acme: its
//     plan, its owners, its tokens. It is the consistency boundary; commands
//     append to it under an expected version.
//   - "usage/acme" holds how acme's tokens were used. Facts of use never
//     conflict, and are appended with [Any].
//
// A host may keep streams of other kinds in the same log. Nothing in this
// module looks at them.
//
// Within its stream a record has a [Version]: 1, 2, 3 … without holes. Within
// the log it has a [Position], which increases strictly in commit order: a
// reader that has seen position p never later meets a position at or below p
// for the first time. Positions may have gaps; nobody may read meaning into one.
//
// # The contract of a log
//
// Every [Log] keeps these promises, and package logtest checks them:
//
//   - Append is atomic: the whole batch is there or nothing of it is.
//   - Append is durable when it returns without an error, as durable as the log
//     says of itself.
//   - A wrong expected version is a [*ConflictError], from every log, and leaves
//     no trace.
//   - Appending a batch whose event IDs are already in the stream returns the
//     first outcome and appends nothing. A caller whose reply was lost
//     ([ErrUnknownOutcome]) may therefore append the very same envelopes again.
//   - An ID that is already taken otherwise (in another stream, or by a part of
//     the batch only) is a [*DuplicateError].
//   - Reads yield what was committed, in order, in pages; they end with their
//     context, and hold no lock or transaction while the caller works.
//   - Records are immutable. A durable log has its database refuse UPDATE and
//     DELETE.
//   - Everything is safe for concurrent use, also by several processes where the
//     log can be shared by processes.
//   - After Close, calls return [ErrClosed]; nothing acknowledged is lost, and no
//     goroutine is left behind.
//
// Logs never retry a decision. The writer, who knows what it decided, does.
//
// # Errors
//
// All logs report the same conditions with the same values, so that a host that moves
// to another log changes no error handling. The error of the database or the operating
// system is wrapped as well. What the caller can do:
//
//   - [ErrConflict], [ErrDuplicate], [ErrInvalid]: the call itself was wrong.
//   - [ErrUnknownOutcome]: append the same envelopes again. It may come together with
//     one of the following; test for it first.
//   - [ErrFull], [ErrBusy], [ErrReadOnly], [ErrDenied], [ErrUnavailable]: the storage
//     cannot carry out the call now. Nothing was appended; the same call can succeed
//     later. An HTTP server answers 503.
//   - [ErrDamaged], [ErrNewer]: an operator has to look at the log. Retrying does not
//     help.
//   - [ErrClosed]: the process closed the log itself.
//
// An error that is only about the caller's context is that context's error.
//
// # The hash chain
//
// [Recorded.Previous] is the [Recorded.Hash] of the record before it in the same
// stream, and zero for the first. The log sets it, at the moment it sets the
// version, because only the log knows the preceding record of an append with
// [Any]. [VerifyChain] reads a stream and checks every link. A chain shows that a
// record was changed, removed or slipped in; that a whole stream was replaced can
// only be shown to someone who kept an earlier [Head], which is why VerifyChain
// also takes heads that the caller noted before.
//
// Everything that folds a stream checks the chain with [Head.Advance] while it folds. A
// log that keeps the hash of each record next to it has Advance compare that, too, so
// that a change to the last record of a stream, which no later record covers, is found.
// A log that misses records it once held ends a read of the whole log with a
// [*MissingError].
//
// The hash of a record is SHA-256 over these fields, each as an 8-byte
// big-endian length followed by its bytes:
//
//	"oatmill record v1"
//	stream         "organization/acme"
//	version        8 bytes, big endian
//	id             16 bytes
//	type           "token.generated.v1"
//	time           8 bytes, microseconds since 1970 UTC, big endian
//	actor
//	correlation
//	causation      16 bytes, zero when there is none
//	reason
//	previous       32 bytes
//	data
//
// The position is left out, so that a stream can be carried to another log and
// still be proved.
//
// # Payloads
//
// [Envelope.Data] is a JSON object, readable by people and by SQL. Every type of
// event this module writes has a Go type here ([TokenGenerated] and its
// siblings), a constant for its name, and golden files that are never edited. A
// name carries its version; a change of meaning is a new version with a new name,
// and old records are read for ever. [Decode] refuses a name it does not know with
// an [*UnknownTypeError]: a reader that meets the event of a newer library must
// stop there, because skipping it could open what the event was there to close.
//
// A reader of decisions asks [Recorded.Payload], which decodes once for all who share the
// record. A reader that adds up uses asks [Recorded.Uses], which reads them where they
// stand.
package events
