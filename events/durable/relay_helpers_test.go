package durable_test

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	watermillnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/nats-io/nats.go"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/natscluster"
	"github.com/oatmill/oatmill/events/durable/pglog"
	"github.com/oatmill/oatmill/events/durable/pgserver"
	"github.com/oatmill/oatmill/events/relay"
	"github.com/oatmill/oatmill/projection"
)

// post is the servers that the tests of Watermill share: a PostgreSQL with the logs, and a
// JetStream of one node.
type post struct {
	server  *pgserver.Server
	cluster *natscluster.Cluster
}

func startPost(t *testing.T) *post {
	server := ownPostgres(t)
	cluster, err := natscluster.Start(t.Context(), natscluster.Config{Dir: t.TempDir()})
	noError(t, err)
	t.Cleanup(func() { shut(t, cluster) })
	return &post{server, cluster}
}

// crash kills PostgreSQL in whatever it is doing, and starts it again.
func (p *post) crash(ctx context.Context) error {
	return errors.Join(p.server.Kill(), p.server.Restart(ctx))
}

// open opens the log in schema as a process does when it starts. It has few connections.
func (p *post) open(t *testing.T, schema string) *pglog.Log {
	t.Helper()
	address := must(url.Parse(p.server.URL()))
	query := address.Query()
	query.Set("pool_max_conns", "4")
	address.RawQuery = query.Encode()
	return must(pglog.Open(t.Context(), address.String(), pglog.Config{Schema: schema}))
}

// connect is a connection that outlives its broker. It keeps nothing back for a broker that
// is away: who publishes is told at once.
func (p *post) connect(t *testing.T) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(p.cluster.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectBufSize(-1))
	noError(t, err)
	t.Cleanup(conn.Close)
	return conn
}

// provide makes a stream for each topic, and in it the consumer of group. The broker hands out
// one message at a time, because otherwise those that follow overtake one that comes again.
func (p *post) provide(t *testing.T, group string, topics ...string) {
	t.Helper()
	conn := p.connect(t)
	defer conn.Close()
	js := must(conn.JetStream())
	for _, topic := range topics {
		must(js.AddStream(&nats.StreamConfig{Name: topic, Subjects: []string{topic}}))
		must(js.AddConsumer(topic, &nats.ConsumerConfig{
			Durable: group + "-" + topic, DeliverSubject: "deliver." + group + "." + topic, DeliverGroup: group,
			AckPolicy: nats.AckExplicitPolicy, AckWait: time.Second, MaxAckPending: 1,
		}))
	}
}

func (p *post) publisher(t *testing.T, conn *nats.Conn) message.Publisher {
	t.Helper()
	return must(watermillnats.NewPublisherWithNatsConn(conn, watermillnats.PublisherPublishConfig{
		Marshaler: &watermillnats.NATSMarshaler{}, SubjectCalculator: watermillnats.DefaultSubjectCalculator,
		JetStream: watermillnats.JetStreamConfig{ConnectOptions: []nats.JSOpt{nats.MaxWait(5 * time.Second)}},
	}, quiet()))
}

// subscriber reads for the consumers that provide made. One that it made by itself the client
// would delete when the Router stops, with its position. And without ManualAck the client
// acks what a Router that stops has not dealt with.
func (p *post) subscriber(t *testing.T, group string) message.Subscriber {
	t.Helper()
	return must(watermillnats.NewSubscriberWithNatsConn(p.connect(t), watermillnats.SubscriberSubscriptionConfig{
		QueueGroupPrefix: group,
		JetStream: watermillnats.JetStreamConfig{
			ConnectOptions:    []nats.JSOpt{nats.MaxWait(5 * time.Second)},
			SubscribeOptions:  []nats.SubOpt{nats.ManualAck()},
			DurablePrefix:     group,
			DurableCalculator: func(prefix, topic string) string { return prefix + "-" + topic },
		},
	}, quiet()))
}

// relaying is a process that relays a log to JetStream.
type relaying struct {
	log       *pglog.Log
	runner    *projection.Runner
	conn      *nats.Conn
	published []events.Position // that the broker has confirmed
}

// relayer starts one. Around each publish, something may happen.
func (p *post) relayer(t *testing.T, schema string, around func(r *relaying, at events.Position, publish func() error) error) *relaying {
	t.Helper()
	r := &relaying{log: p.open(t, schema), conn: p.connect(t)}
	out := tap{p.publisher(t, r.conn), func(at events.Position, publish func() error) error {
		err := around(r, at, publish)
		if err == nil {
			r.published = append(r.published, at)
		}
		return err
	}}
	one, err := relay.NewRelay(t.Context(), relay.RelayConfig{Name: "out", Publisher: out, Checkpoints: r.log})
	noError(t, err)
	r.runner, err = projection.NewRunner(projection.RunnerConfig{
		Log: r.log, Projections: []projection.Projection{one}, BatchSize: 16, Logger: slog.New(slog.DiscardHandler),
	})
	noError(t, err)
	return r
}

func (r *relaying) close(t *testing.T) {
	t.Helper()
	r.conn.Close()
	shut(t, r.log)
}

// tap is a publisher that something happens around.
type tap struct {
	message.Publisher
	around func(at events.Position, publish func() error) error
}

func (p tap) Publish(topic string, messages ...*message.Message) error {
	for _, m := range messages {
		r, err := relay.FromMessage(m)
		if err == nil {
			err = p.around(r.Position, func() error { return p.Publisher.Publish(topic, m) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// routing is a Router at work.
type routing struct {
	*message.Router
	ended chan error
}

// route runs a Router with what setup adds to it.
func route(t *testing.T, setup func(*message.Router)) *routing {
	t.Helper()
	router := must(message.NewRouter(message.RouterConfig{CloseTimeout: patience}, quiet()))
	setup(router)
	r := &routing{router, make(chan error, 1)}
	go func() { r.ended <- router.Run(context.Background()) }()
	select {
	case <-router.Running():
	case err := <-r.ended:
		t.Fatalf("the Router does not run: %v", err)
	}
	t.Cleanup(func() { r.stop(t) })
	return r
}

// stop closes the Router and waits until it has ended.
func (r *routing) stop(t *testing.T) {
	t.Helper()
	if r.IsClosed() {
		return
	}
	shut(t, r)
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
}

func retry() message.HandlerMiddleware {
	return middleware.Retry{MaxRetries: 2, InitialInterval: time.Millisecond}.Middleware
}

// poisonQueue takes what a handler cannot deal with, and not what a stop has interrupted.
func poisonQueue(t *testing.T, to message.Publisher, topic string) message.HandlerMiddleware {
	t.Helper()
	return must(middleware.PoisonQueueWithFilter(to, topic, func(err error) bool { return !errors.Is(err, context.Canceled) }))
}

// inbox is what a handler has dealt with.
type inbox struct {
	mu   sync.Mutex
	seen []events.Recorded
	more chan struct{}
}

func newInbox() *inbox { return &inbox{more: make(chan struct{}, 1)} }

func (i *inbox) note(r events.Recorded) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.seen = append(i.seen, r)
	select {
	case i.more <- struct{}{}:
	default:
	}
}

func (i *inbox) all() []events.Recorded {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.seen)
}

func positions(records []events.Recorded) (all []events.Position) {
	for _, r := range records {
		all = append(all, r.Position)
	}
	return all
}

// wait returns when all that is wanted, and at least count records, have come.
func (i *inbox) wait(t *testing.T, count int, want ...events.Position) {
	t.Helper()
	late := time.After(patience)
	for {
		seen := positions(i.all())
		if len(seen) >= count && !slices.ContainsFunc(want, func(p events.Position) bool { return !slices.Contains(seen, p) }) {
			return
		}
		select {
		case <-i.more:
		case <-late:
			t.Fatalf("saw %d, want %d of them and %d", seen, count, want)
		}
	}
}

// handle is a handler that notes a record once work has dealt with it.
func (i *inbox) handle(work func(context.Context, events.Recorded) error) message.NoPublishHandlerFunc {
	return func(m *message.Message) error {
		r, err := relay.FromMessage(m)
		if err == nil {
			err = work(m.Context(), r)
		}
		if err == nil {
			i.note(r)
		}
		return err
	}
}

// letter is the nth event that the tests write, in texts that headers and tables may mind.
func letter(n int) (events.StreamID, events.Envelope) {
	texts := []string{"alice", "\ttwo\r\nlines\x7f\u0085", " blanks ", "100% %41 %0A", "a: b; \"c\"\\", "Zoë 日本語 🎈\u2028", "\x01\x1b[31m"}
	text := func(i int) string { return texts[(n+i)%len(texts)] }
	streams := []events.StreamID{events.OrganizationStream("acme"), events.OrganizationStream("bolt"), events.OrganizationStream("cord"), events.UsageStream("acme")}
	stream := streams[n%len(streams)]
	var payload events.Payload = &events.OrganizationOwnerAdded{Owner: text(1)}
	if stream.Kind() == events.KindUsage {
		payload = &events.UsageRecorded{Uses: []events.Use{}}
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(n) * time.Millisecond)
	e := must(events.NewEnvelope([16]byte{0: 1, 15: byte(n)}, at, text(0), payload))
	e.Correlation, e.Reason, e.Causation = text(2), text(3), [16]byte{0: 2, 15: byte(n)}
	return stream, e
}

// write appends letters, one at a time, up to position last.
func write(t *testing.T, log *pglog.Log, last events.Position) (written []events.Recorded) {
	t.Helper()
	for n := int(must(log.End(t.Context()))); n < int(last); n++ {
		stream, e := letter(n)
		records, err := log.Append(t.Context(), stream, events.Any, e)
		noError(t, err)
		written = append(written, records...)
	}
	return written
}

// ofOrganizations is the positions up to last of letters to organizations, some left out.
func ofOrganizations(last events.Position, without ...events.Position) (all []events.Position) {
	for p := events.Position(1); p <= last; p++ {
		if stream, _ := letter(int(p) - 1); stream.Kind() == events.KindOrganization && !slices.Contains(without, p) {
			all = append(all, p)
		}
	}
	return all
}

// checkArrived says what of want has not come, what came otherwise than it was, and what
// came before one that precedes it in its stream. Repetitions may come at any time.
func checkArrived(t *testing.T, seen, want []events.Recorded) {
	t.Helper()
	due := make(map[events.StreamID][]events.Recorded)
	known := make(map[events.Position]events.Recorded)
	for _, r := range want {
		due[r.Stream], known[r.Position] = append(due[r.Stream], r), r
	}
	for _, r := range seen {
		if w, ok := known[r.Position]; !ok || !w.Equal(r) {
			t.Errorf("position %d came as %+v, want %+v", r.Position, r, w)
		}
		next := due[r.Stream]
		switch {
		case len(next) > 0 && r.Version == next[0].Version:
			due[r.Stream] = next[1:]
		case len(next) > 0 && r.Version > next[0].Version:
			t.Errorf("%s: version %d came before version %d", r.Stream, r.Version, next[0].Version)
		}
	}
	for stream, left := range due {
		if len(left) > 0 {
			t.Errorf("%s: %d records never came in their turn", stream, len(left))
		}
	}
}

func checkpoint(t *testing.T, log *pglog.Log, name string) events.Position {
	t.Helper()
	p, err := log.LoadCheckpoint(t.Context(), name)
	noError(t, err)
	return p
}

func shut(t *testing.T, c interface{ Close() error }) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// quiet is where Watermill logs to.
func quiet() watermill.LoggerAdapter { return watermill.NopLogger{} }
