package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
)

// Encode is the payload as it is recorded: the name of its type, and its JSON with
// the fields in the order of the Go type. p must not be nil, nor a nil pointer.
func Encode(p Payload) (eventType string, data []byte, err error) {
	w := writer{data: make([]byte, 0, 320)} // most payloads fit
	if w.payload(p) {
		return p.EventType(), w.data, nil
	}
	data, err = encode(w.data, p)
	if err != nil {
		return "", nil, fmt.Errorf("encode %s: %w", p.EventType(), err)
	}
	return p.EventType(), data, nil
}

// Decode reads what [Encode] wrote, and any other JSON that means the same. An
// unknown type is an [*UnknownTypeError]; data that is not what the type says is
// [ErrDamaged]. The payload does not alias data.
func Decode(eventType string, data []byte) (Payload, error) {
	// The layout Encode writes is read without looking back. Everything else,
	// rare and still right, is left to encoding/json.
	c := cursor{data: data}
	if p, ok := c.payload(eventType); ok {
		return p, nil
	}
	p := newPayload(eventType)
	if p == nil {
		return nil, &UnknownTypeError{Type: eventType}
	}
	if err := json.Unmarshal(data, p); err != nil {
		return nil, fmt.Errorf("%w: decode %s: %w", ErrDamaged, eventType, err)
	}
	return p, nil
}

// Payload is the record's data, decoded as [Decode] does. The first call keeps the
// result in r for later ones, which is why it must not run beside another use of
// the same r; several projections that are fed one batch share one decoding so.
func (r *Recorded) Payload() (Payload, error) {
	if r.payload == nil {
		p, err := Decode(r.Type, r.Data)
		if err != nil {
			return nil, r.place(err)
		}
		r.payload = p
	}
	return r.payload, nil
}

// place adds to a decoding error where in the log it happened.
func (r *Recorded) place(err error) error {
	if _, ok := err.(*UnknownTypeError); ok {
		return &UnknownTypeError{Type: r.Type, Stream: r.Stream, Position: r.Position}
	}
	return fmt.Errorf("position %d in %s: %w", r.Position, r.Stream, err)
}

// Equal tells whether two records are the same in every field.
func (r Recorded) Equal(o Recorded) bool {
	return r.Stream == o.Stream && r.Version == o.Version && r.Position == o.Position && r.Previous == o.Previous &&
		r.ID == o.ID && r.Type == o.Type && r.Time.Equal(o.Time) && r.Actor == o.Actor &&
		r.Correlation == o.Correlation && r.Causation == o.Causation && r.Reason == o.Reason && bytes.Equal(r.Data, o.Data)
}

// NewEnvelope is an envelope around p, with only what every event needs; the rest
// can be set afterwards.
func NewEnvelope(id ulid.ULID, at time.Time, actor string, p Payload) (Envelope, error) {
	eventType, data, err := Encode(p)
	if err != nil {
		return Envelope{}, err
	}
	return Envelope{ID: id, Type: eventType, Time: Instant(at), Actor: actor, Data: data}, nil
}
