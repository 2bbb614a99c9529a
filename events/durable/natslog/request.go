package natslog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oatmill/oatmill/events"
)

// ask makes one request and waits for its answer, at most for Config.RequestTimeout. An
// error is errAgain or errUnsure, where it is worth another try, and ctx's when that
// has ended.
func (l *Log) ask(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
	if l.nc.IsClosed() {
		return nil, fmt.Errorf("%w: %w", events.ErrUnavailable, nats.ErrConnectionClosed)
	}
	one, cancel := context.WithTimeout(ctx, l.cfg.RequestTimeout)
	defer cancel()
	before := l.nc.LastError()
	answer, err := l.nc.RequestMsgWithContext(one, m)
	switch {
	case err == nil:
		return answer, nil
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadSubject):
		return nil, err
	case unsent(err):
		return nil, fmt.Errorf("%w: %w", errAgain, err)
	}
	if forbidden := l.forbidden(m.Subject, before); forbidden != nil {
		return nil, forbidden
	}
	return nil, fmt.Errorf("%w: %w", errUnsure, err)
}

// call makes a request of JetStream's own and reads the answer into reply.
func (l *Log) call(ctx context.Context, what string, request, reply any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	answer, err := l.ask(ctx, &nats.Msg{Subject: l.api + what, Data: body})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer.Data, reply); err != nil {
		return fmt.Errorf("answer to %s: %w", what, err)
	}
	return nil
}

// known gives an error in an answer of JetStream's its meaning for a read.
func known(err *jetstream.APIError) error {
	switch {
	case err == nil:
		return nil
	case err.ErrorCode == codeNoCluster || err.ErrorCode == codeNotLeader:
		return fmt.Errorf("%w: %w", errAgain, err)
	case err.ErrorCode == codeNoAccount || err.ErrorCode == codeNotEnabled:
		return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	}
	return err
}

// get is a request for one message.
type get struct {
	Seq  uint64 `json:"seq,omitempty"`
	Last string `json:"last_by_subj,omitempty"`
	Next string `json:"next_by_subj,omitempty"`
}

// fromLeader asks the leader of a stream for a message, which is nil when there is
// none. Only the leader has every message that was acknowledged.
func (l *Log) fromLeader(ctx context.Context, stream string, g get) (*message, error) {
	var found *message
	err := l.retry(ctx, func() (err error) {
		found, err = l.tryLeader(ctx, stream, g)
		return err
	})
	return found, err
}

func (l *Log) tryLeader(ctx context.Context, stream string, g get) (*message, error) {
	var reply struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject  string `json:"subject"`
			Sequence uint64 `json:"seq"`
			Header   []byte `json:"hdrs"`
			Data     []byte `json:"data"`
		} `json:"message"`
	}
	if err := l.call(ctx, "STREAM.MSG.GET."+stream, g, &reply); err != nil {
		return nil, err
	}
	if reply.Error != nil && reply.Error.ErrorCode == codeNoMessage {
		return nil, nil
	}
	if err := known(reply.Error); err != nil {
		return nil, err
	}
	if reply.Message == nil {
		return nil, errors.New("an answer without a message")
	}
	found := &message{seq: reply.Message.Sequence, subject: reply.Message.Subject, data: reply.Message.Data}
	if len(reply.Message.Header) > 0 {
		header, err := nats.DecodeHeadersMsg(reply.Message.Header)
		if err != nil {
			return nil, fmt.Errorf("%w: stream %s, sequence %d: %w", events.ErrDamaged, stream, found.seq, err)
		}
		found.header = header
	}
	return found, nil
}

// publish sends a message that must come directly after sequence last of its subject,
// once, and returns its own sequence. known tells that the server takes it for one it
// had before. Errors are as those of ask, errOutdated, or final and certain.
func (l *Log) publish(ctx context.Context, m *nats.Msg, last uint64) (seq uint64, known bool, err error) {
	m.Header["Nats-Expected-Last-Subject-Sequence"] = []string{fmt.Sprint(last)}
	answer, err := l.ask(ctx, m)
	if err != nil {
		return 0, false, err
	}
	var ack struct {
		Error     *jetstream.APIError `json:"error"`
		Stream    string              `json:"stream"`
		Seq       uint64              `json:"seq"`
		Duplicate bool                `json:"duplicate"`
	}
	if err := json.Unmarshal(answer.Data, &ack); err != nil || ack.Error == nil && (ack.Seq == 0 || ack.Stream == "") {
		return 0, false, fmt.Errorf("%w: %.100q", errUnsure, answer.Data)
	}
	if ack.Error != nil {
		return 0, false, refusal(ack.Error)
	}
	if ack.Stream != l.cfg.Stream && ack.Stream != l.besideName() {
		return 0, false, fmt.Errorf("%w: subject %s belongs to stream %s", ErrSettings, m.Subject, ack.Stream)
	}
	return ack.Seq, ack.Duplicate, nil
}
