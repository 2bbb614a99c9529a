package events

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
)

// StreamID names a stream as "kind/name", like "organization/acme".
// See [ParseStreamID] for the form.
type StreamID string

// The kinds of streams this module writes.
const (
	KindOrganization = "organization" // what was decided about an organization
	KindUsage        = "usage"        // how the tokens of an organization were used
)

// MaxStreamID is the length in bytes that a stream's name may have.
const MaxStreamID = 255

// OrganizationStream is the stream of everything decided about an organization.
func OrganizationStream(organization string) StreamID {
	return StreamID(KindOrganization + "/" + organization)
}

// UsageStream is the stream of how an organization's tokens were used.
func UsageStream(organization string) StreamID {
	return StreamID(KindUsage + "/" + organization)
}

// ParseStreamID checks that s names a stream: a kind of lower-case letters and
// digits, a slash, and a name of letters, digits and . _ - that does not begin
// with a dot; [MaxStreamID] bytes in all. The form is narrow so that every log can
// use it unescaped as a key, a subject or a file name. The error is [ErrInvalid].
func ParseStreamID(s string) (StreamID, error) {
	kind, name, ok := strings.Cut(s, "/")
	if !ok || len(s) > MaxStreamID || !consistsOf(kind, isKindByte) || !consistsOf(name, isNameByte) || name[0] == '.' {
		return "", fmt.Errorf("%w: stream %q: want kind/name of at most %d letters, digits and ._-", ErrInvalid, clip(s), MaxStreamID)
	}
	return StreamID(s), nil
}

// Kind is the part before the slash: "organization" of "organization/acme".
func (s StreamID) Kind() string {
	kind, _, _ := strings.Cut(string(s), "/")
	return kind
}

// Name is the part after the slash: "acme" of "organization/acme".
func (s StreamID) Name() string {
	_, name, _ := strings.Cut(string(s), "/")
	return name
}

// Version counts the records of one stream: 1 is its first record. As the
// expected version of an append, 0 means that the stream must not exist yet.
type Version int64

// Any as the expected version of an append means that the batch is true whatever
// the stream holds by now. It is for facts, like use, and never for decisions.
const Any Version = -1

// Position orders the records of a whole log. Positions begin above 0, increase
// strictly in commit order and may have gaps. As the start of a read, 0 means the
// beginning.
type Position int64

// Envelope is what a writer proposes to a log.
type Envelope struct {
	// ID identifies the event in the log for ever. Appending the same IDs
	// again is answered with the first outcome.
	ID ulid.ULID
	// Type is the stable name of the event with its version in it, like
	// "token.generated.v1". It is never derived from a Go type.
	Type string
	// Time is the writer's clock: UTC, in whole microseconds ([Instant] makes
	// any time so). Time says when, never in which order.
	Time time.Time
	// Actor is who did it, as the writer names its callers.
	Actor string
	// Correlation groups everything that came of one request. Optional.
	Correlation string
	// Causation is the event that led to this one. Zero when there is none.
	Causation ulid.ULID
	// Reason is why, in the actor's words. Optional.
	Reason string
	// Data is the payload, one JSON object in valid UTF-8.
	Data []byte

	// Follows is the hash of the record that the writer decided on, which must be the last
	// one of the stream. Zero means that only the expected version counts. In a log that lost
	// its newest records a version can come again with another record. The log compares
	// Follows of the first envelope of a batch and does not keep it.
	Follows Hash
}

// Recorded is what a log gives back: an envelope in its place.
//
// A Recorded and its Data are shared between readers and must not be changed.
type Recorded struct {
	Envelope
	Stream   StreamID
	Version  Version
	Position Position
	Previous Hash // of the record before this one in the stream; zero for the first

	payload Payload // what Payload has decoded
	stored  Hash    // the hash that the log keeps with the record, if kept
	kept    bool    // whether the log keeps one
	hash    Hash    // what Prepare has computed; zero before
}

// Mark identifies a record of a log by its position and its hash.
type Mark struct {
	Position Position
	Hash     Hash
}

// Mark returns the mark of the record.
func (r *Recorded) Mark() Mark { return Mark{r.Position, r.Hash()} }

// SetStored notes the hash that a log keeps next to the record, so that [Head.Advance]
// finds a record whose content was changed even if no later record follows it. Logs that
// keep hashes call it for each record they read. No record has the zero Hash: a log passes
// it for a record of which something cannot be read, so that Advance refuses the record.
func (r *Recorded) SetStored(h Hash) { r.stored, r.kept = h, true }

// Prepare decodes the payload and computes the hash once, so that [Recorded.Payload] and
// [Recorded.Hash] return at once for all readers that r is given to afterwards. It must
// not run concurrently with another use of r, and r must not be changed after it. The
// error is that of Payload.
func (r *Recorded) Prepare() error {
	r.hash = r.Hash()
	_, err := r.Payload()
	return err
}

// Hash is a SHA-256, as records are chained by.
type Hash [sha256.Size]byte

// String is the hash in 64 lower-case hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText is [Hash.String].
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText is [ParseHash].
func (h *Hash) UnmarshalText(text []byte) (err error) {
	*h, err = ParseHash(string(text))
	return err
}

// ParseHash reads the 64 hexadecimal digits that [Hash.String] writes.
func ParseHash(s string) (Hash, error) {
	var h Hash
	if len(s) != 2*len(h) {
		return h, fmt.Errorf("%w: hash %q: want %d hexadecimal digits", ErrInvalid, clip(s), 2*len(h))
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return Hash{}, fmt.Errorf("%w: hash %q: %w", ErrInvalid, clip(s), err)
	}
	return h, nil
}

// Hash returns the SHA-256 of the record; the package comment gives the bytes it is
// taken over. It costs one pass over the data in every call, except after
// [Recorded.Prepare].
func (r *Recorded) Hash() Hash {
	if r.hash != (Hash{}) {
		return r.hash
	}
	var framed [1024]byte // most records fit, and cost no allocation
	b := framed[:0]
	b = appendField(b, hashDomain)
	b = appendField(b, string(r.Stream))
	b = appendUint64(b, uint64(r.Version))
	b = appendField(b, string(r.ID[:]))
	b = appendField(b, r.Type)
	b = appendUint64(b, uint64(r.Time.UnixMicro()))
	b = appendField(b, r.Actor)
	b = appendField(b, r.Correlation)
	b = appendField(b, string(r.Causation[:]))
	b = appendField(b, r.Reason)
	b = appendField(b, string(r.Previous[:]))
	b = binary.BigEndian.AppendUint64(b, uint64(len(r.Data)))
	b = append(b, r.Data...)
	return sha256.Sum256(b)
}

const hashDomain = "oatmill record v1"

func appendField(b []byte, field string) []byte {
	return append(binary.BigEndian.AppendUint64(b, uint64(len(field))), field...)
}

func appendUint64(b []byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, 8), n)
}

// Instant is t as envelopes carry it: in UTC, cut to whole microseconds, without
// a monotonic reading.
func Instant(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// Limits of an append, the same for every log, so that a batch that one log takes
// is taken by all of them.
const (
	MaxBatch     = 1000      // envelopes in one batch
	MaxBatchSize = 512 << 10 // bytes of all their data together
	MaxText      = 1 << 10   // bytes of Type, Actor, Correlation and Reason each
)
