package sqlitelog_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
)

// rawColumns are those of a record. The baselines write and read the same values
// through database/sql, as a program does that keeps events in a table of its own.
const rawTable = `CREATE TABLE raw (position INTEGER PRIMARY KEY, stream INTEGER NOT NULL, version INTEGER NOT NULL, id TEXT NOT NULL,
	type TEXT NOT NULL, time INTEGER NOT NULL, actor TEXT NOT NULL, correlation TEXT, causation TEXT, reason TEXT, previous BLOB NOT NULL, data TEXT NOT NULL)`

// rawInsert is one INSERT with its own COMMIT, in a file beside the log's, with the
// settings of the log.
func rawInsert(b *testing.B) func(r *events.Recorded) {
	b.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(b.TempDir(), "raw.db")+"?_pragma=journal_mode(wal)&_pragma=synchronous(full)")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(rawTable); err != nil {
		b.Fatal(err)
	}
	insert, err := db.Prepare("INSERT INTO raw VALUES (NULL, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL, ?, ?)")
	if err != nil {
		b.Fatal(err)
	}
	return func(r *events.Recorded) {
		if _, err := insert.Exec(1, int64(r.Version), r.ID.String(), r.Type, r.Time.UnixMicro(), r.Actor, r.Previous[:], string(r.Data)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAppend1 compares a durable append by a single writer with one INSERT and
// COMMIT. Both are timed in turn, call by call, and their medians are compared.
func BenchmarkAppend1(b *testing.B) {
	log := open(b, filepath.Join(b.TempDir(), "events.db"), sqlitelog.Config{})
	defer log.Close()
	insert := rawInsert(b)
	var ours, raw testkit.Samples
	g := testkit.NewGenerator()
	for b.Loop() {
		e := g.TokenGenerated()
		r := events.Recorded{Envelope: e, Version: 1}
		raw.Time(func() { insert(&r) })
		ours.Time(func() { testkit.Append(b, log, "organization/acme", e) })
	}
	b.ReportMetric(ours.Median(), "ns/append")
	b.ReportMetric(raw.Median(), "ns/raw")
	b.ReportMetric(ours.Median()/raw.Median(), "x-raw")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkAppend64 compares the throughput of 64 writers on 64 streams with that of
// one writer on one, in turn, round by round. b.N counts rounds of 64 times 64 appends.
func BenchmarkAppend64(b *testing.B) {
	const writers, each = 64, 64
	log := open(b, filepath.Join(b.TempDir(), "events.db"), sqlitelog.Config{})
	defer log.Close()
	insert := rawInsert(b)
	single, generators := testkit.NewGenerator(), make([]*testkit.Generator, writers)
	for w := range generators {
		generators[w] = testkit.NewGenerator()
	}
	var one, many, raw testkit.Samples
	for b.Loop() {
		raw.Time(func() {
			for range 4 * each {
				insert(&events.Recorded{Envelope: single.TokenGenerated(), Version: 1})
			}
		})
		one.Time(func() {
			for range 4 * each {
				testkit.Append(b, log, "organization/single", single.TokenGenerated())
			}
		})
		many.Time(func() {
			var all sync.WaitGroup
			for w, g := range generators {
				stream := events.StreamID(fmt.Sprintf("organization/w%d", w))
				all.Go(func() {
					for range each {
						testkit.Append(b, log, stream, g.TokenGenerated())
					}
				})
			}
			all.Wait()
		})
	}
	perAppend := many.Median() / (writers * each)
	b.ReportMetric(perAppend, "ns/append")
	b.ReportMetric(one.Median()/(4*each)/perAppend, "x-single")
	b.ReportMetric(raw.Median()/(4*each)/perAppend, "x-raw")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkScan compares ReadAll with a scan of the same rows that decodes nothing.
// b.N counts reads of the whole log.
func BenchmarkScan(b *testing.B) {
	const records, streams = 100_000, 200
	path := filepath.Join(b.TempDir(), "events.db")
	log := open(b, path, sqlitelog.Config{})
	defer log.Close()
	testkit.Fill(b, log, records, streams)
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	testkit.BenchmarkScan(b, log, records, func() {
		if n := scan(b, db); n != records {
			b.Fatalf("the scan found %d rows", n)
		}
	})
}

func scan(b *testing.B, db *sql.DB) (n int) {
	rows, err := db.QueryContext(context.Background(), "SELECT * FROM records ORDER BY position")
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	columns := make([]sql.RawBytes, 13)
	into := make([]any, len(columns))
	for i := range columns {
		into[i] = &columns[i]
	}
	for ; rows.Next(); n++ {
		if err := rows.Scan(into...); err != nil {
			b.Fatal(err)
		}
	}
	return n
}

// BenchmarkWake measures how long after an append another handle's Wait returns.
func BenchmarkWake(b *testing.B) {
	path := filepath.Join(b.TempDir(), "events.db")
	log, other := open(b, path, sqlitelog.Config{}), open(b, path, sqlitelog.Config{})
	defer log.Close()
	defer other.Close()
	testkit.BenchmarkWake(b, log, other)
}
