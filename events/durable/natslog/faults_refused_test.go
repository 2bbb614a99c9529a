package natslog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/natscluster"
	"github.com/oatmill/oatmill/events/durable/natslog"
)

// refuses demands that a log cannot be opened, with an error that is target and names
// everything in names.
func refuses(t *testing.T, url string, cfg natslog.Config, target error, names ...string) {
	t.Helper()
	log, err := natslog.Open(within(t, 20*time.Second), url, cfg)
	if err == nil {
		log.Close()
		t.Fatal("the log was opened")
	}
	if target != nil && !errors.Is(err, target) {
		t.Errorf("%v, want %v", err, target)
	}
	for _, name := range names {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%v, which does not name %q", err, name)
		}
	}
	t.Log(err)
}

func TestWrongAddressIsNamed(t *testing.T) {
	refuses(t, "nats://user:secret@127.0.0.1:1", natslog.Config{}, events.ErrUnavailable, "127.0.0.1:1")
	if _, err := natslog.Open(t.Context(), "nats://user:secret@127.0.0.1:1", natslog.Config{}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v, which should not have the password", err)
	}
	s := one(t)
	refuses(t, s.URL(), natslog.Config{Stream: "a.b"}, nil, `"a.b"`)
	refuses(t, s.URL(), natslog.Config{Subject: "a.*"}, nil, `"a.*"`)
}

// TestMissingRightsAreNamed opens logs as users who lack something.
func TestMissingRightsAreNamed(t *testing.T) {
	s := start(t, natscluster.Config{Conf: `
		accounts {
			WITH { jetstream: enabled, users: [
				{ user: all, password: x }
				{ user: reader, password: x, permissions: { publish: { deny: ["log1.log.>"] } } }
				{ user: stranger, password: x, permissions: { publish: { deny: ["$JS.API.STREAM.>"] } } }
			] }
			WITHOUT { users: [ { user: none, password: x } ] }
		}`})
	as := func(user string) string { return strings.Replace(s.URL(), "nats://", "nats://"+user+":x@", 1) }
	cfg := s.config(t)
	cfg.RequestTimeout = 300 * time.Millisecond
	openAt(t, as("all"), cfg)
	refuses(t, as("none"), cfg, events.ErrUnavailable, "log1", "JetStream not enabled")
	refuses(t, strings.Replace(s.URL(), "nats://", "nats://all:wrong@", 1), cfg, events.ErrDenied, "Authorization")
	refuses(t, as("reader"), cfg, events.ErrDenied, "log1.log.")
	refuses(t, as("stranger"), cfg, events.ErrDenied, "STREAM.INFO")
}

func TestSmallPayloadIsNamed(t *testing.T) {
	s := start(t, natscluster.Config{MaxPayload: 65536})
	refuses(t, s.URL(), s.config(t), nil, "max_payload", "65536")
	js := s.connect(t)
	if _, err := js.Stream(t.Context(), s.newest.Stream); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("the stream was created all the same: %v", err)
	}
}

// TestWrongSettingsAreNamed opens a stream that was set up by someone else.
//
// What breaks it: leaving any of the demands out of Log.wrong.
func TestWrongSettingsAreNamed(t *testing.T) {
	s := one(t)
	js := s.connect(t)
	cfg := s.config(t)
	wrong := jetstream.StreamConfig{
		Name: cfg.Stream, Subjects: []string{cfg.Stream + ".log.*.*"}, MaxAge: time.Hour, MaxMsgs: 10, Discard: jetstream.DiscardOld,
		Storage: jetstream.MemoryStorage, Retention: jetstream.InterestPolicy, MaxMsgsPerSubject: 3, MaxMsgSize: 1000, AllowRollup: true, NoAck: true,
		AllowMsgTTL: true,
	}
	if _, err := js.CreateStream(t.Context(), wrong); err != nil {
		t.Fatal(err)
	}
	refuses(t, s.URL(), cfg, natslog.ErrSettings, "subjects", "max_age", "discard", "storage", "retention", "max_msgs_per_subject", "max_msg_size",
		"allow_rollup_hdrs", "no_ack", "deny_delete", "deny_purge", "allow_direct", "allow_msg_ttl")
	info, err := js.Stream(t.Context(), cfg.Stream)
	if err != nil || info.CachedInfo().Config.MaxAge != time.Hour {
		t.Errorf("the stream was changed: %+v, %v", info, err)
	}
	cfg = s.config(t)
	s.open(t, cfg)
	cfg.Replicas = 3
	refuses(t, s.URL(), cfg, natslog.ErrSettings, "num_replicas")
}

// TestForeignMessagesAreNamed puts messages into the stream that are none of ours, and one of
// a newer library.
//
// What breaks it: skipping what has no header in Log.parse.
func TestForeignMessagesAreNamed(t *testing.T) {
	s := one(t)
	js := s.connect(t)
	for _, foreign := range []struct {
		header nats.Header
		target error
	}{
		{nil, events.ErrDamaged},
		{nats.Header{"Oatmill-Batch": {"1 nonsense"}}, events.ErrDamaged},
		{nats.Header{"Oatmill-Batch": {"1 2 " + events.Hash{}.String()}, "Nats-Msg-Id": {"01ARZ3NDEKTSV4RRFFQ69G5FAV"}}, events.ErrDamaged},
		{nats.Header{"Oatmill-Batch": {"2 whatever"}}, events.ErrNewer},
	} {
		cfg := s.config(t)
		log := s.open(t, cfg)
		testkit.Append(t, log, "organization/beta", envelope())
		if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: cfg.Stream + ".log.organization.acme", Header: foreign.header, Data: []byte("hello")}); err != nil {
			t.Fatal(err)
		}
		_, err := log.Append(t.Context(), acme, events.Any, envelope())
		failsNaming(t, "Append", err, foreign.target)
		failsNaming(t, "ReadStream", lastError(log.ReadStream(t.Context(), acme, 0)), foreign.target)
		failsNaming(t, "ReadAll", lastError(log.ReadAll(t.Context(), 0)), foreign.target)
		if info, err := js.Stream(t.Context(), cfg.Stream); err != nil || info.CachedInfo().State.Msgs != 2 {
			t.Errorf("something was written: %+v, %v", info, err)
		}
		if len(foreign.header["Nats-Msg-Id"]) == 0 { // the last message is looked at by its headers only
			refuses(t, s.URL(), cfg, foreign.target, "sequence 2")
		}
	}
}

func failsNaming(t *testing.T, what string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) || !errors.Is(err, events.ErrDamaged) || !strings.Contains(err.Error(), "sequence 2") {
		t.Errorf("%s: %v, want %v and the sequence", what, err, target)
	}
}

func lastError(read func(func(events.Recorded, error) bool)) (last error) {
	for _, err := range read {
		last = err
	}
	return last
}

// TestFullStoreIsCertain fills what the server may store. The refused batch is nowhere,
// and when there is space again, it can be appended.
//
// What breaks it: calling the server's refusal an unknown outcome, or a success.
func TestFullStoreIsCertain(t *testing.T) {
	s := start(t, natscluster.Config{MaxStore: 4 << 20})
	log := s.open(t, s.config(t))
	var last []events.Recorded
	e := envelope()
	for range 100 {
		e = envelope()
		e.Data = fmt.Appendf(nil, `{"a":%q}`, strings.Repeat("x", 300_000))
		records, err := log.Append(t.Context(), acme, events.Any, e)
		if err == nil {
			last = append(last, records...)
			continue
		}
		if !errors.Is(err, events.ErrFull) || errors.Is(err, events.ErrUnknownOutcome) {
			t.Fatalf("%v, want %v", err, events.ErrFull)
		}
		same(t, collect(t, log.ReadAll(t.Context(), 0)), last)
		t.Log(err)
		return
	}
	t.Error("4 MiB take 30 MB")
}

// TestRecordsCannotBeDeleted tries what an operator could try by accident.
//
// What breaks it: leaving DenyDelete or DenyPurge out of the settings.
func TestRecordsCannotBeDeleted(t *testing.T) {
	s := one(t)
	cfg := s.config(t)
	log := s.open(t, cfg)
	want := testkit.Append(t, log, acme, envelope())
	js := s.connect(t)
	stream, err := js.Stream(t.Context(), cfg.Stream)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.DenyDelete, config.DenyPurge = false, false
	_, update := js.UpdateStream(t.Context(), config)
	_, rollup := js.PublishMsg(t.Context(), &nats.Msg{Subject: cfg.Stream + ".log.organization.acme", Header: nats.Header{"Nats-Rollup": {"sub"}}})
	for what, err := range map[string]error{
		"delete": stream.DeleteMsg(t.Context(), 1), "secure delete": stream.SecureDeleteMsg(t.Context(), 1),
		"purge": stream.Purge(t.Context()), "purge of a subject": stream.Purge(t.Context(), jetstream.WithPurgeSubject(cfg.Stream+".log.organization.acme")),
		"allowing it": update, "rollup": rollup,
	} {
		if err == nil {
			t.Errorf("%s was not refused", what)
		}
	}
	same(t, collect(t, log.ReadAll(t.Context(), 0)), want)
}

// TestChangedRecordBreaksTheChain copies a log with a change in one record, which is how
// a record is changed behind the back of a stream that nothing can be deleted from.
//
// What breaks it: computing the hash before a record from its data when reading instead
// of yielding the one that was written.
func TestChangedRecordBreaksTheChain(t *testing.T) {
	s := one(t)
	cfg := s.config(t)
	log := s.open(t, cfg)
	for range 4 {
		testkit.Append(t, log, acme, envelopes(2)...)
	}
	head, err := events.VerifyChain(t.Context(), log, acme)
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); seq <= 4; seq++ {
		forged := forge(t, s, cfg, seq)
		if _, err := events.VerifyChain(t.Context(), forged, acme, head); !errors.Is(err, events.ErrBrokenChain) {
			t.Errorf("a change in batch %d of 4: %v, want %v", seq, err, events.ErrBrokenChain)
		}
	}
}

// forge copies the messages of a log to a new one, with the actor of one batch replaced.
func forge(t *testing.T, s *servers, cfg natslog.Config, change uint64) *natslog.Log {
	t.Helper()
	js := s.connect(t)
	from, err := js.Stream(t.Context(), cfg.Stream)
	if err != nil {
		t.Fatal(err)
	}
	to := s.config(t)
	log := s.open(t, to)
	for seq := uint64(1); seq <= 4; seq++ {
		m, err := from.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		data := string(m.Data)
		if seq == change {
			data = strings.Replace(data, "alice", "bobby", 1)
		}
		for _, name := range []string{"Nats-Expected-Last-Subject-Sequence", "Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp"} {
			m.Header.Del(name)
		}
		subject := strings.Replace(m.Subject, cfg.Stream, to.Stream, 1)
		if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Header: m.Header, Data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
	}
	return log
}

// TestLargeBatchesGoInPieces appends a batch that no single message holds: as many
// events as there may be, each with texts as long as they may be.
//
// What breaks it: leaving out attempt.send's call of split, or Log.join's body.
func TestLargeBatchesGoInPieces(t *testing.T) {
	s := one(t)
	cfg := s.config(t)
	log := s.open(t, cfg)
	want := testkit.Append(t, log, "organization/beta", envelope())
	batch := envelopes(events.MaxBatch)
	for i := range batch {
		text := strings.Repeat(fmt.Sprint(i%10), events.MaxText)
		batch[i].Actor, batch[i].Correlation, batch[i].Reason = text, text, text
	}
	want = append(want, testkit.Append(t, log, acme, batch...)...)
	want = append(want, testkit.Append(t, log, acme, envelope())...)
	for _, log := range []*natslog.Log{log, s.open(t, cfg)} {
		same(t, collect(t, log.ReadAll(t.Context(), 0)), want)
		same(t, collect(t, log.ReadStream(t.Context(), acme, 500)), want[501:])
		same(t, testkit.Append(t, log, acme, batch...), want[1:1001])
		if end, err := log.End(t.Context()); err != nil || end != want[len(want)-1].Position {
			t.Errorf("End is %d, %v", end, err)
		}
		if _, err := events.VerifyChain(t.Context(), log, acme); err != nil {
			t.Error(err)
		}
	}
}

// TestStaleWriterMeetsAConflict lets another client write between a log and its next
// append, which the log's memory does not know of.
func TestStaleWriterMeetsAConflict(t *testing.T) {
	s := one(t)
	cfg := s.config(t)
	stale, other := s.open(t, cfg), s.open(t, cfg)
	testkit.Append(t, stale, acme, envelope())
	testkit.Append(t, other, acme, envelopes(3)...)
	testkit.Append(t, other, acme, envelope())
	_, err := stale.Append(t.Context(), acme, 1, envelope())
	var conflict *events.ConflictError
	if !errors.As(err, &conflict) || conflict.Actual != 5 {
		t.Errorf("%v, want a conflict at version 5", err)
	}
	if records, err := stale.Append(t.Context(), acme, 5, envelope()); err != nil || records[0].Version != 6 {
		t.Errorf("after the conflict: %+v, %v", records, err)
	}
}

// TestHostConnectionStaysOpen uses a connection of the host.
func TestHostConnectionStaysOpen(t *testing.T) {
	s := one(t)
	js := s.connect(t)
	log, err := natslog.New(t.Context(), js.Conn(), s.config(t))
	if err != nil {
		t.Fatal(err)
	}
	want := testkit.Append(t, log, acme, envelope())
	same(t, collect(t, log.ReadAll(t.Context(), 0)), want)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if !js.Conn().IsConnected() {
		t.Error("the host's connection was closed")
	}
	if n := js.Conn().NumSubscriptions(); n > 1 { // the connection's own, for answers
		t.Errorf("%d subscriptions are left", n)
	}
}

// TestCancelledOpenEnds gives up while a server does not answer.
func TestCancelledOpenEnds(t *testing.T) {
	p := newProxy(t, "127.0.0.1:1")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := natslog.Open(ctx, p.url(), natslog.Config{}); err == nil {
		t.Error("the log was opened")
	}
}
