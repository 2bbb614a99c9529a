package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/console"
	"github.com/oatmill/oatmill/oat/hubapi"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/quota"
)

// BenchmarkStrangers measures whether someone who is signed in and owns nothing can tell by the
// time of an answer which organizations there are: it asks the API (403) and the console (404)
// for one that exists and one that does not, in turn, and reports the medians and how far they
// are apart. On a quiet machine that is less than two microseconds.
//
// go test -run '^$' -bench Strangers -benchtime 20000x ./console
func BenchmarkStrangers(b *testing.B) {
	for name, open := range map[string]func(*testing.B) events.Log{
		"memory": func(*testing.B) events.Log { return memlog.New() },
		"sqlite": func(b *testing.B) events.Log {
			log, err := sqlitelog.Open(b.Context(), filepath.Join(b.TempDir(), "oats.db"), sqlitelog.Config{})
			must(b, err)
			b.Cleanup(func() { must(b, log.Close()) })
			return log
		},
	} {
		api, pages, authorization := doorsOn(b, open(b))
		b.Run("log="+name+"/door=api", func(b *testing.B) {
			apart(b, api, http.StatusForbidden, authorization, "/v2/orgs/%s/access-tokens")
		})
		b.Run("log="+name+"/door=console", func(b *testing.B) {
			apart(b, pages, http.StatusNotFound, authorization, "/orgs/%s/tokens")
		})
	}
}

// doorsOn returns the API and the console of a log with 100 organizations of other people, and
// how mallory is signed in to the API.
func doorsOn(b *testing.B, log events.Log) (api, pages http.Handler, authorization string) {
	b.Helper()
	ctx, host := context.Background(), oat.Actor{Host: "bench"}
	service, err := oat.New(oat.Config{Log: log})
	must(b, err)
	for i := range 100 {
		name := fmt.Sprint("org-", i)
		must(b, service.Register(ctx, host, oat.Register{Organization: name, Plan: quota.Business, Owners: []string{"alice"}}))
		for range 20 {
			_, _, err := service.Generate(ctx, host, oat.Generate{Organization: name, Label: "ci", Expires: oat.Never(), Resources: []oat.Resource{oat.All(name, oat.Read)}})
			must(b, err)
		}
	}
	m := newModels()
	runner, err := projection.NewRunner(projection.RunnerConfig{Log: log, Projections: []projection.Projection{m.tokens, m.counts, m.lastUsed, m.history}})
	must(b, err)
	must(b, runner.CatchUp(ctx))
	api, err = hubapi.New(hubapi.Config{
		Service: service, Log: log, Runner: runner, Tokens: m.tokens, History: m.history, LastUsed: m.lastUsed,
		SignIn: func(_ context.Context, name string, _ oat.Secret) (string, error) { return name, nil },
		Keys:   []hubapi.Key{hubapi.HMAC([]byte("0123456789abcdef0123456789abcdef"))}, Rate: quota.Rate{Count: 1 << 40, Window: time.Hour},
	})
	must(b, err)
	pages, err = console.New(console.Config{
		Service: service, Log: log, Runner: runner, Tokens: m.tokens, Counts: m.counts, LastUsed: m.lastUsed, History: m.history,
		User: func(*http.Request) (string, bool) { return "mallory", true },
	})
	must(b, err)
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/v2/auth/token", strings.NewReader(`{"identifier": "mallory", "secret": "x"}`))
	r.Header.Set("Content-Type", "application/json")
	if api.ServeHTTP(w, r); w.Code != http.StatusOK {
		b.Fatal(w.Body)
	}
	body, err := io.ReadAll(w.Body)
	must(b, err)
	return api, pages, "Bearer " + strings.Split(string(body), `"`)[3]
}

// apart asks for organizations that exist and do not, in turn, and reports the medians.
func apart(b *testing.B, door http.Handler, status int, authorization, path string) {
	var took [2][]time.Duration
	for i := range b.N {
		for kind, name := range []string{fmt.Sprint("org-", i%100), fmt.Sprint("off-", i%100)} {
			w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, fmt.Sprintf(path, name), nil)
			r.Header.Set("Authorization", authorization)
			began := time.Now()
			door.ServeHTTP(w, r)
			took[kind] = append(took[kind], time.Since(began))
			if w.Code != status {
				b.Fatal(w.Code, w.Body)
			}
		}
	}
	var medians [2]float64
	for kind := range took {
		slices.Sort(took[kind])
		medians[kind] = float64(took[kind][len(took[kind])/2]) / float64(time.Microsecond)
	}
	b.ReportMetric(medians[0], "µs-exists")
	b.ReportMetric(medians[1], "µs-missing")
	b.ReportMetric(medians[1]-medians[0], "µs-apart")
	b.ReportMetric(0, "ns/op")
}
