package natslog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"

	"github.com/oatmill/oatmill/events"
)

// format is the version of the layout that this library writes.
const format = 1

// Headers of a message that holds a batch.
const (
	headerFormat  = "Oatmill-Format"
	headerStream  = "Oatmill-Stream"
	headerVersion = "Oatmill-Version" // of the first record
	headerIDs     = "Oatmill-Ids"     // of all records, in order
	headerHash    = "Oatmill-Hash"    // of the last record
	headerParts   = "Oatmill-Parts"   // sequences of the messages that hold the body
)

// perMessage is what sequences are multiplied with to make positions. It is above
// events.MaxBatch.
const perMessage = 1 << 10

func position(seq uint64, index int) events.Position {
	return events.Position(seq*perMessage + uint64(index))
}

// message is one message of the stream as the server gives it back.
type message struct {
	seq     uint64
	subject string
	header  nats.Header
	data    []byte
}

// entry is a message of which the headers were read.
type entry struct {
	seq    uint64
	stream events.StreamID
	first  events.Version
	ids    []ulid.ULID
	head   events.Head // after the batch
	parts  []uint64
	body   []byte
}

// field is what is said of a record in the line before its data.
type field struct {
	Type        string      `json:"type"`
	Time        time.Time   `json:"time"`
	Actor       string      `json:"actor,omitempty"`
	Correlation string      `json:"correlation,omitempty"`
	Causation   *ulid.ULID  `json:"causation,omitempty"`
	Reason      string      `json:"reason,omitempty"`
	Previous    events.Hash `json:"previous"`
	Size        int         `json:"size"`
}

// subject is where the records of a stream stand. A dot in a name, which would begin
// another token, is written as "=", which no name has.
func (l *Log) subject(stream events.StreamID) string {
	return l.cfg.Subject + ".log." + token(stream)
}

func token(stream events.StreamID) string {
	return stream.Kind() + "." + strings.ReplaceAll(stream.Name(), ".", "=")
}

// encode is the message for a sealed batch, without what the publisher adds.
func (l *Log) encode(records []events.Recorded, head events.Head) (*nats.Msg, error) {
	var ids strings.Builder
	size := 0
	for i := range records {
		if i > 0 {
			ids.WriteByte(' ')
		}
		ids.WriteString(records[i].ID.String())
		size += len(records[i].Data) + 512
	}
	body := make([]byte, 0, size)
	for i := range records {
		line, err := json.Marshal(fieldOf(&records[i]))
		if err != nil {
			return nil, err
		}
		body = append(append(body, line...), '\n')
		body = append(append(body, records[i].Data...), '\n')
	}
	stream := records[0].Stream
	return &nats.Msg{Subject: l.subject(stream), Data: body, Header: nats.Header{
		headerFormat:           {strconv.Itoa(format)},
		headerStream:           {string(stream)},
		headerVersion:          {strconv.FormatInt(int64(records[0].Version), 10)},
		headerIDs:              {ids.String()},
		headerHash:             {head.Hash.String()},
		jetstream.MsgIDHeader:  {records[0].ID.String()},
		"Nats-Expected-Stream": {l.cfg.Stream},
	}}, nil
}

func fieldOf(r *events.Recorded) field {
	f := field{
		Type: r.Type, Time: r.Time, Actor: r.Actor, Correlation: r.Correlation, Reason: r.Reason,
		Previous: r.Previous, Size: len(r.Data),
	}
	if r.Causation != (ulid.ULID{}) {
		f.Causation = &r.Causation
	}
	return f
}

// parse reads the headers of a message that must be a batch.
func (l *Log) parse(m *message) (*entry, error) {
	version, err := l.formatOf(m)
	if err != nil {
		return nil, err
	}
	if version > format {
		return nil, fmt.Errorf("%w: stream %s, sequence %d has format %d, this version reads %d", ErrNewer, l.cfg.Stream, m.seq, version, format)
	}
	e := &entry{seq: m.seq, stream: events.StreamID(m.header.Get(headerStream)), body: m.data}
	if _, err := events.ParseStreamID(string(e.stream)); err != nil || l.subject(e.stream) != m.subject {
		return nil, l.damaged(m.seq, "a record of %q on subject %s", e.stream, m.subject)
	}
	first, err := strconv.ParseInt(m.header.Get(headerVersion), 10, 64)
	if err != nil || first < 1 {
		return nil, l.damaged(m.seq, "version %q", m.header.Get(headerVersion))
	}
	e.first = events.Version(first)
	for id := range strings.SplitSeq(m.header.Get(headerIDs), " ") {
		parsed, err := ulid.ParseStrict(id)
		if err != nil {
			return nil, l.damaged(m.seq, "event ID %.40q: %v", id, err)
		}
		e.ids = append(e.ids, parsed)
	}
	if len(e.ids) > events.MaxBatch {
		return nil, l.damaged(m.seq, "a batch of %d events", len(e.ids))
	}
	e.head.Version = e.first + events.Version(len(e.ids)) - 1
	if e.head.Hash, err = events.ParseHash(m.header.Get(headerHash)); err != nil {
		return nil, l.damaged(m.seq, "%v", err)
	}
	e.parts, err = l.partsOf(m)
	return e, err
}

// formatOf is the format a message says it has. One that says nothing is not ours.
func (l *Log) formatOf(m *message) (int, error) {
	version, err := strconv.Atoi(m.header.Get(headerFormat))
	if err != nil || version < 1 {
		return 0, l.damaged(m.seq, "on subject %s stands a message that is no record of this library", m.subject)
	}
	return version, nil
}

// last is the position of the last record in a batch.
func (e *entry) last() events.Position { return position(e.seq, len(e.ids)-1) }

// records reads the body of a batch.
func (l *Log) records(e *entry) ([]events.Recorded, error) {
	records := make([]events.Recorded, len(e.ids))
	rest := e.body
	for i := range records {
		line, after, ok := bytes.Cut(rest, []byte("\n"))
		var f field
		if !ok || json.Unmarshal(line, &f) != nil || f.Size < 0 || f.Size >= len(after) || after[f.Size] != '\n' {
			return nil, l.damaged(e.seq, "record %d of %d cannot be read", i+1, len(records))
		}
		records[i] = events.Recorded{
			Envelope: events.Envelope{
				ID: e.ids[i], Type: f.Type, Time: f.Time.UTC(), Actor: f.Actor, Correlation: f.Correlation,
				Reason: f.Reason, Data: after[:f.Size:f.Size],
			},
			Stream: e.stream, Version: e.first + events.Version(i), Position: position(e.seq, i), Previous: f.Previous,
		}
		if f.Causation != nil {
			records[i].Causation = *f.Causation
		}
		rest = after[f.Size+1:]
	}
	if len(rest) > 0 {
		return nil, l.damaged(e.seq, "%d bytes behind the last record", len(rest))
	}
	return records, nil
}
