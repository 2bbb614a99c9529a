package natslog

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"
)

// headerPart marks a message that is a piece of the body of a later one.
const headerPart = "Oatmill-Part"

func (l *Log) partSubject(id string) string { return l.cfg.Subject + ".part." + id }

func (l *Log) isPart(m *message) bool {
	return m.header.Get(headerPart) != "" && strings.HasPrefix(m.subject, l.partSubject(""))
}

// partsOf are the sequences of a batch's pieces, none when it is whole.
func (l *Log) partsOf(m *message) (parts []uint64, err error) {
	list := m.header.Get(headerParts)
	if list == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(list, " ") {
		seq, err := strconv.ParseUint(part, 10, 64)
		if err != nil || seq == 0 || seq >= m.seq {
			return nil, l.damaged(m.seq, "part %.20q", part)
		}
		parts = append(parts, seq)
	}
	return parts, nil
}

// room is how many bytes of data a message may have beside its headers.
func (l *Log) room() int { return int(l.nc.MaxPayload()) - 64<<10 }

// split makes a message that is larger than the server takes fit. Pieces of its body
// are published beforehand, and the message, which alone makes them count, names them.
// Batches are as large as that only when hundreds of events come with long texts.
func (l *Log) split(ctx context.Context, m *nats.Msg, room int) error {
	var list []string
	for rest := m.Data; len(rest) > 0; {
		piece := rest[:min(room, len(rest))]
		rest = rest[len(piece):]
		seq, err := l.publishPart(ctx, m.Header.Get(jetstream.MsgIDHeader), piece)
		if err != nil {
			return err
		}
		list = append(list, strconv.FormatUint(seq, 10))
	}
	m.Data = nil
	m.Header[headerParts] = []string{strings.Join(list, " ")}
	return nil
}

// publishPart publishes a piece until it is acknowledged. One that is there twice, after a
// lost reply, does no harm.
func (l *Log) publishPart(ctx context.Context, of string, piece []byte) (seq uint64, err error) {
	err = l.retry(ctx, func() error {
		m := &nats.Msg{Subject: l.partSubject(ulid.Make().String()), Data: piece, Header: nats.Header{
			headerPart: {of},
		}}
		seq, _, err = l.publish(ctx, m, 0)
		return err
	})
	return seq, err
}

// join puts the body of a batch together from its pieces.
func (l *Log) join(ctx context.Context, e *entry) error {
	for _, seq := range e.parts {
		m, err := l.fromLeader(ctx, l.cfg.Stream, get{Seq: seq})
		if err != nil {
			return err
		}
		if m == nil || !l.isPart(m) {
			return l.damaged(e.seq, "its part at sequence %d is missing", seq)
		}
		e.body = append(e.body, m.data...)
	}
	if e.parts != nil && len(e.body) == 0 {
		return fmt.Errorf("%w", l.damaged(e.seq, "no body"))
	}
	e.parts = nil
	return nil
}
