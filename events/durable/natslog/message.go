package natslog

import (
	"bytes"
	"encoding/hex"
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

// Headers of a message that holds a batch. They cost their bytes on three machines, so
// that there are few: the name of the stream is in the subject, and the ID of the first
// event is the message's own.
const (
	headerBatch = "Oatmill-Batch" // format, version of the first record, hash of the last
	headerIDs   = "Oatmill-Ids"   // of all events, in order, where there are several
	headerParts = "Oatmill-Parts" // sequences of the messages that hold the body, where it is elsewhere
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

// field is what is said of a record in the line before its data, in JSON. It is
// written by hand, because every append writes one, and read with encoding/json.
type field struct {
	Type        string      `json:"type"`
	Time        time.Time   `json:"time"`
	Actor       string      `json:"actor"`
	Correlation string      `json:"correlation"`
	Causation   *ulid.ULID  `json:"causation"`
	Reason      string      `json:"reason"`
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

// streamOf undoes subject. What it returns for other subjects is no stream or has
// another subject.
func (l *Log) streamOf(subject string) events.StreamID {
	kind, name, _ := strings.Cut(strings.TrimPrefix(subject, l.cfg.Subject+".log."), ".")
	return events.StreamID(kind + "/" + strings.ReplaceAll(name, "=", "."))
}

// encode is the message for a sealed batch, without what the publisher adds.
func (l *Log) encode(records []events.Recorded, head events.Head) *nats.Msg {
	size := 0
	for i := range records {
		size += len(records[i].Data) + 512
	}
	body := make([]byte, 0, size)
	for i := range records {
		body = appendLine(body, &records[i])
		body = append(append(body, records[i].Data...), '\n')
	}
	m := &nats.Msg{Subject: l.subject(records[0].Stream), Data: body, Header: nats.Header{
		headerBatch:           {fmt.Sprintf("%d %d %s", format, records[0].Version, head.Hash)},
		jetstream.MsgIDHeader: {records[0].ID.String()},
	}}
	if len(records) > 1 {
		ids := make([]string, len(records))
		for i := range records {
			ids[i] = records[i].ID.String()
		}
		m.Header[headerIDs] = []string{strings.Join(ids, " ")}
	}
	return m
}

// appendLine writes the line before the data of a record.
func appendLine(b []byte, r *events.Recorded) []byte {
	b = append(b, `{"type":"`...)
	b = append(append(b, r.Type...), `","time":"`...)
	b = append(r.Time.AppendFormat(b, time.RFC3339Nano), '"')
	b = appendText(b, "actor", r.Actor)
	b = appendText(b, "correlation", r.Correlation)
	if r.Causation != (ulid.ULID{}) {
		b = appendText(b, "causation", r.Causation.String())
	}
	b = appendText(b, "reason", r.Reason)
	b = append(b, `,"previous":"`...)
	b = append(hex.AppendEncode(b, r.Previous[:]), `","size":`...)
	return append(strconv.AppendInt(b, int64(len(r.Data)), 10), "}\n"...)
}

// appendText writes a member of the object that is not empty.
func appendText(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":`...)
	for i := range len(text) {
		if c := text[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			quoted, _ := json.Marshal(text) // cannot fail for a string
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), text...), '"')
}

// parse reads the headers of a message that must be a batch.
func (l *Log) parse(m *message) (*entry, error) {
	fields := strings.Split(m.header.Get(headerBatch), " ")
	version, err := strconv.Atoi(fields[0])
	switch {
	case err != nil || version < 1:
		return nil, l.damaged(m.seq, "on subject %s stands a message that is no record of this library", m.subject)
	case version > format:
		return nil, fmt.Errorf("%w: stream %s, sequence %d has format %d, this version reads %d", events.ErrNewer, l.cfg.Stream, m.seq, version, format)
	case len(fields) != 3:
		return nil, l.damaged(m.seq, "header %s is %.100q", headerBatch, m.header.Get(headerBatch))
	}
	e := &entry{seq: m.seq, stream: l.streamOf(m.subject), body: m.data}
	if _, err := events.ParseStreamID(string(e.stream)); err != nil || l.subject(e.stream) != m.subject {
		return nil, l.damaged(m.seq, "a record on subject %s, which belongs to no stream", m.subject)
	}
	first, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil || first < 1 {
		return nil, l.damaged(m.seq, "version %.40q", fields[1])
	}
	if e.ids, err = l.idsIn(m); err != nil {
		return nil, err
	}
	e.first = events.Version(first)
	e.head.Version = e.first + events.Version(len(e.ids)) - 1
	if e.head.Hash, err = events.ParseHash(fields[2]); err != nil {
		return nil, l.damaged(m.seq, "%v", err)
	}
	e.parts, err = l.partsOf(m)
	return e, err
}

// idsIn are the event IDs that a message names.
func (l *Log) idsIn(m *message) ([]ulid.ULID, error) {
	list := m.header.Get(headerIDs)
	if list == "" {
		list = m.header.Get(jetstream.MsgIDHeader)
	}
	ids := make([]ulid.ULID, 0, 1+len(list)/(ulid.EncodedSize+1))
	for id := range strings.SplitSeq(list, " ") {
		parsed, err := ulid.ParseStrict(id)
		if err != nil {
			return nil, l.damaged(m.seq, "event ID %.40q: %v", id, err)
		}
		ids = append(ids, parsed)
	}
	if len(ids) > events.MaxBatch {
		return nil, l.damaged(m.seq, "a batch of %d events", len(ids))
	}
	return ids, nil
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
	records[len(records)-1].SetStored(e.head.Hash)
	if len(rest) > 0 {
		return nil, l.damaged(e.seq, "%d bytes behind the last record", len(rest))
	}
	return records, nil
}
