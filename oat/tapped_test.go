package oat_test

import (
	"context"
	"iter"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/logtest"
	"github.com/oatmill/oatmill/oat"
)

// tapped is a log with somebody in the line, who may answer in its place. Functions
// that are nil let everything pass.
type tapped struct {
	logtest.Complete

	// onAppend sees every append before the log does. Its error is the answer.
	onAppend func(ctx context.Context, stream events.StreamID, batch []events.Envelope) error
	// appended sees every append that the log carried out.
	appended func()
	// onRead sees every record of a stream that is read, and, with a nil record,
	// every beginning of such a read. Its error is the answer.
	onRead func(r *events.Recorded) error
}

// tap puts a tap into the log of a service, and beside it into *into.
func tap(into **tapped) func(*oat.Config) {
	return func(cfg *oat.Config) {
		*into = &tapped{Complete: cfg.Log.(logtest.Complete)}
		cfg.Log = *into
	}
}

func (l *tapped) Append(ctx context.Context, stream events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	if l.onAppend != nil {
		if err := l.onAppend(ctx, stream, batch); err != nil {
			return nil, err
		}
	}
	recorded, err := l.Complete.Append(ctx, stream, expected, batch...)
	if err == nil && l.appended != nil {
		l.appended()
	}
	return recorded, err
}

func (l *tapped) ReadStream(ctx context.Context, stream events.StreamID, after events.Version) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		if l.onRead == nil {
			l.Complete.ReadStream(ctx, stream, after)(yield)
			return
		}
		if err := l.onRead(nil); err != nil {
			yield(events.Recorded{}, err)
			return
		}
		for r, err := range l.Complete.ReadStream(ctx, stream, after) {
			if err == nil {
				err = l.onRead(&r)
			}
			if err != nil {
				yield(events.Recorded{}, err)
				return
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}
