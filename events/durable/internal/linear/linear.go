// Package linear tells whether what a log answered to concurrent callers could have
// happened one call after the other.
//
// The test of a log is one line:
//
//	linear.Check(t, linear.Config{}, log, secondHandle)
//
// [Check] lets clients append and read, records when each call began and ended and what
// was answered, and has porcupine look for an order of the calls that explains every
// answer. Appends come under the right version, a wrong one and any; some are repeated
// later with the same events. A stream is taken for one object: calls on different
// streams promise each other nothing beyond the positions, which package logtest checks.
//
// A client whose call ended with [events.ErrUnknownOutcome] makes it again, as callers
// are told to. Both together are one call in the history, from the first beginning to
// the last end. With Config.Retry this holds for other errors too, so that a history can
// be taken while servers are killed.
package linear

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/oklog/ulid/v2"

	"github.com/oatmill/oatmill/events"
)

// Config is how much is tried. The zero Config works.
type Config struct {
	Clients int // 0 means 16
	Calls   int // of each client; 0 means 30
	Streams int // 0 means 3

	// Retry tells of an error whether the call is to be made again, without an end
	// but the test's. Nil means that only an unknown outcome is.
	Retry func(error) bool
}

func (c Config) withDefaults() Config {
	if c.Clients <= 0 {
		c.Clients = 16
	}
	if c.Calls <= 0 {
		c.Calls = 30
	}
	if c.Streams <= 0 {
		c.Streams = 3
	}
	return c
}

// patience is how long the search for an order may take.
const patience = 2 * time.Minute

// Check records a history of calls on a log, which several handles may give access to,
// and fails the test when no order explains it. The log may have other streams than
// organization/linear0 and so on.
func Check(t testing.TB, cfg Config, handles ...events.Log) {
	t.Helper()
	cfg = cfg.withDefaults()
	h := &history{began: time.Now()}
	var clients sync.WaitGroup
	for n := range cfg.Clients {
		clients.Go(func() {
			c := newClient(n, cfg, handles[n%len(handles)])
			for range cfg.Calls {
				if err := h.record(t.Context(), c); err != nil {
					t.Errorf("client %d: %v", n, err)
					return
				}
			}
		})
	}
	clients.Wait()
	if t.Failed() {
		return
	}
	h.describe(t)
	if result := porcupine.CheckOperationsTimeout(model(), h.operations, patience); result != porcupine.Ok {
		t.Errorf("the history is %s", result)
	}
}

// history is what the clients did and saw.
type history struct {
	began      time.Time
	mu         sync.Mutex
	operations []porcupine.Operation
}

// record has the client make a call.
func (h *history) record(ctx context.Context, c *client) error {
	o := porcupine.Operation{ClientId: c.n, Call: int64(time.Since(h.began))}
	in, out, err := c.act(ctx)
	if err != nil {
		return err
	}
	o.Input, o.Output, o.Return = in, out, int64(time.Since(h.began))
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, o)
	return nil
}

// describe fails when the history proves little.
func (h *history) describe(t testing.TB) {
	t.Helper()
	var appended, conflicts, reads int
	for _, o := range h.operations {
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
		t.Error("one of them is missing, so the history proves little")
	}
}

// client is one of the goroutines.
type client struct {
	n      int
	cfg    Config
	log    events.Log
	random *rand.Rand
	known  map[events.StreamID]events.Version // as the client last saw the streams
	last   struct {
		call
		envelope events.Envelope
	}
}

func newClient(n int, cfg Config, log events.Log) *client {
	return &client{
		n: n, cfg: cfg, log: log, random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		known: make(map[events.StreamID]events.Version),
	}
}

func (c *client) envelope() events.Envelope {
	var id ulid.ULID
	binary.BigEndian.PutUint64(id[:], c.random.Uint64())
	binary.BigEndian.PutUint64(id[8:], c.random.Uint64())
	return events.Envelope{
		ID: id, Type: "linear.appended.v1", Time: time.Unix(1_700_000_000, 0).UTC(),
		Actor: fmt.Sprintf("client %d", c.n), Data: []byte(`{}`),
	}
}

// act makes a call at random, again where its outcome stays unknown.
func (c *client) act(ctx context.Context) (call, answer, error) {
	in := call{stream: events.StreamID(fmt.Sprintf("organization/linear%d", c.random.IntN(c.cfg.Streams)))}
	e := c.envelope()
	switch c.random.IntN(8) {
	case 0, 1:
		a, err := c.read(ctx, in.stream)
		for c.again(ctx, err) {
			a, err = c.read(ctx, in.stream)
		}
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
	for c.again(ctx, err) {
		a, err = c.append(ctx, in, e)
	}
	return in, a, err
}

func (c *client) again(ctx context.Context, err error) bool {
	if err == nil || ctx.Err() != nil {
		return false
	}
	return errors.Is(err, events.ErrUnknownOutcome) || c.cfg.Retry != nil && c.cfg.Retry(err)
}

func (c *client) append(ctx context.Context, in call, e events.Envelope) (a answer, err error) {
	records, err := c.log.Append(ctx, in.stream, in.expected, e)
	var conflict *events.ConflictError
	switch {
	case err == nil:
		a.version = records[0].Version
	case errors.As(err, &conflict):
		a, err = answer{version: conflict.Actual, conflict: true}, nil
	default:
		return a, err
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
