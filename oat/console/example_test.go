package console_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"

	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/console"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/quota"
)

// A host with a session of its own mounts the console, and alice, who owns acme, opens
// the list, generates a token and sees its secret.
func Example() {
	ctx := context.Background()
	events := memlog.New()
	service, err := oat.New(oat.Config{Log: events})
	if err != nil {
		log.Fatal(err)
	}
	if err := service.Register(ctx, oat.Actor{Host: "billing"}, oat.Register{Organization: "acme", Plan: quota.Team, Owners: []string{"alice"}}); err != nil {
		log.Fatal(err)
	}

	cfg := console.Config{
		Service: service, Log: events, Prefix: "/console", Registry: "registry.example.com",
		Tokens: projection.NewTokens(), Counts: projection.NewCounts(nil), LastUsed: projection.NewLastUsed(),
		History: projection.NewHistory(), Daily: projection.NewDaily(0),
		User: func(r *http.Request) (string, bool) { // the host's session: here a cookie that says the name
			cookie, err := r.Cookie("__Host-session")
			if err != nil {
				return "", false
			}
			return cookie.Value, true
		},
		SignIn: func(back string) string { return "/sign-in?back=" + url.QueryEscape(back) },
	}
	cfg.Runner, err = projection.NewRunner(projection.RunnerConfig{
		Log: events, Projections: []projection.Projection{cfg.Tokens, cfg.Counts, cfg.LastUsed, cfg.History, cfg.Daily},
	})
	if err != nil {
		log.Fatal(err)
	}
	following, stop := context.WithCancel(ctx)
	stopped := make(chan error)
	go func() { stopped <- cfg.Runner.Run(following) }()

	pages, err := console.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/console/", pages)

	visit := func(method, path string, form url.Values) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.AddCookie(&http.Cookie{Name: "__Host-session", Value: "alice", HttpOnly: true, Secure: true, SameSite: http.SameSiteLaxMode})
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w
	}
	count := regexp.MustCompile(`\d+ of \d+`)
	fmt.Println(count.FindString(visit("GET", "/console/orgs/acme/tokens", nil).Body.String()))

	form := visit("GET", "/console/orgs/acme/tokens/new", nil).Body.String()
	answer := visit("POST", "/console/orgs/acme/tokens/new", url.Values{
		"request": regexp.MustCompile(`name="request" value="([0-9a-f]+)"`).FindStringSubmatch(form)[1:],
		"label":   {"ci"}, "expires": {"90"}, "access": {"all"}, "all-level": {"read"},
	}).Body.String()
	fmt.Println(regexp.MustCompile(`oat_[0-9A-Za-z]{32}`).MatchString(answer))
	fmt.Println(regexp.MustCompile(`docker login [^<]*`).FindString(answer))
	fmt.Println(count.FindString(visit("GET", "/console/orgs/acme/tokens", nil).Body.String()))

	stop()
	if err := <-stopped; err != nil {
		log.Fatal(err)
	}
	// Output:
	// 0 of 10
	// true
	// docker login --username acme registry.example.com
	// 1 of 10
}
