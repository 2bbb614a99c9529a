package natslog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oatmill/oatmill/events"
)

// manifest is what is said of a snapshot in the line before its data. Data that does not
// fit into one message stands in pieces, in one of two places which take turns, so that
// the snapshot there was stays whole until the new one is.
type manifest struct {
	Head   events.Head `json:"head"`
	Format []byte      `json:"format"`
	Sum    events.Hash `json:"sha256"`
	Place  int         `json:"place"`            // 0 or 1
	Pieces []uint64    `json:"pieces,omitempty"` // their sequences
}

func (l *Log) snapshotSubject(stream events.StreamID) string {
	return l.cfg.Subject + ".snapshot." + token(stream)
}

// pieces is the subjects of the pieces in a place; what says which of them.
func (l *Log) pieces(stream events.StreamID, place int, what string) string {
	return fmt.Sprintf("%s.piece.%s.%d.%s", l.cfg.Subject, token(stream), place, what)
}

// SaveSnapshot is [events.Snapshots.SaveSnapshot]. When two processes save a large one
// for the same stream at the same time, none may be left.
func (l *Log) SaveSnapshot(ctx context.Context, stream events.StreamID, s events.Snapshot) error {
	if _, err := events.ParseStreamID(string(stream)); err != nil {
		return err
	}
	if len(s.Data) > events.MaxSnapshotSize {
		return fmt.Errorf("%w: snapshot of %s: %d bytes, at most %d are kept", events.ErrInvalid, stream, len(s.Data), events.MaxSnapshotSize)
	}
	_, err := once(ctx, l, func(ctx context.Context) (none struct{}, err error) {
		return none, l.saveSnapshot(ctx, stream, s)
	})
	if err != nil {
		return fmt.Errorf("save snapshot of %s: %w", stream, err)
	}
	return nil
}

func (l *Log) saveSnapshot(ctx context.Context, stream events.StreamID, s events.Snapshot) error {
	old, _, err := l.manifest(ctx, stream)
	if err != nil {
		return err
	}
	m := manifest{Head: s.Head, Format: []byte(s.Format), Sum: sha256.Sum256(s.Data), Place: 1 - old.Place}
	room := l.room()
	data := s.Data
	if len(data)+2*len(s.Format) > room {
		if m.Pieces, err = l.savePieces(ctx, stream, m.Place, s.Data, room); err != nil {
			return err
		}
		data = nil
	}
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := l.replace(ctx, l.snapshotSubject(stream), append(append(line, '\n'), data...)); err != nil {
		return err
	}
	if len(old.Pieces) > 0 {
		l.drop(ctx, l.pieces(stream, old.Place, "*"))
	}
	return nil
}

func (l *Log) savePieces(ctx context.Context, stream events.StreamID, place int, data []byte, room int) (sequences []uint64, err error) {
	for i := 0; len(data) > 0; i++ {
		piece := data[:min(room, len(data))]
		data = data[len(piece):]
		subject := l.pieces(stream, place, fmt.Sprint(i))
		var seq uint64
		if err := l.retry(ctx, func() (err error) {
			seq, err = l.overwrite(ctx, subject, piece)
			return err
		}); err != nil {
			return nil, err
		}
		sequences = append(sequences, seq)
	}
	return sequences, nil
}

// replace overwrites a subject until that is acknowledged.
func (l *Log) replace(ctx context.Context, subject string, data []byte) error {
	return l.retry(ctx, func() error {
		_, err := l.overwrite(ctx, subject, data)
		return err
	})
}

// overwrite replaces the message of a subject whatever it is.
func (l *Log) overwrite(ctx context.Context, subject string, data []byte) (uint64, error) {
	last, err := l.besideLast(ctx, subject)
	if err != nil {
		return 0, err
	}
	var after uint64
	if last != nil {
		after = last.seq
	}
	seq, err := l.put(ctx, subject, after, data)
	if errors.Is(err, errOutdated) {
		return 0, fmt.Errorf("%w: %w", errAgain, err)
	}
	return seq, err
}

// drop deletes pieces that no manifest names any more. They would only take space.
func (l *Log) drop(ctx context.Context, subject string) {
	var reply struct {
		Error *jetstream.APIError `json:"error"`
	}
	err := l.call(ctx, "STREAM.PURGE."+l.besideName(), struct {
		Filter string `json:"filter"`
	}{subject}, &reply)
	if err == nil && reply.Error != nil {
		err = reply.Error
	}
	if err != nil {
		l.cfg.Logger.Warn("deleting an old snapshot", "subject", subject, "error", err)
	}
}

// manifest is what is said of the stream's snapshot, and the data behind it. What cannot
// be read is no snapshot.
func (l *Log) manifest(ctx context.Context, stream events.StreamID) (m manifest, data []byte, err error) {
	found, err := l.besideLast(ctx, l.snapshotSubject(stream))
	if err != nil || found == nil {
		return manifest{}, nil, err
	}
	line, data, _ := bytes.Cut(found.data, []byte("\n"))
	if err := json.Unmarshal(line, &m); err != nil || m.Place != 0 && m.Place != 1 {
		l.cfg.Logger.Warn("snapshot cannot be read", "stream", stream, "error", err)
		return manifest{}, nil, nil
	}
	return m, data, nil
}

// LoadSnapshot is [events.Snapshots.LoadSnapshot]. A snapshot that was changed or is not
// complete is none.
func (l *Log) LoadSnapshot(ctx context.Context, stream events.StreamID) (events.Snapshot, error) {
	if _, err := events.ParseStreamID(string(stream)); err != nil {
		return events.Snapshot{}, err // a wildcard would find that of another stream
	}
	s, err := once(ctx, l, func(ctx context.Context) (s events.Snapshot, err error) {
		for range 3 { // somebody may save at the same time
			var whole bool
			if s, whole, err = l.loadSnapshot(ctx, stream); whole || err != nil {
				return s, err
			}
		}
		return events.Snapshot{}, nil
	})
	if err != nil {
		return events.Snapshot{}, fmt.Errorf("load snapshot of %s: %w", stream, err)
	}
	return s, nil
}

func (l *Log) loadSnapshot(ctx context.Context, stream events.StreamID) (s events.Snapshot, whole bool, err error) {
	m, data, err := l.manifest(ctx, stream)
	if err != nil || m.Sum == (events.Hash{}) {
		return events.Snapshot{}, err == nil, err
	}
	for _, seq := range m.Pieces {
		piece, err := l.piece(ctx, seq)
		if err != nil || piece == nil {
			return events.Snapshot{}, false, err
		}
		data = append(data, piece...)
	}
	if sha256.Sum256(data) != m.Sum {
		return events.Snapshot{}, false, nil
	}
	if len(data) == 0 {
		data = nil
	}
	return events.Snapshot{Head: m.Head, Format: string(m.Format), Data: data}, true, nil
}

// piece is a message beside the log by its sequence, from any server that has it, nil
// when there is none.
func (l *Log) piece(ctx context.Context, seq uint64) ([]byte, error) {
	body, err := json.Marshal(get{Seq: seq})
	if err != nil {
		return nil, err
	}
	answer, err := l.ask(ctx, &nats.Msg{Subject: l.api + "DIRECT.GET." + l.besideName(), Data: body})
	if err == nil && answer.Header.Get("Status") == "" {
		return answer.Data, nil
	}
	m, err := l.fromLeader(ctx, l.besideName(), get{Seq: seq})
	if err != nil || m == nil {
		return nil, err
	}
	return m.data, nil
}
