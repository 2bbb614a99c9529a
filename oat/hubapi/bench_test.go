package hubapi_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/hubapi"
	"github.com/oatmill/oatmill/oat/oattest"
	"github.com/oatmill/oatmill/quota"
)

// crowd is organizations with two tokens each, beside acme with 100.
func crowd(b *testing.B, organizations int) *desk {
	b.Helper()
	env := oattest.New(b, func(cfg *oat.Config) { cfg.CacheSize = 100 })
	by, ctx := oat.Actor{Host: "bench"}, context.Background()
	generate := func(name string, tokens int) {
		for range tokens {
			_, _, err := env.Service.Generate(ctx, by, oat.Generate{
				Organization: name, Label: "ci", Expires: oat.Never(), Resources: []oat.Resource{oat.Repository(name+"/api", oat.ReadWrite)},
			})
			must(b, err)
		}
	}
	for i := range organizations {
		name := fmt.Sprintf("org-%d", i)
		must(b, env.Service.Register(ctx, by, oat.Register{Organization: name, Plan: quota.Team, Owners: []string{"zoe"}}))
		generate(name, 2)
	}
	must(b, env.Service.Register(ctx, by, oat.Register{Organization: "acme", Plan: quota.Business, Owners: []string{"alice", "bob"}}))
	generate("acme", 100)
	d := newDeskOn(b, env, func(cfg *hubapi.Config) { cfg.Logger = nil })
	d.seeAll()
	return d
}

// BenchmarkList is a page of an organization with 100 tokens among 10,000 others, from
// the first byte of the request to the last of the answer.
func BenchmarkList(b *testing.B) {
	d := crowd(b, 10_000)
	for _, size := range []int{10, 100} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			r := d.request(http.MethodGet, fmt.Sprintf("%s?page_size=%d", tokensOfAcme, size), "alice", nil)
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				if d.Handler.ServeHTTP(w, r); w.Code != http.StatusOK {
					b.Fatal(w.Body)
				}
			}
		})
	}
}
