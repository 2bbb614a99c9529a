package sqlitelog_test

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
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

// samples are durations of single calls.
type samples []time.Duration

func (s *samples) time(f func()) {
	start := time.Now()
	f()
	*s = append(*s, time.Since(start))
}

func (s samples) median() float64 {
	slices.Sort(s)
	return float64(s[len(s)/2])
}

// BenchmarkAppend1 compares a durable append by a single writer with one INSERT and
// COMMIT. Both are timed in turn, call by call, and their medians are compared.
func BenchmarkAppend1(b *testing.B) {
	log := open(b, filepath.Join(b.TempDir(), "events.db"), sqlitelog.Config{})
	defer log.Close()
	insert := rawInsert(b)
	var ours, raw samples
	g := newGenerator()
	for b.Loop() {
		e := g.tokenGenerated()
		r := events.Recorded{Envelope: e, Version: 1}
		raw.time(func() { insert(&r) })
		ours.time(func() { mustAppend(b, log, "organization/acme", e) })
	}
	b.ReportMetric(ours.median(), "ns/append")
	b.ReportMetric(raw.median(), "ns/raw")
	b.ReportMetric(ours.median()/raw.median(), "x-raw")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkAppend64 compares the throughput of 64 writers on 64 streams with that of
// one writer on one, in turn, round by round. b.N counts rounds of 64 times 64 appends.
func BenchmarkAppend64(b *testing.B) {
	const writers, each = 64, 64
	log := open(b, filepath.Join(b.TempDir(), "events.db"), sqlitelog.Config{})
	defer log.Close()
	insert := rawInsert(b)
	single, generators := newGenerator(), make([]*generator, writers)
	for w := range generators {
		generators[w] = newGenerator()
	}
	var one, many, raw samples
	for b.Loop() {
		raw.time(func() {
			for range 4 * each {
				insert(&events.Recorded{Envelope: single.tokenGenerated(), Version: 1})
			}
		})
		one.time(func() {
			for range 4 * each {
				mustAppend(b, log, "organization/single", single.tokenGenerated())
			}
		})
		many.time(func() {
			var all sync.WaitGroup
			for w, g := range generators {
				stream := events.StreamID(fmt.Sprintf("organization/w%d", w))
				all.Go(func() {
					for range each {
						mustAppend(b, log, stream, g.tokenGenerated())
					}
				})
			}
			all.Wait()
		})
	}
	perAppend := many.median() / (writers * each)
	b.ReportMetric(perAppend, "ns/append")
	b.ReportMetric(one.median()/(4*each)/perAppend, "x-single")
	b.ReportMetric(raw.median()/(4*each)/perAppend, "x-raw")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkScan compares ReadAll with a scan of the same rows that decodes nothing.
// b.N counts reads of the whole log.
func BenchmarkScan(b *testing.B) {
	const records, streams = 100_000, 200
	path := filepath.Join(b.TempDir(), "events.db")
	log := open(b, path, sqlitelog.Config{})
	defer log.Close()
	fill(b, log, records, streams)
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	var ours, raw samples
	for b.Loop() {
		raw.time(func() {
			if n := scan(b, db); n != records {
				b.Fatalf("the scan found %d rows", n)
			}
		})
		ours.time(func() {
			n := 0
			for _, err := range log.ReadAll(b.Context(), 0) {
				if n++; err != nil {
					b.Fatal(err)
				}
			}
			if n != records {
				b.Fatalf("ReadAll yielded %d records", n)
			}
		})
	}
	b.ReportMetric(ours.median()/records, "ns/record")
	b.ReportMetric(raw.median()/records, "ns/raw")
	b.ReportMetric(raw.median()/ours.median(), "x-raw-speed")
	b.ReportMetric(0, "ns/op")
}

func scan(b *testing.B, db *sql.DB) (n int) {
	rows, err := db.QueryContext(context.Background(), "SELECT * FROM records ORDER BY position")
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	columns := make([]sql.RawBytes, 12)
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
	g := newGenerator()
	var late samples
	for b.Loop() {
		after, err := other.End(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		woken := make(chan time.Time, 1)
		go func() {
			if err := other.Wait(b.Context(), after); err != nil {
				b.Error(err)
			}
			woken <- time.Now()
		}()
		mustAppend(b, log, "organization/acme", g.tokenGenerated())
		appended := time.Now()
		late = append(late, max(0, (<-woken).Sub(appended)))
	}
	slices.SortFunc(late, cmp.Compare)
	b.ReportMetric(float64(late[len(late)*99/100].Microseconds())/1000, "p99-ms")
}
