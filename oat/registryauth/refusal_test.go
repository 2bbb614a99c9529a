package registryauth_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/oattest"
	"github.com/oatmill/oatmill/oat/registryauth"
)

const refusedBody = `{"details":"incorrect username or password","errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}` + "\n"

// refusedForm is the same to a form.
const refusedForm = `{"details":"incorrect username or password","errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}],"error":"invalid_client"}` + "\n"

// Each test here is named after what it prevents, which happened to some product.

// One answer, to the byte, so that nobody learns from a refusal whether an
// organization, a secret or a token exists.
func TestEnumerationByRefusal(t *testing.T) {
	d := open(t)
	ctx := context.Background()
	_, good := d.Generate("acme", oat.All("acme", oat.Read))
	inactive, inactiveSecret := d.Generate("acme", oat.All("acme", oat.Read))
	deleted, deletedSecret := d.Generate("acme", oat.All("acme", oat.Read))
	_, freeSecret := d.Generate("free", oat.All("free", oat.Read))
	_, expiredSecret, err := d.Service.Generate(ctx, owner(), oat.Generate{
		Organization: "acme", Label: "short", Expires: oat.ExpiresAt(d.Clock.Now().Add(time.Second)), Resources: []oat.Resource{oat.Public()},
	})
	if err = errors.Join(err,
		d.Service.Deactivate(ctx, owner(), oat.Deactivate{Organization: "acme", Token: inactive.ID}),
		d.Service.Delete(ctx, owner(), oat.Delete{Organization: "acme", Token: deleted.ID}),
		d.Service.ChangePlan(ctx, owner(), oat.ChangePlan{Organization: "free", Plan: "personal"}),
	); err != nil {
		t.Fatal(err)
	}
	d.Clock.Advance(time.Second)

	unknown := oattest.New(t, func(cfg *oat.Config) { cfg.Rand = oattest.NewRand(9) })
	_, unknownSecret := unknown.Generate("acme", oat.Public())
	requests := map[string]*http.Request{}
	for name, credentials := range map[string][2]string{
		"no such secret":         {"acme", unknownSecret.Reveal()},
		"no such organization":   {"nobody", unknownSecret.Reveal()},
		"another organization's": {"free", good.Reveal()},
		"organization, caps":     {"ACME", good.Reveal()},
		"no organization":        {"", good.Reveal()},
		"deactivated":            {"acme", inactiveSecret.Reveal()},
		"deleted":                {"acme", deletedSecret.Reveal()},
		"expired":                {"acme", expiredSecret.Reveal()},
		"plan without tokens":    {"free", freeSecret.Reveal()},
		"mistyped":               {"acme", good.Reveal()[1:]},
		"garbage":                {"acme", "hunter2"},
		"no password":            {"acme", ""},
		"nothing":                {"", ""},
		"longer":                 {"acme", good.Reveal() + "x"},
	} {
		requests[name+", basic"] = basicRequest(credentials[0], credentials[1], "repository:acme/api:pull")
		requests[name+", form"] = postRequest(form(credentials[0], credentials[1], "repository:acme/api:pull"))
	}
	for _, header := range []string{"", "Basic", "Basic !", "Basic " + base64.StdEncoding.EncodeToString([]byte("acme")), "Digest x", "Bearer x", "basic"} {
		r := getRequest(query())
		r.Header.Set("Authorization", header)
		requests["header "+header] = r
	}
	want := http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}, "Www-Authenticate": {`Basic realm="registry.example.com"`}}
	for name, r := range requests {
		w := d.ask(r)
		body := refusedBody
		if r.Method == http.MethodPost {
			body = refusedForm
		}
		if w.Code != http.StatusUnauthorized || w.Body.String() != body {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		if diff := cmp.Diff(want, w.Header()); diff != "" {
			t.Errorf("%s: headers: %s", name, diff)
		}
	}
}

func TestDeactivatedTokenStillWorks(t *testing.T) {
	d := open(t)
	token, secret := d.Generate("acme", oat.All("acme", oat.ReadWrite))
	d.granted(d.ask(basicRequest("acme", secret.Reveal())))
	if err := d.Service.Deactivate(context.Background(), owner(), oat.Deactivate{Organization: "acme", Token: token.ID}); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*http.Request{basicRequest("acme", secret.Reveal()), postRequest(form("acme", secret.Reveal()))} {
		if w := d.ask(r); w.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d", r.Method, w.Code)
		}
	}
}

func TestStaleGrantAfterAnEdit(t *testing.T) {
	d := open(t)
	token, secret := d.Generate("acme", oat.All("acme", oat.ReadWrite))
	ask := func() string {
		_, c := d.granted(d.ask(basicRequest("acme", secret.Reveal(), "repository:acme/api:pull,push")))
		return c.scopes()
	}
	before := ask()
	_, err := d.Service.Edit(context.Background(), owner(), oat.Edit{Organization: "acme", Token: token.ID, Resources: []oat.Resource{oat.All("acme", oat.Read)}})
	if err != nil {
		t.Fatal(err)
	}
	if after := ask(); before != "repository:acme/api:pull,push" || after != "repository:acme/api:pull" {
		t.Errorf("before %q, after %q", before, after)
	}
}

func TestWeakTokenMintsAStrongOne(t *testing.T) {
	d := open(t)
	_, secret := d.Generate("acme", oat.All("acme", oat.Read))
	got, _ := d.granted(d.ask(basicRequest("acme", secret.Reveal(), "repository:acme/api:pull")))
	bearer := getRequest(query("repository:acme/api:pull"))
	bearer.Header.Set("Authorization", "Bearer "+got.Token)
	for name, r := range map[string]*http.Request{
		"as password":  basicRequest("acme", got.Token),
		"in a form":    postRequest(form("acme", got.Token)),
		"as bearer":    bearer,
		"docker's way": basicRequest("<token>", got.Token),
	} {
		if w := d.ask(r); w.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

func TestTenantsAreCrossed(t *testing.T) {
	d := open(t)
	_, secret := d.Generate("acme", oat.All("acme", oat.ReadWrite))
	d.Generate("acme-labs", oat.All("acme-labs", oat.ReadWrite))
	for _, repository := range []string{"acme-labs/api", "acmeapi", "acme", "acme2/api", "other/acme/api", "acme/", "/acme/api", "acme//api"} {
		_, c := d.granted(d.ask(basicRequest("acme", secret.Reveal(), "repository:"+repository+":pull,push")))
		if len(c.Access) != 0 {
			t.Errorf("%s: granted %q", repository, c.scopes())
		}
	}
	if w := d.ask(basicRequest("acme-labs", secret.Reveal())); w.Code != http.StatusUnauthorized {
		t.Errorf("the secret opens for another organization: %d", w.Code)
	}
}

func TestPublicIsReadLoosely(t *testing.T) {
	answers := map[string]oat.Visibility{"acme/site": oat.VisibilityPublic, "acme/internal": oat.VisibilityPrivate, "acme/broken": oat.VisibilityPublic}
	var asked []string
	d := open(t, func(cfg *registryauth.Config) {
		cfg.Visibility = func(_ context.Context, repository string) (oat.Visibility, error) {
			asked = append(asked, repository)
			if repository == "acme/broken" {
				return oat.VisibilityPublic, errors.New("database is down")
			}
			return answers[repository], nil
		}
	})
	const scopes = "repository:acme/site:pull,push repository:acme/internal:pull repository:acme/unknown:pull repository:acme/broken:pull repository:ACME/site:pull repository:acme/site?:pull"
	_, secret := d.Generate("acme", oat.Public())
	for _, r := range []*http.Request{getRequest(query(scopes)), basicRequest("acme", secret.Reveal(), scopes)} {
		if _, c := d.granted(d.ask(r)); c.scopes() != "repository:acme/site:pull" {
			t.Errorf("granted %q", c.scopes())
		}
	}
	want := strings.Fields(strings.Repeat("acme/site acme/internal acme/unknown acme/broken ", 2))
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("asked about: %s", diff)
	}
	silent := open(t, func(cfg *registryauth.Config) { cfg.Visibility = nil })
	if _, c := silent.granted(silent.ask(getRequest(query("repository:library/alpine:pull")))); len(c.Access) != 0 {
		t.Errorf("without visibility: granted %q", c.scopes())
	}
}

func TestVerifierThatIsBehindFailsOpen(t *testing.T) {
	now := oattest.Start()
	verifier := oat.NewVerifier(oat.VerifierConfig{Now: func() time.Time { return now }})
	d := open(t, func(cfg *registryauth.Config) { cfg.Verifier = verifier })
	_, secret := d.Generate("acme", oat.All("acme", oat.Read))
	for _, r := range []*http.Request{basicRequest("acme", secret.Reveal()), postRequest(form("acme", secret.Reveal())), basicRequest("nobody", secret.Reveal())} {
		w := d.ask(r)
		const want = `{"details":"temporarily unavailable, try again","errors":[{"code":"UNAVAILABLE","message":"temporarily unavailable, try again"}]}` + "\n"
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" || w.Body.String() != want {
			t.Errorf("%s: %d %v %s", r.Method, w.Code, w.Header(), w.Body)
		}
	}
	if w := d.ask(basicRequest("acme", "garbage")); w.Code != http.StatusUnauthorized {
		t.Errorf("garbage: %d", w.Code)
	}
}

func TestTokenIsUsedForAnotherProduct(t *testing.T) {
	d := open(t)
	_, secret := d.Generate("acme", oat.All("acme", oat.ReadWrite))
	for _, name := range append(oat.DockerServices(), "Docker-Scout") {
		for _, password := range []string{secret.Reveal(), "garbage"} {
			values := query()
			values.Set("service", name)
			get := getRequest(values)
			get.SetBasicAuth("acme", password)
			fields := form("acme", password)
			fields.Set("service", name)
			for _, r := range []*http.Request{get, postRequest(fields)} {
				w := d.ask(r)
				if w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), "use a personal access token") || !strings.Contains(w.Body.String(), `"UNAUTHORIZED"`) {
					t.Errorf("%s %s: %d %s", r.Method, name, w.Code, w.Body)
				}
			}
		}
	}
}

func TestSecretsInLogs(t *testing.T) {
	d := open(t)
	token, secret := d.Generate("acme", oat.All("acme", oat.Read))
	said := d.ask(basicRequest("acme", secret.Reveal(), "repository:acme/api:pull")).Body.String()
	if err := d.Service.Deactivate(context.Background(), owner(), oat.Deactivate{Organization: "acme", Token: token.ID}); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*http.Request{basicRequest("acme", secret.Reveal()), postRequest(form("acme", secret.Reveal())), basicRequest(secret.Reveal(), "acme")} {
		said += d.ask(r).Body.String()
	}
	wrong := form("acme", secret.Reveal())
	wrong.Set("grant_type", secret.Reveal())
	said += d.ask(postRequest(wrong)).Body.String()
	d.Verifier.FlushLog()
	said += d.Logged.String() + strings.Join(d.uses(), "")
	if !strings.Contains(d.Logged.String(), "inactive") {
		t.Errorf("the cause is not logged: %s", d.Logged)
	}
	random := strings.TrimPrefix(secret.Reveal(), oat.DefaultPrefix)
	for i := 0; i+8 <= len(random); i++ {
		if strings.Contains(said, random[i:i+8]) {
			t.Fatalf("a part of the secret is said: %s", said)
		}
	}
}

func TestAddressIsSpoofed(t *testing.T) {
	d := open(t)
	_, secret := d.Generate("acme", oat.All("acme", oat.Read))
	ask := func() {
		r := basicRequest("acme", secret.Reveal())
		r.RemoteAddr = "192.0.2.7:4711"
		r.Header.Set("X-Forwarded-For", "198.51.100.1")
		r.Header.Set("Forwarded", "for=198.51.100.1")
		r.Header.Set("X-Real-Ip", "198.51.100.1")
		r.Header.Set("User-Agent", "docker/28.2.2")
		d.granted(d.ask(r))
	}
	ask()
	if uses := fmt.Sprint(d.uses()); !strings.Contains(uses, `"192.0.2.7"`) || strings.Contains(uses, "198.51") || !strings.Contains(uses, "docker/28.2.2") {
		t.Errorf("recorded: %s", uses)
	}
	trusting, err := registryauth.New(registryauth.Config{
		Verifier: d.Verifier, Keys: d.Keys, Issuer: issuer, Services: []string{service}, Realm: realm, Now: d.Clock.Now,
		ClientAddress: func(r *http.Request) string { return r.Header.Get("X-Forwarded-For") },
	})
	if err != nil {
		t.Fatal(err)
	}
	d.Server = trusting
	ask()
	if uses := fmt.Sprint(d.uses()); !strings.Contains(uses, `"198.51.100.1"`) {
		t.Errorf("the host's own word on the address is not heard: %s", uses)
	}
}

// Without randomness no token goes out, and no client is told why.
func TestTokenWithoutRandomness(t *testing.T) {
	d := open(t, func(cfg *registryauth.Config) { cfg.Rand = strings.NewReader("short") })
	w := d.ask(getRequest(query()))
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "token") || strings.Contains(w.Body.String(), "EOF") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	d.Verifier.FlushLog()
	if !strings.Contains(d.Logged.String(), "EOF") {
		t.Errorf("not logged: %s", d.Logged)
	}
}
