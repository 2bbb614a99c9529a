// Package durable_test holds the whole library against the durable logs: what needs
// the domain and a log that survives a restart has its tests and benchmarks here.
package durable_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/pglog"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/projection/projtest"
	"github.com/oatmill/oatmill/quota"
)

// plans has one on which no benchmark meets a limit.
func plans() quota.Plans { return quota.Plans{"endless": {Tokens: 1 << 40}} }

func owner() oat.Actor { return oat.Actor{User: "alice"} }

func openLog(tb testing.TB, path string) *sqlitelog.Log {
	tb.Helper()
	log, err := sqlitelog.Open(context.Background(), path, sqlitelog.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = log.Close() })
	return log
}

// newService is a service with a verifier, as in production.
func newService(tb testing.TB, log events.Log) *oat.Service {
	tb.Helper()
	service, err := oat.New(oat.Config{Log: log, Plans: plans(), Verifier: oat.NewVerifier(oat.VerifierConfig{Plans: plans()})})
	if err != nil {
		tb.Fatal(err)
	}
	return service
}

func register(tb testing.TB, service *oat.Service, organization string) {
	tb.Helper()
	err := service.Register(context.Background(), owner(), oat.Register{Organization: organization, Plan: "endless", Owners: []string{"alice"}})
	if err != nil {
		tb.Fatal(err)
	}
}

func generate(tb testing.TB, service *oat.Service, organization string) oat.Token {
	token, _, err := service.Generate(context.Background(), owner(), oat.Generate{
		Organization: organization, Label: "ci", Expires: oat.Never(),
		Resources: []oat.Resource{oat.Repository(organization+"/api", oat.ReadWrite)},
	})
	if err != nil {
		tb.Error(err)
	}
	return token
}

// rawInsert is one INSERT with its own COMMIT, of a row like the log's, into a plain
// table in a file of its own, with the same driver and the same durability.
func rawInsert(b *testing.B) func() {
	b.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(b.TempDir(), "raw.db")+"?_pragma=journal_mode(wal)&_pragma=synchronous(full)")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(1)
	_, err = db.Exec(`CREATE TABLE raw (position INTEGER PRIMARY KEY, stream INTEGER NOT NULL, version INTEGER NOT NULL, id TEXT NOT NULL,
		type TEXT NOT NULL, time INTEGER NOT NULL, actor TEXT NOT NULL, previous BLOB NOT NULL, data TEXT NOT NULL)`)
	if err != nil {
		b.Fatal(err)
	}
	insert, err := db.Prepare("INSERT INTO raw VALUES (NULL, 1, ?, ?, ?, ?, ?, ?, ?)")
	if err != nil {
		b.Fatal(err)
	}
	version, previous := 0, make([]byte, 32)
	_, data, err := events.Encode(&events.TokenGenerated{
		Token: uuid.NewString(), Label: "ci", Resources: []events.Resource{oat.Repository("acme/api", oat.ReadWrite)},
	})
	if err != nil {
		b.Fatal(err)
	}
	return func() {
		version++
		if _, err := insert.Exec(version, ulid.Make().String(), events.TypeTokenGenerated, time.Now().UnixMicro(), "alice", previous, string(data)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGenerateOne measures promise P5: one owner generates tokens, each durable
// before the next. Calls and raw inserts take turns; x-raw is the ratio of medians.
func BenchmarkGenerateOne(b *testing.B) {
	service := newService(b, openLog(b, filepath.Join(b.TempDir(), "events.db")))
	register(b, service, "acme")
	insert := rawInsert(b)
	var ours, raw testkit.Samples
	for b.Loop() {
		raw.Time(insert)
		ours.Time(func() { generate(b, service, "acme") })
	}
	b.ReportMetric(ours.Median(), "ns/generate")
	b.ReportMetric(raw.Median(), "ns/raw")
	b.ReportMetric(ours.Median()/raw.Median(), "x-raw")
}

// BenchmarkGenerateMany measures promise P6: owners of 64 organizations generate at the
// same time, beside one who does so alone. Rounds of both take turns; x-single is how
// many times more tokens the 64 get.
func BenchmarkGenerateMany(b *testing.B) {
	const organizations, each = 64, 16
	service := newService(b, openLog(b, filepath.Join(b.TempDir(), "events.db")))
	names := make([]string, organizations)
	for i := range names {
		names[i] = fmt.Sprintf("org-%02d", i)
		register(b, service, names[i])
	}
	register(b, service, "single")
	var one, many testkit.Samples
	for b.Loop() {
		one.Time(func() {
			for range 2 * each {
				generate(b, service, "single")
			}
		})
		many.Time(func() {
			var wg sync.WaitGroup
			for _, name := range names {
				wg.Go(func() {
					for range each {
						generate(b, service, name)
					}
				})
			}
			wg.Wait()
		})
	}
	alone, together := one.Median()/(2*each), many.Median()/(organizations*each)
	b.ReportMetric(alone, "ns/alone")
	b.ReportMetric(together, "ns/together")
	b.ReportMetric(alone/together, "x-single")
}

// BenchmarkRebuildSQLite measures promise P9: all read models rebuilt from a million
// events, beside a scan of the same rows that decodes nothing. Both take turns.
func BenchmarkRebuildSQLite(b *testing.B) {
	path := filepath.Join(b.TempDir(), "events.db")
	log := openLog(b, path)
	fill(b, log, projtest.NewWorld(1, 1000, rebuilt).Records)
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	benchmarkRebuild(b, log, func() { scan(b, db, "SELECT * FROM records ORDER BY position", rebuilt) })
}

// BenchmarkRebuildPostgres does the same for PostgreSQL.
func BenchmarkRebuildPostgres(b *testing.B) {
	url := startPostgres(b)
	log, err := pglog.Open(b.Context(), url, pglog.Config{Schema: verifiersSchema(os.Getpid())})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = log.Close() })
	fill(b, log, projtest.NewWorld(1, 1000, rebuilt).Records)
	db, err := sql.Open("pgx", url)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	query := "SELECT * FROM " + verifiersSchema(os.Getpid()) + ".records ORDER BY position"
	benchmarkRebuild(b, log, func() { scan(b, db, query, rebuilt) })
}

// rebuilt is how many events the benchmarks of a rebuild read.
const rebuilt = 1_000_000

func benchmarkRebuild(b *testing.B, log events.Log, scan func()) {
	var ours, raw testkit.Samples
	for b.Loop() {
		raw.Time(scan)
		ours.Time(func() {
			runner, err := projection.NewRunner(projection.RunnerConfig{Log: log, Projections: []projection.Projection{
				projection.NewTokens(), projection.NewCounts(nil), projection.NewLastUsed(), projection.NewHistory(),
			}})
			if err == nil {
				err = runner.CatchUp(context.Background())
			}
			if err != nil {
				b.Fatal(err)
			}
		})
	}
	b.ReportMetric(rebuilt/(ours.Median()/1e9), "events/s")
	b.ReportMetric(rebuilt/(raw.Median()/1e9), "scanned/s")
	b.ReportMetric(raw.Median()/ours.Median(), "x-scan")
}

// scan reads every column of every row without looking at them.
func scan(b *testing.B, db *sql.DB, query string, want int) {
	rows, err := db.Query(query)
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		b.Fatal(err)
	}
	columns := make([]sql.RawBytes, len(names))
	into := make([]any, len(names))
	for i := range columns {
		into[i] = &columns[i]
	}
	n := 0
	for ; rows.Next(); n++ {
		if err := rows.Scan(into...); err != nil {
			b.Fatal(err)
		}
	}
	if n != want {
		b.Fatalf("scanned %d rows, not %d", n, want)
	}
}

// fill appends records to the log, stretch by stretch, in batches of one stream.
func fill(b *testing.B, log events.Log, records []events.Recorded) {
	b.Helper()
	for stretch := range slices.Chunk(records, 50_000) {
		batches := make(map[events.StreamID][]events.Envelope)
		var order []events.StreamID
		for _, r := range stretch {
			if batches[r.Stream] == nil {
				order = append(order, r.Stream)
			}
			batches[r.Stream] = append(batches[r.Stream], r.Envelope)
		}
		appendTogether(b, log, order, batches)
	}
}

// appendTogether appends one batch to every stream, many at a time.
func appendTogether(b *testing.B, log events.Log, order []events.StreamID, batches map[events.StreamID][]events.Envelope) {
	b.Helper()
	var wg sync.WaitGroup
	places := make(chan struct{}, 64)
	for _, stream := range order {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			for batch := range slices.Chunk(batches[stream], events.MaxBatch) {
				if _, err := log.Append(context.Background(), stream, events.Any, batch...); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
}

// past is the events of an organization with some tokens that were edited and edited.
func past(organization string, tokens, edits int) []events.Envelope {
	payloads := []events.Payload{&events.OrganizationRegistered{Plan: "endless", Owners: []string{"alice"}}}
	ids := make([]string, tokens)
	for i := range ids {
		ids[i] = uuid.NewString()
		digest := uuid.New()
		payloads = append(payloads, &events.TokenGenerated{
			Token: ids[i], Label: "ci", Digest: events.Hash(append(digest[:], digest[:]...)),
			Resources: []events.Resource{oat.Repository(organization+"/api", oat.ReadWrite)},
		})
	}
	for i := range edits {
		label := fmt.Sprintf("label %d", i)
		payloads = append(payloads, &events.TokenEdited{Token: ids[i%tokens], Label: &label})
	}
	envelopes := make([]events.Envelope, len(payloads))
	for i, payload := range payloads {
		envelope, err := events.NewEnvelope(ulid.Make(), time.Now(), "alice", payload)
		if err != nil {
			panic(err)
		}
		envelopes[i] = envelope
	}
	return envelopes
}

// edit changes the label of a token of the organization.
func edit(b *testing.B, service *oat.Service, organization string, token uuid.UUID) {
	label := "label " + ulid.Make().String()
	if _, err := service.Edit(context.Background(), owner(), oat.Edit{Organization: organization, Token: token, Label: &label}); err != nil {
		b.Fatal(err)
	}
}

// grown is an organization with so many events, all of which but the last went through
// some service before.
type grown struct {
	name  string
	token uuid.UUID
}

func grow(b *testing.B, log *sqlitelog.Log, name string, past []events.Envelope) grown {
	b.Helper()
	appendTogether(b, log, []events.StreamID{events.OrganizationStream(name)}, map[events.StreamID][]events.Envelope{events.OrganizationStream(name): past})
	g := grown{name: name}
	for r, err := range log.ReadStream(context.Background(), events.OrganizationStream(name), 0) {
		if err != nil {
			b.Fatal(err)
		}
		payload, err := r.Payload()
		if err != nil {
			b.Fatal(err)
		}
		if generated, ok := payload.(*events.TokenGenerated); ok {
			g.token = uuid.MustParse(generated.Token)
			break
		}
	}
	edit(b, newService(b, log), name, g.token)
	return g
}

// BenchmarkLongPast measures promise P11: an edit in an organization with 10,000 past
// decisions. "warm" compares it with one of 10, in a service that knows both; "cold" is the
// first command of a new service, and compares it with reading the same stream. The pairs
// take turns.
func BenchmarkLongPast(b *testing.B) {
	b.Run("warm", func(b *testing.B) {
		log := openLog(b, filepath.Join(b.TempDir(), "events.db"))
		long := grow(b, log, "long", past("long", 5, 10_000))
		short := grow(b, log, "short", past("short", 5, 10))
		service := newService(b, log)
		var longs, shorts testkit.Samples
		for b.Loop() {
			longs.Time(func() { edit(b, service, long.name, long.token) })
			shorts.Time(func() { edit(b, service, short.name, short.token) })
		}
		b.ReportMetric(longs.Median(), "ns/long")
		b.ReportMetric(shorts.Median(), "ns/short")
		b.ReportMetric(longs.Median()/shorts.Median(), "x-baseline")
	})
	b.Run("cold", func(b *testing.B) {
		log := openLog(b, filepath.Join(b.TempDir(), "events.db"))
		long := grow(b, log, "long", past("long", 5, 10_000))
		var edits, reads testkit.Samples
		for b.Loop() {
			service := newService(b, log)
			edits.Time(func() { edit(b, service, long.name, long.token) })
			reads.Time(func() {
				for _, err := range log.ReadStream(b.Context(), events.OrganizationStream(long.name), 0) {
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.ReportMetric(edits.Median(), "ns/edit")
		b.ReportMetric(reads.Median(), "ns/read")
		b.ReportMetric(edits.Median()/reads.Median(), "x-baseline")
	})
}

// BenchmarkGrowth measures promise P12: Generate and Edit on a log of 10,000 tokens and on
// one of 1,000,000, ten to an organization. "warm" draws from 200 organizations that the
// services know; "cold" draws from all, with services that keep none in memory, so that
// each command reads its organization's stream. Both sides take turns.
func BenchmarkGrowth(b *testing.B) {
	small, large := newPopulation(b, 10_000), newPopulation(b, 1_000_000)
	for _, c := range []struct {
		name string
		cold bool
		do   func(*oat.Service, grown)
	}{
		{"generate/warm", false, func(s *oat.Service, g grown) { generate(b, s, g.name) }},
		{"generate/cold", true, func(s *oat.Service, g grown) { generate(b, s, g.name) }},
		{"edit/warm", false, func(s *oat.Service, g grown) { edit(b, s, g.name, g.token) }},
		{"edit/cold", true, func(s *oat.Service, g grown) { edit(b, s, g.name, g.token) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			var smalls, larges testkit.Samples
			for b.Loop() {
				small.measure(&smalls, c.cold, c.do)
				large.measure(&larges, c.cold, c.do)
			}
			b.ReportMetric(larges.Median(), "ns/1M")
			b.ReportMetric(smalls.Median(), "ns/10k")
			b.ReportMetric(larges.Median()/smalls.Median(), "x-10k")
		})
	}
}

// population is many organizations on one log, with services that have a verifier which
// knows all of them.
type population struct {
	warm, cold    *oat.Service
	organizations []grown
	random        *rand.Rand
}

// measure times one command on an organization drawn at random.
func (p *population) measure(into *testkit.Samples, cold bool, do func(*oat.Service, grown)) {
	service, among := p.warm, p.organizations[:200]
	if cold {
		service, among = p.cold, p.organizations
	}
	g := among[p.random.IntN(len(among))]
	into.Time(func() { do(service, g) })
}

func newPopulation(b *testing.B, tokens int) *population {
	b.Helper()
	const each = 10
	log := openLog(b, filepath.Join(b.TempDir(), "events.db"))
	p := &population{random: rand.New(rand.NewPCG(1, 1))}
	for from := 0; from < tokens/each; from += 5000 {
		batches := make(map[events.StreamID][]events.Envelope)
		var order []events.StreamID
		for i := range min(5000, tokens/each-from) {
			name := fmt.Sprintf("org-%06d", from+i)
			stream := events.OrganizationStream(name)
			batches[stream] = past(name, each, 0)
			order = append(order, stream)
			var generated events.TokenGenerated
			decoded, err := events.Decode(events.TypeTokenGenerated, batches[stream][1].Data)
			if err != nil {
				b.Fatal(err)
			}
			generated = *decoded.(*events.TokenGenerated)
			p.organizations = append(p.organizations, grown{name, uuid.MustParse(strings.Clone(generated.Token))})
		}
		appendTogether(b, log, order, batches)
	}
	verifier := oat.NewVerifier(oat.VerifierConfig{Plans: plans()})
	runner, err := projection.NewRunner(projection.RunnerConfig{Log: log, Projections: []projection.Projection{verifier}})
	if err == nil {
		err = runner.CatchUp(context.Background())
	}
	if err != nil {
		b.Fatal(err)
	}
	for size, service := range map[int]**oat.Service{0: &p.warm, 1: &p.cold} {
		*service, err = oat.New(oat.Config{Log: log, Plans: plans(), Verifier: verifier, CacheSize: size})
		if err != nil {
			b.Fatal(err)
		}
	}
	for _, g := range p.organizations[:200] {
		edit(b, p.warm, g.name, g.token)
	}
	return p
}
