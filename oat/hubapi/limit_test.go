package hubapi_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/hubapi"
	"github.com/oatmill/oatmill/quota"
)

func limited(count int) func(*hubapi.Config) {
	return func(cfg *hubapi.Config) {
		cfg.Rate, cfg.SignIns = quota.Rate{Count: count, Window: time.Minute}, quota.NewAttempts(quota.Rate{Count: count, Window: time.Hour})
	}
}

// rate is what an answer says of the limit.
func (a answer) rate() (limit, remaining int, reset time.Time) {
	a.t.Helper()
	var n [3]int
	for i, name := range []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"} {
		var err error
		n[i], err = strconv.Atoi(a.header.Get(name))
		must(a.t, err)
	}
	return n[0], n[1], time.Unix(int64(n[2]), 0).UTC()
}

// Every answer counts and says how the caller stands; over the limit nothing is done
// until the window has ended. Breaks when the request is carried out before it is counted.
func TestRate(t *testing.T) {
	d := newDesk(t, limited(5))
	d.Clock.Advance(500 * time.Millisecond)
	d.jwt("alice")
	end := d.Clock.Now().Add(time.Minute)
	requests := []*http.Request{
		d.request(http.MethodGet, tokensOfAcme, "alice", nil),
		d.request(http.MethodGet, "/nowhere", "alice", nil),
		d.request(http.MethodPut, tokensOfAcme, "alice", nil),
		d.request(http.MethodOptions, tokensOfAcme, "alice", nil),
		d.request(http.MethodPost, tokensOfAcme, "alice", "x"),
	}
	for i, r := range requests {
		limit, remaining, reset := d.serve(r).rate()
		if limit != 5 || remaining != 4-i || !reset.Equal(end.Truncate(time.Second).Add(time.Second)) {
			t.Errorf("request %d: %d of %d left, until %s", i, remaining, limit, reset)
		}
		d.Clock.Advance(time.Second)
	}
	before := d.records()
	for _, o := range append(operations("acme", "x"), operation{http.MethodGet, "/nowhere", nil, 0}) {
		got := d.ask(o.method, o.path, "alice", o.body).is(429)
		if got.header.Get("Retry-After") != "55" {
			t.Errorf("retry after %s", got.header.Get("Retry-After"))
		}
	}
	if d.records() != before {
		t.Error("a request over the limit was carried out")
	}
	d.ask(http.MethodGet, tokensOfAcme, "bob", nil).is(200) // is another caller
	d.Clock.Advance(55*time.Second - time.Nanosecond)
	if got := d.ask(http.MethodGet, tokensOfAcme, "alice", nil).is(429); got.header.Get("Retry-After") != "1" {
		t.Errorf("retry after %s", got.header.Get("Retry-After"))
	}
	d.Clock.Advance(time.Nanosecond)
	d.ask(http.MethodGet, tokensOfAcme, "alice", nil).is(200)
}

// People who are not signed in are counted by address, those who are by name; and a proxy's
// header counts where the host says so only.
func TestCallers(t *testing.T) {
	from := func(d *desk, address, forwarded, user string) int {
		r := d.request(http.MethodGet, tokensOfAcme, user, nil, "X-Forwarded-For", forwarded, "Forwarded", "for="+forwarded)
		r.RemoteAddr = address
		return d.serve(r).status
	}
	d := newDesk(t, limited(2))
	d.jwt("alice") // from 192.0.2.1, which counts
	for i, c := range []struct {
		address, forwarded, user string
		status                   int
	}{
		{"192.0.2.1:1001", "10.0.0.2", "", 401},
		{"192.0.2.1:1002", "10.0.0.3", "", 429},
		{"192.0.2.1:1002", "10.0.0.3", "alice", 200},
		{"192.0.2.2:1000", "10.0.0.1", "", 401},
		{"192.0.2.2:1000", "10.0.0.1", "alice", 200},
		{"192.0.2.3:1000", "10.0.0.1", "alice", 429},
		{"[2001:db8::1]:1", "", "", 401},
		{"[2001:db8::ffff:1%eth0]:1", "", "", 401},
		{"[2001:db8:0:0:1::1]:2", "", "", 429},
		{"[2001:db8:0:1::1]:2", "", "", 401},
		{"[::ffff:192.0.2.9]:1", "", "", 401},
		{"[::ffff:192.0.2.10]:1", "", "", 401},
		{"[::ffff:192.0.2.11]:1", "", "", 401},
		{"no address", "", "", 401},
	} {
		if got := from(d, c.address, c.forwarded, c.user); got != c.status {
			t.Errorf("request %d from %s: status %d, want %d", i, c.address, got, c.status)
		}
	}
	behind := newDeskOn(t, d.Env, limited(2), func(cfg *hubapi.Config) {
		cfg.ClientAddress = func(r *http.Request) string { return r.Header.Get("X-Forwarded-For") }
	})
	for i, want := range []int{401, 401, 429, 401} {
		if got := from(behind, "192.0.2.1:1", fmt.Sprintf("10.0.0.%d", i/3), ""); got != want {
			t.Errorf("request %d behind a proxy: status %d, want %d", i, got, want)
		}
	}
}

// TestSignInsThatSucceedDoNotCount signs in as a Terraform provider does, again in each phase,
// and finds that guesses still count.
//
// Fails if signedIn ends an attempt that succeeded as a failed one, or counts failures of this
// side.
func TestSignInsThatSucceedDoNotCount(t *testing.T) {
	signIns := quota.NewAttempts(quota.Rate{Count: 3, Window: time.Minute})
	broken := false
	d := newDesk(t, func(cfg *hubapi.Config) {
		cfg.SignIns = signIns
		cfg.SignIn = func(ctx context.Context, identifier string, secret oat.Secret) (string, error) {
			if broken {
				return "", fmt.Errorf("look for a password: %w", events.ErrBusy)
			}
			return signIn(ctx, identifier, secret)
		}
	})
	try := func(body any) answer { return d.ask(http.MethodPost, "/v2/auth/token", "", body) }
	good := map[string]string{"identifier": "alice", "secret": password}
	for range 40 {
		if _, remaining, _ := try(good).is(200).rate(); remaining != 3 {
			t.Fatalf("%d failures are left", remaining)
		}
	}
	broken = true
	if got := try(good).is(503); got.header.Get("Retry-After") == "" {
		t.Error("does not say when to come back")
	}
	broken = false
	wrong := []any{
		map[string]string{"identifier": "alice", "secret": "guess"},
		map[string]string{"identifier": "alice", "secret": "oat_" + strings.Repeat("0", 32)},
		"no JSON",
	}
	for i, status := range []int{401, 401, 400} {
		if _, remaining, _ := try(wrong[i]).is(status).rate(); remaining != 2-i {
			t.Errorf("%v: %d failures are left, want %d", wrong[i], remaining, 2-i)
		}
	}
	if got := try(good).is(429); got.header.Get("Retry-After") != "60" {
		t.Errorf("retry after %q", got.header.Get("Retry-After"))
	}
	// The same value limits the host's other door.
	if _, _, ok := signIns.Begin(t.Context(), "192.0.2.1", "bob", d.Clock.Now()); ok {
		t.Error("the form is not limited by the attempts at the API")
	}
	d.Clock.Advance(time.Minute)
	try(good).is(200)
}

// Guessing passwords is limited by address, whoever the guesses are for, also with a
// session.
func TestSignInRate(t *testing.T) {
	d := newDesk(t, func(cfg *hubapi.Config) {
		cfg.SignIns = quota.NewAttempts(quota.Rate{Count: 3, Window: time.Minute})
	})
	d.jwt("alice")
	try := func(path, name, secret string, i int) int {
		return d.ask(http.MethodPost, path, "alice", map[string]string{name: fmt.Sprint(i), secret: "guess"}).status
	}
	for i, want := range []int{401, 401, 401, 429, 429} {
		path, name, secret := "/v2/auth/token", "identifier", "secret"
		if i%2 == 1 {
			path, name, secret = "/v2/users/login", "username", "password"
		}
		if got := try(path, name, secret, i); got != want {
			t.Errorf("guess %d: status %d, want %d", i, got, want)
		}
	}
	d.ask(http.MethodGet, tokensOfAcme, "alice", nil).is(200)
	d.Clock.Advance(time.Minute)
	if got := try("/v2/auth/token", "identifier", "secret", 9); got != 401 {
		t.Errorf("in the next window: %d", got)
	}
}
