package natslog

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oatmill/oatmill/events"
)

// besideName is the stream that holds what stands beside the log: the last message of
// each subject, as a key-value bucket does. It is not one of nats.go's, because these
// may be read from servers that lag behind.
func (l *Log) besideName() string { return l.cfg.Stream + "-beside" }

func (l *Log) besideSettings() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        l.besideName(),
		Description: "oatmill: checkpoints, and snapshots, which may be deleted",
		Subjects:    []string{l.cfg.Subject + ".checkpoint.*", l.cfg.Subject + ".snapshot.*.*", l.cfg.Subject + ".piece.*.*.*.*"},
		Storage:     jetstream.FileStorage,
		MaxMsgs:     -1, MaxBytes: -1, MaxMsgsPerSubject: 1, MaxMsgSize: -1, MaxConsumers: -1,
		Replicas:    l.replicas(),
		AllowDirect: true,
	}
}

// besideLast is the last message of a subject beside the log, nil when there is none.
func (l *Log) besideLast(ctx context.Context, subject string) (*message, error) {
	return l.fromLeader(ctx, l.besideName(), get{Last: subject})
}

// put replaces the message of a subject, if that has sequence last.
func (l *Log) put(ctx context.Context, subject string, last uint64, data []byte) (uint64, error) {
	m := &nats.Msg{Subject: subject, Data: data, Header: nats.Header{}}
	seq, _, err := l.publish(ctx, m, last)
	return seq, err
}

func (l *Log) checkpointSubject(name string) (string, error) {
	if len(name) == 0 || len(name) > events.MaxText {
		return "", fmt.Errorf("%w: checkpoint name of %d bytes: want 1 to %d", events.ErrInvalid, len(name), events.MaxText)
	}
	return l.cfg.Subject + ".checkpoint." + base64.RawURLEncoding.EncodeToString([]byte(name)), nil
}

// SaveCheckpoint is [events.Checkpoints.SaveCheckpoint]. It is as durable as a record.
func (l *Log) SaveCheckpoint(ctx context.Context, name string, p events.Position) error {
	subject, err := l.checkpointSubject(name)
	if err != nil {
		return err
	}
	_, err = once(ctx, l, func(ctx context.Context) (none struct{}, err error) {
		return none, l.retry(ctx, func() error { return l.tryCheckpoint(ctx, subject, p) })
	})
	if err != nil {
		return fmt.Errorf("save checkpoint %q: %w", name, err)
	}
	return nil
}

// tryCheckpoint moves a checkpoint forward if nobody else moves it at the same time.
func (l *Log) tryCheckpoint(ctx context.Context, subject string, p events.Position) error {
	saved, seq, err := l.checkpoint(ctx, subject)
	if err != nil || p <= saved {
		return err
	}
	_, err = l.put(ctx, subject, seq, strconv.AppendInt(nil, int64(p), 10))
	if errors.Is(err, errOutdated) {
		return fmt.Errorf("%w: %w", errAgain, err)
	}
	return err
}

// checkpoint is the position in a message, and the message's sequence.
func (l *Log) checkpoint(ctx context.Context, subject string) (events.Position, uint64, error) {
	m, err := l.besideLast(ctx, subject)
	if err != nil || m == nil {
		return 0, 0, err
	}
	p, err := strconv.ParseInt(string(m.data), 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("%w: stream %s, sequence %d: a checkpoint of %.20q", events.ErrDamaged, l.besideName(), m.seq, m.data)
	}
	return events.Position(p), m.seq, nil
}

// LoadCheckpoint is [events.Checkpoints.LoadCheckpoint].
func (l *Log) LoadCheckpoint(ctx context.Context, name string) (events.Position, error) {
	subject, err := l.checkpointSubject(name)
	if err != nil {
		return 0, err
	}
	p, err := once(ctx, l, func(ctx context.Context) (events.Position, error) {
		p, _, err := l.checkpoint(ctx, subject)
		return p, err
	})
	if err != nil {
		return 0, fmt.Errorf("load checkpoint %q: %w", name, err)
	}
	return p, nil
}
