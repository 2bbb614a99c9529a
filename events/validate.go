package events

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"
)

// Validate checks everything about an append that does not depend on what the log
// holds: the stream's name, the expected version, the size of the batch, and each
// envelope. Every [Log] calls it first, so that all logs refuse the same. The
// error is [ErrInvalid] and names what is wrong with which event.
func Validate(stream StreamID, expected Version, batch []Envelope) error {
	if _, err := ParseStreamID(string(stream)); err != nil {
		return err
	}
	if expected < Any {
		return fmt.Errorf("%w: append to %s: expected version %d", ErrInvalid, stream, expected)
	}
	if len(batch) == 0 || len(batch) > MaxBatch {
		return fmt.Errorf("%w: append to %s: a batch has 1 to %d events, not %d", ErrInvalid, stream, MaxBatch, len(batch))
	}
	size := 0
	for i := range batch {
		if problem := batch[i].problem(); problem != "" {
			return fmt.Errorf("%w: append to %s: event %d: %s", ErrInvalid, stream, i, problem)
		}
		size += len(batch[i].Data)
	}
	if size > MaxBatchSize {
		return fmt.Errorf("%w: append to %s: %d bytes of data, at most %d fit one batch", ErrInvalid, stream, size, MaxBatchSize)
	}
	if repeated(batch) {
		return fmt.Errorf("%w: append to %s: an event ID stands in the batch twice", ErrInvalid, stream)
	}
	return nil
}

// problem says what makes the envelope unfit for a log, "" when nothing does.
func (e *Envelope) problem() string {
	switch {
	case e.ID == ulid.ULID{}:
		return "no ID"
	case !consistsOf(e.Type, isTypeByte):
		return fmt.Sprintf("type %q: want lower-case letters, digits, dots and underscores", clip(e.Type))
	case !plain(e.Type) || !plain(e.Actor) || !plain(e.Correlation) || !plain(e.Reason):
		return fmt.Sprintf("type, actor, correlation or reason: want UTF-8 without NUL of at most %d bytes", MaxText)
	case e.Time.Location() != time.UTC || e.Time.Nanosecond()%1000 != 0:
		return "time: want UTC in whole microseconds"
	case e.Time.Year() < 1 || e.Time.Year() > 9999:
		return "time: want a year from 1 to 9999"
	case !isObject(e.Data):
		return "data: want one JSON object in valid UTF-8"
	}
	return ""
}

// repeated tells whether two envelopes have one ID. Batches are mostly of one or
// two events, so the map is made only for longer ones.
func repeated(batch []Envelope) bool {
	if len(batch) <= 8 {
		for i := range batch {
			for j := range i {
				if batch[i].ID == batch[j].ID {
					return true
				}
			}
		}
		return false
	}
	seen := make(map[ulid.ULID]struct{}, len(batch))
	for i := range batch {
		seen[batch[i].ID] = struct{}{}
	}
	return len(seen) < len(batch)
}

// Admits reports whether a batch that was decided on the expected version may be appended
// behind the head, the last record of the stream.
func (h Head) Admits(expected Version, batch []Envelope) bool {
	return (expected == Any || expected == h.Version) && (batch[0].Follows == Hash{} || batch[0].Follows == h.Hash)
}

// Seal puts a valid batch in its place after head, the stream's last record: it
// sets stream, versions and the hash chain, and returns the new head. Positions
// are the log's to set. Logs call it inside whatever makes their append atomic.
func Seal(stream StreamID, head Head, batch []Envelope) ([]Recorded, Head) {
	sealed := make([]Recorded, len(batch))
	for i := range batch {
		r := &sealed[i]
		r.Envelope, r.Stream, r.Version, r.Previous = batch[i], stream, head.Version+1, head.Hash
		r.Follows = Hash{} // not kept
		head = Head{Version: r.Version, Hash: r.Hash()}
	}
	return sealed, head
}

func plain(s string) bool {
	return len(s) <= MaxText && utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

func consistsOf(s string, is func(byte) bool) bool {
	for i := range len(s) {
		if !is(s[i]) {
			return false
		}
	}
	return s != ""
}

func isKindByte(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
func isTypeByte(c byte) bool { return isKindByte(c) || c == '.' || c == '_' }
func isNameByte(c byte) bool { return isTypeByte(c) || 'A' <= c && c <= 'Z' || c == '-' }

// clip keeps a message short and one line, whatever it quotes.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
