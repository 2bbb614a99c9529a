package events

import (
	"context"
	"fmt"
)

// VerifyChain reads the whole stream and checks that its versions run from 1
// without holes, that every record carries the hash of the one before it, and, for
// a log that has [Heads], that the last record is the one the log noted. It returns
// the stream's head.
//
// noted are heads of this stream that the caller got from earlier calls and kept
// where whoever can write to the log cannot. They must still be in the stream, so
// that a stream which was rewritten as a whole, or cut short, is seen too.
//
// A stream that was tampered with is a [*ChainError]; other errors are the log's.
func VerifyChain(ctx context.Context, log Log, stream StreamID, noted ...Head) (Head, error) {
	var head, own Head
	// Asked before the read: records appended meanwhile then only add to it.
	if log, ok := log.(Heads); ok {
		var err error
		if own, err = log.Head(ctx, stream); err != nil {
			return Head{}, fmt.Errorf("verify %s: %w", stream, err)
		}
	}
	known := notes(append([]Head{own}, noted...))
	for r, err := range log.ReadStream(ctx, stream, 0) {
		if err != nil {
			return Head{}, fmt.Errorf("verify %s: %w", stream, err)
		}
		if r.Stream != stream {
			return Head{}, &ChainError{stream, head.Version + 1, fmt.Sprintf("is a record of %s", r.Stream)}
		}
		if err := head.Advance(&r); err != nil {
			return Head{}, err
		}
		if problem := known.contradicts(head); problem != "" {
			return Head{}, &ChainError{stream, head.Version, problem}
		}
	}
	for version := range known {
		if version > head.Version {
			return Head{}, &ChainError{stream, head.Version + 1, fmt.Sprintf("missing: the stream once reached version %d", version)}
		}
	}
	return head, nil
}

// Advance moves the head over r, the next record of its stream. When r does not continue
// the stream, Advance returns a [*ChainError] and leaves the head as it is: r has another
// version than the next one, it does not carry the hash of the record before it, or its
// content is not what the log stored a hash of.
//
// Everything that folds a stream calls Advance for each record, so that no record is
// folded that was changed, slipped in, or follows another one than the reader has seen.
func (h *Head) Advance(r *Recorded) error {
	switch {
	case r.Version != h.Version+1:
		return &ChainError{r.Stream, h.Version + 1, fmt.Sprintf("missing: the next record is version %d", r.Version)}
	case r.Previous != h.Hash:
		return &ChainError{r.Stream, r.Version, fmt.Sprintf("says %s of the record before it, which is %s", r.Previous, h.Hash)}
	}
	hash := r.Hash()
	if r.kept && r.stored != hash {
		return &ChainError{r.Stream, r.Version, fmt.Sprintf("is %s and was stored as %s", hash, r.stored)}
	}
	*h = Head{Version: r.Version, Hash: hash}
	return nil
}

// headNotes are the hashes that records at certain versions are known to have had.
type headNotes map[Version][]Hash

func notes(heads []Head) headNotes {
	known := make(headNotes)
	for _, h := range heads {
		if h.Version > 0 {
			known[h.Version] = append(known[h.Version], h.Hash)
		}
	}
	return known
}

func (n headNotes) contradicts(h Head) string {
	for _, hash := range n[h.Version] {
		if hash != h.Hash {
			return fmt.Sprintf("is %s and was noted as %s", h.Hash, hash)
		}
	}
	return ""
}
