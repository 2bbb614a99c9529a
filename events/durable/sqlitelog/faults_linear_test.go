package sqlitelog_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
)

// call is one operation on one stream: an append, or a read when id is empty.
type call struct {
	stream   events.StreamID
	id       string
	expected events.Version
}

// answer is what came of it. An append has a version, of the record or, in a conflict,
// of the stream; a read has the IDs in order, one behind the other.
type answer struct {
	version  events.Version
	conflict bool
	ids      string
}

// idSize is the length of an ID as text.
const idSize = 26

// oneStream is a stream as it would be if everything happened one after the other. Its
// state are the IDs in order, one behind the other.
func oneStream() porcupine.Model {
	return porcupine.Model{
		Partition: byStream,
		Init:      func() any { return "" },
		Step: func(state, input, output any) (bool, any) {
			return step(state.(string), input.(call), output.(answer))
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) },
	}
}

func step(ids string, c call, a answer) (bool, string) {
	version := events.Version(len(ids) / idSize)
	if c.id == "" {
		return a.ids == ids, ids
	}
	if at := strings.Index(ids, c.id); at >= 0 { // appended before
		return !a.conflict && a.version == events.Version(at/idSize+1), ids
	}
	if c.expected != events.Any && c.expected != version {
		return a.conflict && a.version == version, ids
	}
	return !a.conflict && a.version == version+1, ids + c.id
}

func byStream(history []porcupine.Operation) (parts [][]porcupine.Operation) {
	index := make(map[events.StreamID]int)
	for _, o := range history {
		stream := o.Input.(call).stream
		i, ok := index[stream]
		if !ok {
			i = len(parts)
			index[stream] = i
			parts = append(parts, nil)
		}
		parts[i] = append(parts[i], o)
	}
	return parts
}

// TestLinearizable records what 16 goroutines on two handles of one file do to three
// streams: appends under the right version, a wrong one and any, appends that were made
// before, and reads. There must be an order in which all of it could have happened one
// after the other, with the effects that were seen.
//
// What breaks it: a refresh that trusts what the writer knew before the other handle
// committed, or answering a conflict with another version than the stream's.
func TestLinearizable(t *testing.T) {
	path := newPath(t)
	handles := []*sqlitelog.Log{openFor(t, path, sqlitelog.Config{}), openFor(t, path, sqlitelog.Config{})}
	began := time.Now()
	var mu sync.Mutex
	var history []porcupine.Operation
	var clients sync.WaitGroup
	for n := range 16 {
		clients.Go(func() {
			c := client{log: handles[n%2], g: newGenerator(), known: make(map[events.StreamID]events.Version)}
			for range 30 {
				o := porcupine.Operation{ClientId: n, Call: int64(time.Since(began))}
				in, out, err := c.act(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				o.Input, o.Output, o.Return = in, out, int64(time.Since(began))
				mu.Lock()
				history = append(history, o)
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	describe(t, history)
	if result := porcupine.CheckOperationsTimeout(oneStream(), history, 20*time.Second); result != porcupine.Ok {
		t.Errorf("the history is %s", result)
	}
}

// describe fails when the history proves little.
func describe(t *testing.T, history []porcupine.Operation) {
	t.Helper()
	var appended, conflicts, reads int
	for _, o := range history {
		switch a := o.Output.(answer); {
		case o.Input.(call).id == "":
			reads++
		case a.conflict:
			conflicts++
		default:
			appended++
		}
	}
	t.Logf("%d appends, %d conflicts, %d reads", appended, conflicts, reads)
	if appended == 0 || conflicts == 0 || reads == 0 {
		t.Error("one of them is missing")
	}
}

// client is one of the goroutines.
type client struct {
	log   *sqlitelog.Log
	g     *generator
	known map[events.StreamID]events.Version // as the client last saw the streams
	last  struct {
		call
		envelope events.Envelope
	}
}

func (c *client) act(ctx context.Context) (call, answer, error) {
	in := call{stream: events.StreamID(fmt.Sprintf("organization/o%d", rand.IntN(3)))}
	e := c.g.tokenGenerated()
	switch rand.IntN(8) {
	case 0, 1:
		a, err := c.read(ctx, in.stream)
		return in, a, err
	case 2:
		in.expected = events.Any
	case 3:
		in.expected = c.known[in.stream] + 1 // sometimes wrong, sometimes just right
	case 4:
		if c.last.id != "" {
			in, e = c.last.call, c.last.envelope
		}
	default:
		in.expected = c.known[in.stream]
	}
	in.id = e.ID.String()
	c.last.call, c.last.envelope = in, e
	a, err := c.append(ctx, in, e)
	return in, a, err
}

func (c *client) append(ctx context.Context, in call, e events.Envelope) (a answer, err error) {
	records, err := c.log.Append(ctx, in.stream, in.expected, e)
	var conflict *events.ConflictError
	switch {
	case err == nil:
		a.version = records[0].Version
	case errors.As(err, &conflict):
		a, err = answer{version: conflict.Actual, conflict: true}, nil
	}
	c.known[in.stream] = a.version
	return a, err
}

func (c *client) read(ctx context.Context, stream events.StreamID) (a answer, err error) {
	var ids strings.Builder
	for r, err := range c.log.ReadStream(ctx, stream, 0) {
		if err != nil {
			return a, err
		}
		ids.WriteString(r.ID.String())
		c.known[stream] = r.Version
	}
	a.ids = ids.String()
	return a, nil
}
