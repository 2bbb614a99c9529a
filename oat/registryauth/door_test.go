package registryauth_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/oatmill/oatmill/oat"
)

// held is a token of a world, with what a plain reading of the rules says of it.
type held struct {
	organization string
	secret       string
	opens        bool
	can          func(action, repository string, public bool) bool
}

// world is a door with tokens in every state and with every kind of access.
func world(t testing.TB) (*door, []held) {
	t.Helper()
	d := open(t)
	all := make([]held, 0, 12)
	for _, organization := range []string{"acme", "acme-labs"} {
		own := organization + "/"
		kinds := []struct {
			resources []oat.Resource
			can       func(action, repository string, public bool) bool
		}{
			{[]oat.Resource{oat.Public()}, func(action, _ string, public bool) bool { return action == "pull" && public }},
			{[]oat.Resource{oat.All(organization, oat.Read)}, func(action, r string, _ bool) bool { return action == "pull" && strings.HasPrefix(r, own) }},
			{[]oat.Resource{oat.All(organization, oat.ReadWrite)}, func(_, r string, _ bool) bool { return strings.HasPrefix(r, own) }},
			{[]oat.Resource{oat.Repository(own+"api", oat.ReadWrite), oat.Repository(own+"web", oat.Read)}, func(action, r string, _ bool) bool {
				return r == own+"api" || r == own+"web" && action == "pull"
			}},
		}
		for _, kind := range kinds {
			_, secret := d.Generate(organization, kind.resources...)
			all = append(all, held{organization, secret.Reveal(), true, kind.can})
		}
		all = append(all, shut(t, d, organization)...)
	}
	return d, all
}

// shut is tokens that do not open: deactivated, deleted, expired.
func shut(t testing.TB, d *door, organization string) (all []held) {
	t.Helper()
	ctx := context.Background()
	inactive, inactiveSecret := d.Generate(organization, oat.All(organization, oat.ReadWrite))
	deleted, deletedSecret := d.Generate(organization, oat.All(organization, oat.ReadWrite))
	_, expiredSecret, err := d.Service.Generate(ctx, owner(), oat.Generate{
		Organization: organization, Label: "short", Expires: oat.ExpiresAt(d.Clock.Now().Add(time.Second)),
		Resources: []oat.Resource{oat.All(organization, oat.ReadWrite)},
	})
	if err = errors.Join(err,
		d.Service.Deactivate(ctx, owner(), oat.Deactivate{Organization: organization, Token: inactive.ID}),
		d.Service.Delete(ctx, owner(), oat.Delete{Organization: organization, Token: deleted.ID}),
	); err != nil {
		t.Fatal(err)
	}
	d.Clock.Advance(time.Second)
	for _, secret := range []oat.Secret{inactiveSecret, deletedSecret, expiredSecret} {
		all = append(all, held{organization: organization, secret: secret.Reveal()})
	}
	return all
}

var (
	repositories = []string{
		"acme/api", "acme/web", "acme/other", "acme-labs/api", "acme-labs/web", "library/alpine",
		"acme", "acme/", "ACME/api", "acme/api/", "acme//api", "acme/../acme-labs/api", "host:5000/acme/api", "acme/*", "*/*/public",
	}
	spelled = repositories[:6] // as registries spell them
	types   = []string{"repository", "repository", "repository", "registry", "repository(plugin)"}
	actions = []string{"pull", "push", "delete", "*", "admin", "", "metadata_read"}
)

// verdict is what a door says to a request.
type verdict struct {
	Status  int
	Body    string // of a refusal
	Subject string
	Token   string
	Scopes  string
	Granted []access
}

func (d *door) verdict(r *http.Request) verdict {
	d.t.Helper()
	w := d.ask(r)
	if w.Code != http.StatusOK {
		// A form is refused with the same, and in the words of OAuth beside it.
		return verdict{Status: w.Code, Body: strings.Replace(w.Body.String(), `,"error":"invalid_client"`, "", 1)}
	}
	_, c := d.granted(w)
	return verdict{Status: w.Code, Subject: *c.Subject, Token: c.Token, Scopes: c.scopes(), Granted: c.Access}
}

// oracle is what a plain reading of the rules grants of one scope.
func oracle(h held, kind, repository string, asked []string, public map[string]bool) (granted []string) {
	if kind == "registry" || !slices.Contains(spelled, repository) {
		return nil
	}
	for _, action := range []string{"pull", "push"} {
		if (slices.Contains(asked, action) || slices.Contains(asked, "*")) && h.can(action, repository, public[repository]) {
			granted = append(granted, action)
		}
	}
	return granted
}

// The same secret gives the same verdict by Basic, by form, and by login, which asks
// for nothing; it is the verdict of the rules; and what it grants passes the guard.
//
// Break it by having readForm parse the address along with the form, by granting in
// granted without asking allows, or by having it compare the beginning of a.Type only.
func TestScopeIsEnforcedDoorByDoor(t *testing.T) {
	d, tokens := world(t)
	rapid.Check(t, func(t *rapid.T) {
		h := rapid.SampledFrom(tokens).Draw(t, "token")
		organization := rapid.SampledFrom([]string{h.organization, h.organization, h.organization, "acme", "acme-labs", "nobody", ""}).Draw(t, "organization")
		for _, repository := range spelled {
			d.public[repository] = rapid.Bool().Draw(t, "public "+repository)
		}
		kind, repository := rapid.SampledFrom(types).Draw(t, "type"), rapid.SampledFrom(repositories).Draw(t, "repository")
		asked := rapid.SliceOfN(rapid.SampledFrom(actions), 1, 4).Draw(t, "actions")
		scope := kind + ":" + repository + ":" + strings.Join(asked, ",")

		byBasic := d.verdict(basicRequest(organization, h.secret, scope))
		withForm := postRequest(form(organization, h.secret, scope))
		withForm.URL.RawQuery = form("acme", tokens[2].secret, "repository:acme/api:push").Encode() // means nothing
		byForm := d.verdict(withForm)
		if diff := cmp.Diff(byBasic, byForm); diff != "" {
			t.Fatalf("by form: %s", diff)
		}
		byLogin := d.verdict(basicRequest(organization, h.secret))
		if byLogin.Status != byBasic.Status || byLogin.Body != byBasic.Body || byLogin.Token != byBasic.Token || byLogin.Subject != byBasic.Subject {
			t.Fatalf("by login: %s", cmp.Diff(byBasic, byLogin))
		}
		if !h.opens || organization != h.organization {
			if diff := cmp.Diff(verdict{Status: http.StatusUnauthorized, Body: refusedBody}, byBasic); diff != "" {
				t.Fatal(diff)
			}
			return
		}
		granted := []access{}
		if allowed := oracle(h, kind, repository, asked, d.public); allowed != nil {
			granted = append(granted, access{"repository", repository, allowed})
		}
		if diff := cmp.Diff(granted, byBasic.Granted); diff != "" || byBasic.Status != http.StatusOK || byBasic.Subject != organization {
			t.Fatalf("%+v: %s", byBasic, diff)
		}
		got, _ := d.granted(d.ask(basicRequest(organization, h.secret, scope)))
		if w := d.guarded(http.MethodGet, "/v2/", "Bearer "+got.Token); w.Code != passed {
			t.Fatalf("guard: %d", w.Code)
		}
	})
}

// FuzzTokenEndpoint sends requests of any shape. None panics, none is answered 5xx,
// none is granted more than the rules say, and only those that carry a secret are
// granted anything that is not public.
func FuzzTokenEndpoint(f *testing.F) {
	d, tokens := world(f)
	byID := map[string]held{"": {can: func(action, _ string, public bool) bool { return action == "pull" && public }}}
	for _, h := range tokens {
		if h.opens {
			_, c := d.granted(d.ask(basicRequest(h.organization, h.secret)))
			byID[c.Token] = h
		}
		basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(h.organization+":"+h.secret))
		f.Add("GET", query("repository:acme/api:pull,push repository:library/alpine:*").Encode(), basic, "", "")
		f.Add("POST", "", "", "application/x-www-form-urlencoded", form(h.organization, h.secret, "repository:acme/api:*").Encode())
	}
	f.Add("GET", query("repository:library/alpine:pull").Encode(), "", "", "")
	f.Add("GET", "service=docker-scout&scope=:::&scope=%00", "Bearer x", "", "")
	f.Add("PUT", "service=%zz;a", "Basic", "multipart/form-data; boundary=x", "--x\r\n\r\n--x--")
	f.Fuzz(func(t *testing.T, method, rawQuery, authorization, contentType, body string) {
		r := httptest.NewRequest(http.MethodGet, "/token", strings.NewReader(body))
		r.Method, r.URL.RawQuery = method, rawQuery
		r.Header["Content-Type"] = []string{contentType}
		if authorization != "" {
			r.Header["Authorization"] = []string{authorization}
		}
		w := d.ask(r)
		if w.Code >= 500 || w.Code < 400 && w.Code != 200 || !json.Valid(w.Body.Bytes()) {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		if w.Code != http.StatusOK {
			return
		}
		_, c := d.on(t).granted(w)
		h, known := byID[c.Token]
		if !known || *c.Subject != h.organization || c.Audience != service {
			t.Fatalf("a token for %+v", c)
		}
		for _, a := range c.Access {
			if diff := cmp.Diff(oracle(h, a.Type, a.Name, a.Actions, d.public), a.Actions); diff != "" && slices.Contains(spelled, a.Name) {
				t.Fatalf("%+v: %s", c, diff)
			}
			if c.Token == "" && (!d.public[a.Name] || !slices.Equal(a.Actions, []string{"pull"})) {
				t.Fatalf("anonymous: %+v", c)
			}
			for _, action := range a.Actions {
				if a.Type != "repository" || !h.can(action, a.Name, d.public[a.Name]) {
					t.Fatalf("%+v", c)
				}
			}
		}
	})
}

// FuzzGuard sends Authorization headers of any shape. Only those with the claims that
// were signed pass, or are refused for what they lack.
func FuzzGuard(f *testing.F) {
	d, tokens := world(f)
	claimsSigned := map[string]bool{}
	for _, h := range tokens[:4] {
		got, _ := d.granted(d.ask(basicRequest(h.organization, h.secret, "repository:acme/api:pull,push")))
		claimsSigned[strings.Split(got.Token, ".")[1]] = true
		f.Add("Bearer " + got.Token)
		f.Add("bearer  " + got.Token)
	}
	for _, seed := range []string{"", "Bearer", "Bearer ..", "BEARER a.b.c", "Basic YTpi", "Bearer {}", "Bearer e30.e30.e30"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, authorization string) {
		w := d.guarded(http.MethodGet, "/v2/acme/api/manifests/latest", authorization)
		switch {
		case w.Code == http.StatusUnauthorized:
		case w.Code != passed && w.Code != http.StatusForbidden:
			t.Fatalf("status %d", w.Code)
		case len(authorization) >= 6 && strings.EqualFold(authorization[:6], "bearer"):
			parts := strings.Split(authorization, ".")
			if len(parts) != 3 || !claimsSigned[parts[1]] {
				t.Fatalf("passed: %q", authorization)
			}
		}
	})
}
