package logtest

import (
	"context"
	"fmt"
	"io"

	"github.com/oatmill/oatmill/events"
)

// Complete is a log with every optional ability.
type Complete interface {
	events.Log
	events.Notifier
	events.Heads
	events.Snapshots
	events.Checkpoints
	io.Closer
}

// Loss is what becomes of an append and of its reply.
type Loss int

// What can become of an append.
const (
	Delivered   Loss = iota // nothing is lost
	LostKept                // the batch is appended, the caller does not learn of it
	LostDropped             // the batch never reaches the log
)

// Flaky is a log whose replies get lost on the way, as they do when a connection
// breaks. The caller of a lost append gets [events.ErrUnknownOutcome] in both cases
// and cannot tell them apart. Everything but Append is the log's own.
type Flaky struct {
	Complete

	// Lose decides what becomes of an append. It is called from whatever goroutine
	// appends. Required.
	Lose func(stream events.StreamID, batch []events.Envelope) Loss
}

// Append is [events.Log.Append], except that its reply may get lost. An error of
// the log itself, like a conflict, is lost too: it never reached the caller.
func (f *Flaky) Append(ctx context.Context, stream events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	loss := f.Lose(stream, batch)
	if loss == LostDropped {
		return nil, f.lost(stream)
	}
	recorded, err := f.Complete.Append(ctx, stream, expected, batch...)
	if loss == LostKept {
		return nil, f.lost(stream)
	}
	return recorded, err
}

func (f *Flaky) lost(stream events.StreamID) error {
	return fmt.Errorf("append to %s: reply lost: %w", stream, events.ErrUnknownOutcome)
}

// completed is log as a complete one. An ability it does not have panics when it is
// used.
func completed(log events.Log) Complete {
	c := struct {
		events.Log
		events.Notifier
		events.Heads
		events.Snapshots
		events.Checkpoints
		io.Closer
	}{Log: log}
	c.Notifier, _ = log.(events.Notifier)
	c.Heads, _ = log.(events.Heads)
	c.Snapshots, _ = log.(events.Snapshots)
	c.Checkpoints, _ = log.(events.Checkpoints)
	c.Closer, _ = log.(io.Closer)
	return c
}
