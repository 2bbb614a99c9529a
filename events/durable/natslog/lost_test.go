package natslog

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/oklog/ulid/v2"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/natscluster"
)

// plain is a log that was not opened, on a connection to a server of the test's own, and
// a second connection on which the test answers in the stream's place.
func plain(t *testing.T, conf, user string) (*Log, *nats.Conn) {
	t.Helper()
	s, err := natscluster.Start(t.Context(), natscluster.Config{Dir: t.TempDir(), Conf: conf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	connect := func(user string) *nats.Conn {
		nc, err := nats.Connect(strings.Replace(s.URL(), "nats://", "nats://"+user, 1), nats.ErrorHandler(nil))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	cfg := Config{Stream: "log1", RequestTimeout: 100 * time.Millisecond, Timeout: 2 * time.Second}.withDefaults()
	l := &Log{cfg: cfg, nc: connect(user), api: "api."}
	l.closing, l.end = context.WithCancel(context.Background())
	l.lines, l.moves, l.ends = newLines(100), &restless{log: l}, newEnds(l)
	t.Cleanup(l.end)
	if user != "" {
		user = "all:x@"
	}
	return l, connect(user)
}

// TestOldViolationIsNoAnswer reports a missing right to the connection, and then loses the
// answer to a request on the same subject, which reached somebody. The old report says
// nothing about that request.
//
// What breaks it: leaving out the comparison with before in Log.forbidden.
func TestOldViolationIsNoAnswer(t *testing.T) {
	l, other := plain(t, `accounts { A { users: [
		{ user: all, password: x }
		{ user: some, password: x, permissions: { subscribe: { deny: ["log1.log.organization.acme"] } } }
	] } }`, "some:x@")
	subject := l.subject("organization/acme")
	got, err := other.SubscribeSync(subject)
	if err != nil || other.Flush() != nil {
		t.Fatal(err)
	}
	if _, err := l.nc.SubscribeSync(subject); err != nil || l.nc.Flush() != nil {
		t.Fatal(err)
	}
	if err := l.forbidden(subject, nil); !errors.Is(err, events.ErrDenied) {
		t.Fatalf("%v, want %v", err, events.ErrDenied)
	}
	if _, err := l.ask(t.Context(), &nats.Msg{Subject: subject}); !errors.Is(err, errUnsure) {
		t.Errorf("%v, want %v", err, errUnsure)
	}
	if _, err := got.NextMsg(time.Second); err != nil {
		t.Error(err)
	}
}

// TestUnreadDuplicateIsUnknown has the server say that it had the batch before, and fail
// to tell what stands there. It may be this batch, so that the outcome is unknown.
//
// What breaks it: not noting in attempt.send that a known message was sent.
func TestUnreadDuplicateIsUnknown(t *testing.T) {
	l, server := plain(t, "", "")
	for subject, answer := range map[string]string{
		l.subject("organization/acme"): `{"stream":"log1","seq":7,"duplicate":true}`,
		"api.STREAM.MSG.GET.log1":      `{"error":{"code":500,"err_code":10000,"description":"disk broken"}}`,
	} {
		if _, err := server.Subscribe(subject, func(m *nats.Msg) { m.Respond([]byte(answer)) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := server.Flush(); err != nil {
		t.Fatal(err)
	}
	n := l.lines.of("organization/acme")
	n.current = true
	e, err := events.NewEnvelope(ulid.Make(), time.Now(), "alice", &events.OrganizationRegistered{Plan: "free", Owners: []string{"alice"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.append(t.Context(), "organization/acme", events.Any, []events.Envelope{e}); !errors.Is(err, events.ErrUnknownOutcome) {
		t.Errorf("%v, want %v", err, events.ErrUnknownOutcome)
	}
}

// TestPageEndsBeforeAGap loses messages of a page, as a connection does that is made
// anew while it comes.
//
// What breaks it: leaving out the comparison with before in pager.many.
func TestPageEndsBeforeAGap(t *testing.T) {
	answer := func(seq, last string) *nats.Msg {
		return &nats.Msg{Header: nats.Header{"Nats-Sequence": {seq}, "Nats-Subject": {"x"}, "Nats-Last-Sequence": {last}}}
	}
	l := &Log{cfg: Config{}.withDefaults()}
	many := func(lost int) ([]message, error) {
		all := []*nats.Msg{answer("1", "0"), answer("2", "1"), answer("5", "2"), answer("6", "5")}
		answers := make(chan *nats.Msg, 8)
		for i, m := range all {
			if i != lost {
				answers <- m
			}
		}
		answers <- &nats.Msg{Header: nats.Header{"Status": {"204"}}}
		p := &pager{log: l, next: 1, upTo: 6, answers: answers, asked: true, size: 8}
		return p.many(t.Context())
	}
	for lost, want := range map[int]int{1: 1, 2: 2, 3: 3, 4: 4} {
		if page, err := many(lost); err != nil || len(page) != want {
			t.Errorf("without message %d a page of %d messages, %v, want %d", lost, len(page), err, want)
		}
	}
	if _, err := many(0); !errors.Is(err, errAgain) {
		t.Errorf("without the first message: %v, want %v", err, errAgain)
	}
}
