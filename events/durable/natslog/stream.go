package natslog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oatmill/oatmill/events"
)

// minPayload is the size in bytes of the largest message there may be: a record of
// events.MaxBatchSize does not go in pieces, and headers and texts come on top.
const minPayload = events.MaxBatchSize + 128<<10

// settings are how the stream of the log is set up: nothing in it is ever dropped,
// deleted or changed.
func (l *Log) settings() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        l.cfg.Stream,
		Description: "oatmill log: one message is one batch",
		Subjects:    []string{l.cfg.Subject + ".log.*.*", l.partSubject("*")},
		Retention:   jetstream.LimitsPolicy,
		Storage:     jetstream.FileStorage,
		Discard:     jetstream.DiscardNew,
		MaxMsgs:     -1, MaxBytes: -1, MaxMsgsPerSubject: -1, MaxMsgSize: -1, MaxConsumers: -1,
		Replicas:    l.replicas(),
		Duplicates:  l.cfg.Duplicates,
		DenyDelete:  true,
		DenyPurge:   true,
		AllowDirect: true,
		Metadata:    map[string]string{"oatmill-format": fmt.Sprint(format)},
	}
}

func (l *Log) replicas() int {
	switch {
	case l.cfg.Replicas > 0:
		return l.cfg.Replicas
	case l.nc.ConnectedClusterName() != "":
		return 3
	}
	return 1
}

// prepare makes sure that the streams are there and fit to hold a log.
func (l *Log) prepare(ctx context.Context) error {
	ctx, cancel := l.until(ctx)
	defer cancel()
	err := l.retry(ctx, func() error { return l.tryPrepare(ctx) })
	if err != nil && ctx.Err() != nil {
		return l.ending(ctx, err)
	}
	return err
}

func (l *Log) tryPrepare(ctx context.Context) error {
	if err := l.checkServer(); err != nil {
		return err
	}
	info, err := l.ensure(ctx, l.settings())
	if err != nil {
		return err
	}
	if wrong := l.wrong(info.Config); len(wrong) > 0 {
		return fmt.Errorf("%w: stream %s: %s", ErrSettings, l.cfg.Stream, strings.Join(wrong, "; "))
	}
	if err := l.checkEnds(ctx, info.State); err != nil {
		return err
	}
	if _, err := l.tryLastSequence(ctx); err != nil {
		if refused := new(jetstream.APIError); errors.As(err, &refused) && refused.ErrorCode == codeNoStream {
			return fmt.Errorf("%w: %w", errAgain, err) // of a node that has not heard of the stream yet
		}
		return err
	}
	if _, err := l.ensure(ctx, l.besideSettings()); err != nil {
		return err
	}
	if err := l.mayPublish(ctx); err != nil {
		return err
	}
	return l.ends.listen()
}

// checkServer looks at what the connection knows of its server.
func (l *Log) checkServer() error {
	if !l.nc.IsConnected() {
		return fmt.Errorf("%w: not connected", errAgain)
	}
	var major, minor int
	if _, err := fmt.Sscanf(l.nc.ConnectedServerVersion(), "%d.%d", &major, &minor); err == nil && (major < 2 || major == 2 && minor < 11) {
		return fmt.Errorf("server %s has version %s, want 2.11 or newer", l.nc.ConnectedServerName(), l.nc.ConnectedServerVersion())
	}
	if l.nc.MaxPayload() < minPayload {
		return fmt.Errorf("max_payload of server %s is %d bytes, the largest batch needs %d", l.nc.ConnectedServerName(), l.nc.MaxPayload(), minPayload)
	}
	return nil
}

// ensure creates a stream if it is not there, and says what it is like.
func (l *Log) ensure(ctx context.Context, want jetstream.StreamConfig) (*jetstream.StreamInfo, error) {
	one, cancel := context.WithTimeout(ctx, l.cfg.RequestTimeout)
	defer cancel()
	before := l.nc.LastError()
	s, err := l.js.Stream(one, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = l.js.CreateStream(one, want)
	}
	var refused *jetstream.APIError
	switch {
	case err == nil:
		return s.CachedInfo(), nil
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return nil, fmt.Errorf("%w: stream %s: %w", events.ErrUnavailable, want.Name, err)
	case errors.As(err, &refused) && (refused.ErrorCode == codeExists || refused.ErrorCode == codeNoCluster || refused.ErrorCode == codeNotLeader):
		return nil, fmt.Errorf("%w: stream %s: %w", errAgain, want.Name, err) // another process was faster, or there is no leader
	case errors.As(err, &refused) && noSpace(refused):
		return nil, fmt.Errorf("%w: stream %s: %w", events.ErrFull, want.Name, err)
	case errors.As(err, &refused):
		return nil, fmt.Errorf("stream %s: %w", want.Name, err)
	}
	for _, request := range []string{"STREAM.INFO.", "STREAM.CREATE."} {
		if forbidden := l.forbidden(l.api+request+want.Name, before); forbidden != nil {
			return nil, forbidden
		}
	}
	return nil, fmt.Errorf("%w: stream %s: %w", errAgain, want.Name, err)
}

// wrong names the settings under which a stream cannot hold a log.
func (l *Log) wrong(got jetstream.StreamConfig) (wrong []string) {
	want := l.settings()
	demand := func(ok bool, name string, got, want any) {
		if !ok {
			wrong = append(wrong, fmt.Sprintf("%s is %v, want %v", name, got, want))
		}
	}
	subjects := slices.Sorted(slices.Values(got.Subjects))
	demand(slices.Equal(subjects, slices.Sorted(slices.Values(want.Subjects))), "subjects", got.Subjects, want.Subjects)
	demand(got.Retention == want.Retention, "retention", got.Retention, want.Retention)
	demand(got.Storage == want.Storage, "storage", got.Storage, want.Storage)
	demand(got.MaxAge == 0, "max_age", got.MaxAge, "none")
	demand(got.MaxMsgsPerSubject <= 0, "max_msgs_per_subject", got.MaxMsgsPerSubject, "none")
	demand(got.MaxMsgSize <= 0 || got.MaxMsgSize >= minPayload, "max_msg_size", got.MaxMsgSize, fmt.Sprintf("none or at least %d", minPayload))
	demand(got.Discard == jetstream.DiscardNew || got.MaxMsgs <= 0 && got.MaxBytes <= 0, "discard", got.Discard, jetstream.DiscardNew)
	demand(got.DenyDelete, "deny_delete", got.DenyDelete, true)
	demand(got.DenyPurge, "deny_purge", got.DenyPurge, true)
	demand(!got.AllowRollup, "allow_rollup_hdrs", got.AllowRollup, false)
	demand(!got.AllowMsgTTL, "allow_msg_ttl", got.AllowMsgTTL, false)
	demand(!got.AllowMsgCounter, "allow_msg_counter", got.AllowMsgCounter, false)
	demand(!got.AllowMsgSchedules, "allow_msg_schedules", got.AllowMsgSchedules, false)
	demand(!got.NoAck, "no_ack", got.NoAck, false)
	demand(!got.Sealed, "sealed", got.Sealed, false)
	demand(got.AllowDirect, "allow_direct", got.AllowDirect, true)
	demand(got.PersistMode != jetstream.AsyncPersistMode, "persist_mode", got.PersistMode, jetstream.DefaultPersistMode)
	demand(got.Mirror == nil, "mirror", got.Mirror != nil, "none")
	demand(len(got.Sources) == 0, "sources", len(got.Sources), "none")
	demand(got.SubjectTransform == nil, "subject_transform", got.SubjectTransform != nil, "none")
	demand(l.cfg.Replicas <= 0 || got.Replicas == l.cfg.Replicas, "num_replicas", got.Replicas, l.cfg.Replicas)
	return wrong
}

// checkEnds looks at the first and the last message of a stream that was there before.
// What stands between them is met by those who read it.
func (l *Log) checkEnds(ctx context.Context, state jetstream.StreamState) error {
	if state.Msgs == 0 && state.LastSeq > 0 || state.FirstSeq > 1 || state.NumDeleted > 0 {
		return l.damaged(state.FirstSeq, "%d messages from sequence %d to %d; some were deleted", state.Msgs, state.FirstSeq, state.LastSeq)
	}
	for _, seq := range []uint64{1, state.LastSeq} {
		if state.Msgs == 0 {
			return nil
		}
		m, err := l.tryLeader(ctx, l.cfg.Stream, get{Seq: seq})
		if err != nil {
			return err
		}
		if m == nil {
			return l.damaged(seq, "the message is missing")
		}
		if !l.isPart(m) {
			if _, err := l.parse(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// mayPublish finds out whether the user has the right to append, with a message that
// the server refuses: it says to be for another stream.
func (l *Log) mayPublish(ctx context.Context) error {
	probe := &nats.Msg{Subject: l.cfg.Subject + ".log.probe.rights", Header: nats.Header{"Nats-Expected-Stream": {l.cfg.Stream + "-none"}}}
	_, _, err := l.publish(ctx, probe, 0)
	var refused *jetstream.APIError
	if errors.As(err, &refused) && refused.ErrorCode == codeOtherStream {
		return nil
	}
	return err
}
