package console_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/console"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/quota"
)

// BenchmarkListPage is the server's time for the list of an organization with 100 tokens
// among 10,000 organizations.
func BenchmarkListPage(b *testing.B) {
	ctx := context.Background()
	log := memlog.New()
	service, err := oat.New(oat.Config{Log: log})
	must(b, err)
	host := oat.Actor{Host: "bench"}
	for i := range 10_000 {
		must(b, service.Register(ctx, host, oat.Register{Organization: fmt.Sprint("org-", i), Plan: quota.Business, Owners: []string{"alice"}}))
	}
	for i := range 100 {
		_, _, err := service.Generate(ctx, host, oat.Generate{
			Organization: "org-5000", Label: fmt.Sprint("token ", i), Expires: oat.Never(),
			Resources: []oat.Resource{oat.Repository("org-5000/api", oat.ReadWrite), oat.Repository("org-5000/web", oat.Read)},
		})
		must(b, err)
	}
	cfg := console.Config{
		Service: service, Log: log, Tokens: projection.NewTokens(), Counts: projection.NewCounts(nil), LastUsed: projection.NewLastUsed(), History: projection.NewHistory(),
		User: func(*http.Request) (string, bool) { return "alice", true },
	}
	cfg.Runner, err = projection.NewRunner(projection.RunnerConfig{Log: log, Projections: []projection.Projection{cfg.Tokens, cfg.Counts, cfg.LastUsed, cfg.History}})
	must(b, err)
	must(b, cfg.Runner.CatchUp(ctx))
	pages, err := console.New(cfg)
	must(b, err)
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		pages.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/orgs/org-5000/tokens", nil))
		if w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
	}
}
