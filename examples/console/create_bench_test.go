package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oatmill/oatmill/oat"
)

// BenchmarkCreate compares creating tokens through the API, without a network, with the
// command itself: owners of 64 organizations at the same time, in turns, round by round.
// b.N counts rounds, of which the plan has room for 90: -benchtime 40x.
func BenchmarkCreate(b *testing.B) {
	const organizations = 64
	p := &program{stdout: io.Discard, stderr: io.Discard, now: time.Now, data: filepath.Join(b.TempDir(), "data")}
	s := p.opened(b, "--api-limit", "1000000/1m")
	populate(b, s.service, 1+2*organizations)
	must(b, s.runner.CatchUp(b.Context()))
	c, err := s.accounts.Add(b.Context(), "alice")
	must(b, err)
	post := func(path, bearer, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+bearer)
		answer := httptest.NewRecorder()
		s.handler.ServeHTTP(answer, r)
		return answer
	}
	var signedIn struct{ Token string }
	must(b, json.Unmarshal(post("/v2/users/login", "", fmt.Sprintf(`{"username":"alice","password":%q}`, c.Password)).Body.Bytes(), &signedIn))

	// The first organization has its tokens already.
	together := func(first int, create func(organization string)) time.Duration {
		began := time.Now()
		var creating sync.WaitGroup
		for i := range organizations {
			creating.Go(func() { create(organizationName(first + i)) })
		}
		creating.Wait()
		return time.Since(began)
	}
	var api, command []time.Duration
	for b.Loop() {
		command = append(command, together(1, func(organization string) {
			_, _, err := s.service.Generate(b.Context(), oat.Actor{User: "alice"}, oat.Generate{
				Organization: organization, Label: "ci", Expires: oat.Never(), Resources: []oat.Resource{oat.Repository(organization+"/api", oat.ReadWrite)},
			})
			if err != nil {
				b.Error(err)
			}
		}))
		api = append(api, together(1+organizations, func(organization string) {
			body := fmt.Sprintf(`{"label":"ci","resources":[{"type":"TYPE_REPO","path":"%s/api","scopes":["scope-image-pull","scope-image-push"]}]}`, organization)
			if answer := post("/v2/orgs/"+organization+"/access-tokens", signedIn.Token, body); answer.Code != http.StatusCreated {
				b.Error(answer.Code, answer.Body)
			}
		}))
	}
	slices.Sort(api)
	slices.Sort(command)
	a, g := float64(api[len(api)/2]), float64(command[len(command)/2])
	b.ReportMetric(a/organizations, "ns/create")
	b.ReportMetric(g/organizations, "ns/generate")
	b.ReportMetric(a/g, "x-generate")
	b.ReportMetric(0, "ns/op")
}
