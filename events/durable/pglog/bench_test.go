package pglog_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/pglog"
	"github.com/oatmill/oatmill/events/durable/pgserver"
)

// rawTable has the columns of a record, and of indexes only those without which two
// writers could win one version. The baselines use it as a program does that keeps
// events in a table of its own.
const rawTable = `CREATE TABLE raw (position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, stream text COLLATE "C" NOT NULL, version bigint NOT NULL,
	id uuid NOT NULL, type text NOT NULL, time timestamptz NOT NULL, actor text NOT NULL, correlation text NOT NULL, causation uuid, reason text NOT NULL,
	previous bytea NOT NULL, data text NOT NULL, UNIQUE (stream, version))`

const rawInsert = `INSERT INTO raw (stream, version, id, type, time, actor, correlation, causation, reason, previous, data)
	VALUES ($1, $2, $3, $4, $5, $6, '', NULL, '', $7, $8)`

// rawPool has a connection for each caller, already made.
func rawPool(b *testing.B, address string, callers int) *pgxpool.Pool {
	b.Helper()
	cfg, err := pgxpool.ParseConfig(address)
	if err != nil {
		b.Fatal(err)
	}
	cfg.MaxConns, cfg.MinConns = int32(callers), int32(callers)
	pool, err := pgxpool.NewWithConfig(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	if _, err := pool.Exec(b.Context(), rawTable); err != nil {
		b.Fatal(err)
	}
	return pool
}

func insertRaw(ctx context.Context, pool *pgxpool.Pool, stream events.StreamID, version int, e *events.Envelope, previous []byte) error {
	_, err := pool.Exec(ctx, rawInsert, string(stream), version, e.ID, e.Type, e.Time, e.Actor, previous, string(e.Data))
	return err
}

// benchDatabase is on a server as durable as servers are by default.
func benchDatabase(b *testing.B) string {
	b.Helper()
	server, err := pgserver.Find(b.Context(), pgserver.Config{Settings: map[string]string{"max_connections": "400"}})
	need(b, err)
	b.Cleanup(func() {
		if err := server.Close(); err != nil {
			b.Error(err)
		}
	})
	return newDatabaseOn(b, server)
}

// BenchmarkAppend1 compares an append by a single writer with one INSERT, in turn, call by
// call.
func BenchmarkAppend1(b *testing.B) { benchmarkAppend(b, 1, 256) }

// BenchmarkAppend32 and BenchmarkAppend256 compare the throughput of as many writers, each
// on a stream of its own, with that of the same number of callers, each with a connection
// of its own, who insert a row in a statement that commits itself. They take turns, round
// by round. b.N counts rounds.
func BenchmarkAppend32(b *testing.B) { benchmarkAppend(b, 32, 64) }

func BenchmarkAppend256(b *testing.B) { benchmarkAppend(b, 256, 32) }

func benchmarkAppend(b *testing.B, writers, each int) {
	address := benchDatabase(b)
	log := openFor(b, address, pglog.Config{})
	pool := rawPool(b, address, writers)
	versions := 0
	var ours, raw testkit.Samples
	round := func(into *testkit.Samples, do func(stream events.StreamID, version int, e *events.Envelope) error) {
		batches := make([][]events.Envelope, writers)
		for w := range batches {
			batches[w] = testkit.NewGenerator().Batch(each)
		}
		into.Time(func() {
			var all sync.WaitGroup
			for w, batch := range batches {
				stream := events.StreamID(fmt.Sprintf("organization/w%d", w))
				all.Go(func() {
					for i := range batch {
						if err := do(stream, versions+i, &batch[i]); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
		})
	}
	previous := make([]byte, 32)
	for b.Loop() {
		round(&raw, func(stream events.StreamID, version int, e *events.Envelope) error {
			return insertRaw(b.Context(), pool, stream, version, e, previous)
		})
		round(&ours, func(stream events.StreamID, version int, e *events.Envelope) error {
			_, err := log.Append(b.Context(), stream, events.Version(version), *e)
			return err
		})
		versions += each
	}
	n := float64(writers * each)
	b.ReportMetric(ours.Median()/n, "ns/append")
	b.ReportMetric(raw.Median()/n, "ns/raw")
	b.ReportMetric(raw.Median()/ours.Median(), "x-raw")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkScan compares ReadAll with a scan of the same rows that decodes nothing.
// b.N counts reads of the whole log.
func BenchmarkScan(b *testing.B) {
	const records, streams = 100_000, 200
	address := benchDatabase(b)
	log := openFor(b, address, pglog.Config{})
	testkit.Fill(b, log, records, streams)
	mustExec(b, address, `VACUUM ANALYZE`)
	conn := connect(b, address)
	testkit.BenchmarkScan(b, log, records, func() {
		rows, err := conn.Query(b.Context(), `SELECT * FROM oatmill.records ORDER BY position`)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for rows.Next() {
			n += len(rows.RawValues()) / 12
		}
		if rows.Err() != nil || n != records {
			b.Fatalf("the scan found %d rows: %v", n, rows.Err())
		}
	})
}

// BenchmarkWake measures how long after an append another handle's Wait returns.
func BenchmarkWake(b *testing.B) {
	address := benchDatabase(b)
	log, other := openFor(b, address, pglog.Config{}), openFor(b, address, pglog.Config{})
	testkit.BenchmarkWake(b, log, other)
}
