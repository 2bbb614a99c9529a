package sqlview

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/quota"
)

// The tests with real databases stand in the module of the drivers, beside the logs.

var _ projection.Rebuilder = (*View)(nil)

// A configuration that cannot work is refused before the database is asked anything.
func TestConfigIsChecked(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		says string
	}{
		{Config{}, "dialect"},
		{Config{Dialect: "mysql"}, `"mysql"`},
		{Config{Dialect: SQLite, Schema: "x"}, "schema"},
		{Config{Dialect: SQLite, Prefix: "Oat_"}, "prefix"},
		{Config{Dialect: SQLite, Prefix: "1_"}, "prefix"},
		{Config{Dialect: PostgreSQL, Prefix: `a"; DROP TABLE users; --`}, "prefix"},
		{Config{Dialect: PostgreSQL, Prefix: strings.Repeat("a", maxPrefix+1)}, "prefix"},
	} {
		_, err := Open(context.Background(), new(sql.DB), c.cfg)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want something about %s", c.cfg, err, c.says)
		}
	}
	if _, err := Open(context.Background(), nil, Config{Dialect: SQLite}); err == nil {
		t.Error("opened without a database")
	}
}

// The longest names still fit PostgreSQL, which cuts what is longer without a word, and two
// tables would become one.
func TestNamesFit(t *testing.T) {
	s := &set{schema: schema{Dialect: PostgreSQL, prefix: strings.Repeat("a", maxPrefix)}, suffix: "_next"}
	for _, statement := range append(s.createSet(), s.create(plansTable())...) {
		name := strings.Fields(statement[strings.Index(statement, "aaa"):])[0]
		if len(name) > 63 {
			t.Errorf("%s has %d bytes", name, len(name))
		}
	}
}

// A host that changes its Plans afterwards changes nothing here.
func TestConfigIsCopied(t *testing.T) {
	plans := quota.Plans{"team": {Tokens: 1}}
	cfg := Config{Dialect: SQLite, Plans: plans}.withDefaults()
	plans["team"] = quota.Plan{Tokens: 2}
	if cfg.Plans["team"].Tokens != 1 {
		t.Error("the plans are shared with the host")
	}
}

// What a resource opens in the table is what it opens in the verifier.
func TestReach(t *testing.T) {
	const repo, pull, push = "TYPE_REPO", "scope-image-pull", "scope-image-push"
	for _, c := range []struct {
		kind, path string
		scopes     []string
		pull, push bool
	}{
		{repo, "acme/api", []string{pull}, true, false},
		{repo, "acme/api", []string{push}, true, true},
		{repo, "acme/api", []string{pull, push}, true, true},
		{repo, "acme/*", []string{push, pull}, true, true},
		{repo, "*/*/public", []string{pull}, true, false},
		{repo, "*/*/public", []string{push}, true, false},
		{repo, "acme/api", nil, false, false},
		{repo, "acme/api", []string{"scope-image-delete"}, false, false},
		{"TYPE_ORG", "acme/api", []string{push}, false, false},
		{repo, "umbrella/api", []string{push}, false, false},
		{repo, "acmes/api", []string{push}, false, false},
		{repo, "acme/", []string{push}, false, false},
		{repo, "acme", []string{push}, false, false},
		{repo, "*/*/private", []string{pull}, false, false},
	} {
		gotPull, gotPush := reach("acme", events.Resource{Type: c.kind, Path: c.path, Scopes: c.scopes})
		if gotPull != c.pull || gotPush != c.push {
			t.Errorf("%s %s %q: pull %v, push %v", c.kind, c.path, c.scopes, gotPull, gotPush)
		}
	}
}

// However spans come, the sum is the same. To see it fail, let span.merge take the attempt that
// came last where two are of the same moment.
func TestSpansMergeInAnyOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		spans := make([]*events.UseSpan, 1+random.IntN(5))
		for i := range spans {
			first := time.UnixMicro(random.Int64N(4)).UTC()
			spans[i] = &events.UseSpan{
				First: first, Last: first.Add(time.Duration(random.IntN(3)) * time.Microsecond), Count: random.Int64N(4),
				Address: fmt.Sprint(random.IntN(2)), UserAgent: fmt.Sprint(random.IntN(2)), Cause: fmt.Sprint(random.IntN(2)),
			}
		}
		sum := func() (s span) {
			for _, o := range slices.Concat(spans, []*events.UseSpan{nil}) {
				s.merge(o)
			}
			return s
		}
		want := sum()
		random.Shuffle(len(spans), func(i, j int) { spans[i], spans[j] = spans[j], spans[i] })
		if got := sum(); got != want {
			t.Fatalf("%+v, and in another order %+v", want, got)
		}
	}
}

// A moment in whole microseconds is at or after an expiry exactly when it is at or after the
// rounded one. To see it fail, let roundUp round to the nearest.
func TestRoundUp(t *testing.T) {
	for _, base := range []time.Time{{}, time.Unix(0, 0), time.Date(1969, 12, 31, 23, 59, 59, 999_999_000, time.UTC), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} {
		for nanos := range 2001 {
			expires := base.Add(time.Duration(nanos))
			micros, up := roundUp(expires)
			if exact := time.UnixMicro(micros).Add(-time.Duration(up)); !exact.Equal(expires) || up < 0 || up > 999 {
				t.Fatalf("%v: %d, rounded up by %d", expires, micros, up)
			}
			for _, at := range []int64{expires.UnixMicro() - 1, expires.UnixMicro(), expires.UnixMicro() + 1} {
				if (at >= micros) != !time.UnixMicro(at).Before(expires) {
					t.Fatalf("%v: rounded to %d, which is wrong at %d", expires, micros, at)
				}
			}
		}
	}
}

// Pages never reach beyond what a database can count.
func TestBounds(t *testing.T) {
	const most = int(^uint(0) >> 1)
	for _, c := range []struct {
		page, size    int
		limit, offset int64
	}{
		{0, 0, int64(most), 0}, {1, -1, int64(most), 0}, {2, 0, 0, 0}, {-5, 10, 10, 0}, {3, 10, 10, 20}, {most, most, 0, 0}, {2, most, int64(most), int64(most)}, {most, 1, 1, int64(most - 1)},
	} {
		if limit, offset := bounds(c.page, c.size); limit != c.limit || offset != c.offset {
			t.Errorf("page %d of %d: limit %d, offset %d", c.page, c.size, limit, offset)
		}
	}
}
