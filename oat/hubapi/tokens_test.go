package hubapi_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

func TestCreateGetListUpdateDelete(t *testing.T) {
	d := newDesk(t)
	resources := []oat.Resource{oat.Repository("acme/web", oat.ReadWrite), oat.Repository("acme/api", oat.Read)}
	created, _ := d.create("label", "  ci ", "description", "of the\nbuild", "expires_at", "2026-12-31T23:00:00.10+01:00", "resources", resources)
	expires := "2026-12-31T23:00:00.10+01:00"
	want := token{
		ID: created.ID, Label: "ci", Description: "of the\nbuild", CreatedBy: "alice", IsActive: true,
		CreatedAt: "2026-01-01T00:00:00.000000Z", ExpiresAt: &expires, Resources: resources, Token: created.Token,
	}
	if diff := cmp.Diff(want, created); diff != "" {
		t.Errorf("created: %s", diff)
	}
	if _, err := d.Verifier.Verify(context.Background(), oat.Attempt{Organization: "acme", Secret: oat.NewSecret(created.Token)}); err != nil {
		t.Errorf("the secret does not open: %v", err)
	}
	want.Token = ""
	if diff := cmp.Diff(want, d.get(created.ID)); diff != "" {
		t.Errorf("got: %s", diff)
	}
	listed := want
	listed.Resources = nil
	var page tokenPage
	d.ask(http.MethodGet, tokensOfAcme, "bob", nil).as(200, &page)
	if diff := cmp.Diff(tokenPage{Total: 1, Results: []token{listed}}, page); diff != "" {
		t.Errorf("listed: %s", diff)
	}

	var edited token
	d.ask(http.MethodPatch, tokensOfAcme+"/"+created.ID, "bob", map[string]any{"label": "cd", "resources": []oat.Resource{oat.Public()}}).as(200, &edited)
	want.Label, want.Resources = "cd", []oat.Resource{oat.Public()}
	if diff := cmp.Diff(want, edited); diff != "" {
		t.Errorf("edited: %s", diff)
	}
	d.ask(http.MethodPatch, tokensOfAcme+"/"+created.ID, "bob", map[string]any{"description": "", "is_active": false}).as(200, &edited)
	want.Description, want.IsActive = "", false
	if diff := cmp.Diff(want, edited); diff != "" {
		t.Errorf("deactivated: %s", diff)
	}
	if diff := cmp.Diff(want, d.get(created.ID)); diff != "" {
		t.Errorf("got after all: %s", diff)
	}
	d.ask(http.MethodDelete, tokensOfAcme+"/"+created.ID, "alice", nil).is(204)
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		d.ask(method, tokensOfAcme+"/"+created.ID, "alice", nil).is(404)
	}
	d.ask(http.MethodPatch, tokensOfAcme+"/"+created.ID, "alice", map[string]any{}).is(404)
}

// Last used is shown where the read model knows it, and changes the entity tag, but not
// what an edit depends on. Refused attempts are no use.
func TestLastUsed(t *testing.T) {
	d := newDesk(t)
	created, etag := d.create()
	recorder, err := oat.NewRecorder(oat.RecorderConfig{Log: d.Log, Now: d.Clock.Now})
	must(t, err)
	defer func() { must(t, recorder.Close(context.Background())) }()
	id, err := oat.ParseTokenID(created.ID)
	must(t, err)
	use := oat.Use{Organization: "acme", Token: id, At: d.Clock.Now().Add(time.Second), Cause: "expired"}
	for _, want := range []string{"", "2026-01-01T00:00:02.500000Z"} {
		recorder.Record(use)
		must(t, recorder.Flush(context.Background()))
		d.seeAll()
		got := d.get(created.ID).LastUsedAt
		if want == "" && got != nil || want != "" && (got == nil || *got != want) {
			t.Errorf("last used %v, want %q", got, want)
		}
		use.At, use.Cause = d.Clock.Now().Add(2500*time.Millisecond), ""
	}
	current := d.ask(http.MethodGet, tokensOfAcme+"/"+created.ID, "alice", nil).header.Get("ETag")
	if current == etag {
		t.Error("the entity tag does not show the use")
	}
	d.ask(http.MethodPatch, tokensOfAcme+"/"+created.ID, "alice", map[string]any{"label": "x"}, "If-Match", etag).is(200)
}

// seeAll waits until the read models show all of the log.
func (d *desk) seeAll() {
	d.t.Helper()
	var end = d.cfg.Tokens.Position()
	for r, err := range d.Log.ReadAll(context.Background(), end) {
		must(d.t, err)
		end = r.Position
	}
	must(d.t, d.cfg.Runner.WaitFor(context.Background(), end))
}

func TestRefusedCreates(t *testing.T) {
	d := newDesk(t)
	before := d.records()
	repository := func(r oat.Resource) map[string]any { return body("resources", []oat.Resource{r}) }
	for name, c := range map[string]struct {
		body   any
		fields []string
	}{
		"nothing":                 {map[string]any{}, []string{"label", "resources"}},
		"no label":                {body("label", nil), []string{"label"}},
		"blank label":             {body("label", " "), []string{"label"}},
		"long label":              {body("label", strings.Repeat("a", 101)), []string{"label"}},
		"label of a number":       {body("label", 1), []string{"label"}},
		"label null":              {`{"label":null,"resources":[]}`, []string{"label"}},
		"long description":        {body("description", strings.Repeat("a", 201)), []string{"description"}},
		"description of a list":   {body("description", []int{}), []string{"description"}},
		"no resources":            {body("resources", []int{}), []string{"resources"}},
		"resources of a text":     {body("resources", "acme/api"), []string{"resources"}},
		"resources null":          {`{"label":"a","resources":null}`, []string{"resources"}},
		"a resource of a text":    {body("resources", []string{"acme/api"}), []string{"resources[0]"}},
		"fields of a resource":    {body("resources", []any{map[string]any{"type": 1, "path": 2, "scopes": 3}}), []string{"resources[0].type", "resources[0].path", "resources[0].scopes"}},
		"a scope of a number":     {body("resources", []any{map[string]any{"type": "TYPE_REPO", "path": "acme/*", "scopes": []int{3}}}), []string{"resources[0].scopes[0]"}},
		"unknown of a resource":   {body("resources", []any{map[string]any{"type": "TYPE_REPO", "path": "acme/*", "scopes": []string{}, "visibility": "x"}}), []string{"resources[0].visibility"}},
		"missing of a resource":   {body("resources", []any{map[string]any{}}), []string{"resources[0].type", "resources[0].path", "resources[0].scopes"}},
		"51 resources":            {body("resources", slices.Repeat([]oat.Resource{oat.Repository("acme/api", oat.Read)}, 51)), []string{"resources"}},
		"an organization":         {repository(oat.Resource{Type: "TYPE_ORG", Path: "acme/api", Scopes: []string{oat.ScopePull}}), []string{"resources[0].type"}},
		"another scope":           {repository(oat.Resource{Type: "TYPE_REPO", Path: "acme/api", Scopes: []string{"scope-admin"}}), []string{"resources[0].scopes"}},
		"another's repository":    {repository(oat.Repository("zebra/api", oat.Read)), []string{"resources[0].path"}},
		"expired":                 {body("expires_at", "2025-01-01T00:00:00Z"), []string{"expires_at"}},
		"expiry of no instant":    {body("expires_at", "tomorrow"), []string{"expires_at"}},
		"expiry of nothing":       {body("expires_at", ""), []string{"expires_at"}},
		"expiry of a number":      {body("expires_at", 1893456000), []string{"expires_at"}},
		"a bad expiry and others": {body("expires_at", "tomorrow", "label", "", "resources", []int{}), []string{"expires_at", "label", "resources"}},
		"unknown fields":          {body("owner", "x", "is_active", true), []string{"owner", "is_active"}},
		"other letter case":       {`{"Label":"a","label":"a","resources":[]}`, []string{"Label"}},
		"given twice":             {`{"label":"a","label":"b","resources":[]}`, []string{"label"}},
		"twice in a resource":     {`{"label":"a","resources":[{"type":"TYPE_REPO","path":"acme/*","path":"acme/*","scopes":["scope-image-pull"]}]}`, []string{"resources[0].path"}},
		"a list":                  {`[]`, nil},
		"a text":                  {`"x"`, nil},
		"null":                    {`null`, nil},
		"nothing at all":          {``, nil},
		"cut short":               {`{"label":"a"`, nil},
		"two objects":             {`{} {}`, nil},
		"no UTF-8":                {"{\"label\":\"\xff\"}", nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := d.on(t)
			d.ask(http.MethodPost, tokensOfAcme, "alice", c.body).names(400, c.fields...)
		})
	}
	if after := d.records(); after != before {
		t.Errorf("refused requests left %d records", after-before)
	}
}

// on is the same desk in another test.
func (d *desk) on(t testing.TB) *desk {
	other := *d
	other.t = t
	return &other
}

func TestRefusedUpdates(t *testing.T) {
	d := newDesk(t)
	active, _ := d.create()
	inactive, _ := d.create()
	expired, _ := d.create("expires_at", "2026-01-01T00:00:01Z")
	d.ask(http.MethodPatch, tokensOfAcme+"/"+inactive.ID, "alice", map[string]any{"is_active": false}).is(200)
	d.Clock.Advance(time.Second)
	before := d.records()
	for name, c := range map[string]struct {
		id     string
		body   any
		fields []string
	}{
		"empty label":            {active.ID, map[string]any{"label": ""}, []string{"label"}},
		"label null":             {active.ID, `{"label":null}`, []string{"label"}},
		"no resources":           {active.ID, map[string]any{"resources": []int{}}, []string{"resources"}},
		"all at once":            {active.ID, map[string]any{"label": "", "description": strings.Repeat("a", 201), "resources": []int{}}, []string{"label", "description", "resources"}},
		"bad and deactivated":    {active.ID, map[string]any{"label": "", "is_active": false}, []string{"label"}},
		"expiry":                 {active.ID, map[string]any{"expires_at": nil}, []string{"expires_at"}},
		"is_active of a text":    {active.ID, map[string]any{"is_active": "false"}, []string{"is_active"}},
		"is_active null":         {active.ID, map[string]any{"is_active": nil}, []string{"is_active"}},
		"inactive activated":     {inactive.ID, map[string]any{"is_active": true}, []string{"is_active"}},
		"inactive edited":        {inactive.ID, map[string]any{"label": "x"}, []string{"is_active"}},
		"inactive deactivated":   {inactive.ID, map[string]any{"is_active": false}, []string{"is_active"}},
		"expired edited":         {expired.ID, map[string]any{"label": "x"}, []string{"expires_at"}},
		"expired deactivated":    {expired.ID, map[string]any{"is_active": false}, []string{"expires_at"}},
		"another's repositories": {active.ID, map[string]any{"resources": []oat.Resource{oat.All("zebra", oat.Read)}}, []string{"resources[0].path"}},
	} {
		t.Run(name, func(t *testing.T) {
			d.on(t).ask(http.MethodPatch, tokensOfAcme+"/"+c.id, "alice", c.body).names(400, c.fields...)
		})
	}
	d.ask(http.MethodPatch, tokensOfAcme+"/"+active.ID, "alice", map[string]any{}).is(200)
	d.ask(http.MethodPatch, tokensOfAcme+"/"+active.ID, "alice", map[string]any{"is_active": true, "label": "ci"}).is(200)
	if after := d.records(); after != before {
		t.Errorf("requests that change nothing left %d records", after-before)
	}
	for _, id := range []string{inactive.ID, expired.ID} {
		d.ask(http.MethodDelete, tokensOfAcme+"/"+id, "alice", nil).is(204)
	}
}

func TestPlanAndLimit(t *testing.T) {
	d := newDesk(t)
	host := oat.Actor{Host: "billing"}
	plan := func(name string) {
		must(t, d.Service.ChangePlan(context.Background(), host, oat.ChangePlan{Organization: "acme", Plan: name}))
	}
	plan(quota.Team)
	for range 10 {
		d.create()
	}
	var refused struct{ Text string }
	d.ask(http.MethodPost, tokensOfAcme, "alice", body()).names(400).as(400, &refused)
	if refused.Text != "the organization has 10 of the 10 access tokens that its plan allows" {
		t.Errorf("over the limit: %q", refused.Text)
	}
	plan(quota.Pro)
	d.ask(http.MethodPost, tokensOfAcme, "alice", body()).names(400).as(400, &refused)
	if refused.Text != oat.ErrNoTokens.Error() {
		t.Errorf("on a plan without tokens: %q", refused.Text)
	}
}

// What is asked of the wrong address, in the wrong way or in the wrong form.
func TestForm(t *testing.T) {
	d := newDesk(t)
	created, _ := d.create()
	for _, c := range []struct {
		method, target string
		status         int
		headers        []string
	}{
		{"GET", "/", 404, nil},
		{"GET", "/v2/", 404, nil},
		{"GET", "/v2/orgs", 404, nil},
		{"GET", "/v2/orgs/acme", 404, nil},
		{"GET", "/v2/orgs//access-tokens", 404, nil},
		{"GET", tokensOfAcme + "/", 404, nil},
		{"GET", tokensOfAcme + "/" + created.ID + "/", 404, nil},
		{"GET", tokensOfAcme + "/" + created.ID + "/x", 404, nil},
		{"GET", "/v2/auditlogs/", 404, nil},
		{"GET", "/v2/auditlogs/acme/actions", 404, nil},
		{"GET", "/v2/auth/token/", 404, nil},
		{"GET", "/v2/auth/token", 405, nil},
		{"PUT", "/v2/users/login/", 405, nil},
		{"PUT", tokensOfAcme, 405, nil},
		{"DELETE", tokensOfAcme, 405, nil},
		{"POST", tokensOfAcme + "/" + created.ID, 405, nil},
		{"POST", "/v2/auditlogs/acme", 405, nil},
		{"get", tokensOfAcme, 405, nil},
		{"BREW", "/v2/openapi.json", 405, nil},
		{"OPTIONS", tokensOfAcme, 204, nil},
		{"OPTIONS", "/v2/auth/token", 204, nil},
		{"OPTIONS", "/v2/users/login", 204, nil},
		{"OPTIONS", "/v2/openapi.json", 204, nil},
		{"OPTIONS", "/v2/auditlogs/acme", 204, nil},
		{"OPTIONS", tokensOfAcme + "/x", 204, nil},
		{"HEAD", tokensOfAcme, 200, nil},
		{"HEAD", tokensOfAcme + "/" + created.ID, 200, nil},
		{"HEAD", "/v2/openapi.json", 200, nil},
		{"GET", "/v2/openapi.json", 200, nil},
		{"GET", tokensOfAcme + "/x", 404, nil},
		{"GET", tokensOfAcme + "/" + strings.ToUpper(created.ID), 404, nil},
		{"GET", tokensOfAcme + "/00000000-0000-0000-0000-000000000000", 404, nil},
		{"GET", tokensOfAcme + "?page=1;page=2", 400, nil},
	} {
		answer := d.ask(c.method, c.target, "alice", nil, c.headers...)
		if answer.status != c.status {
			t.Errorf("%s %s: status %d, want %d", c.method, c.target, answer.status, c.status)
		}
	}
	if got := d.ask("OPTIONS", tokensOfAcme, "", nil).header.Get("Allow"); got != "GET, HEAD, POST, OPTIONS" {
		t.Errorf("methods: %q", got)
	}
}

func TestBodies(t *testing.T) {
	d := newDesk(t)
	created, _ := d.create()
	for name, c := range map[string]struct {
		body    string
		status  int
		headers []string
	}{
		"no content type":    {`{}`, 415, []string{"Content-Type", ""}},
		"a form":             {`label=a`, 415, []string{"Content-Type", "application/x-www-form-urlencoded"}},
		"another charset":    {`{}`, 415, []string{"Content-Type", "application/json; charset=utf-16"}},
		"compressed":         {`{}`, 415, []string{"Content-Encoding", "gzip"}},
		"with a charset":     {`{"x":1}`, 400, []string{"Content-Type", "application/json; charset=UTF-8"}},
		"as large as may be": {`{"label":"` + strings.Repeat("a", 64<<10-12) + `"}`, 400, nil},
		"larger":             {`{"label":"` + strings.Repeat("a", 64<<10-11) + `"}`, 413, nil},
		"deep":               {strings.Repeat(`[`, 60000), 400, nil},
	} {
		for _, to := range [][2]string{{http.MethodPost, tokensOfAcme}, {http.MethodPatch, tokensOfAcme + "/" + created.ID}} {
			r := d.request(to[0], to[1], "alice", c.body)
			for i := 0; i < len(c.headers); i += 2 {
				r.Header.Set(c.headers[i], c.headers[i+1])
			}
			if got := d.serve(r); got.status != c.status {
				t.Errorf("%s: %s: status %d, want %d: %s", name, to[0], got.status, c.status, got.body)
			}
		}
	}
}

func TestMustBeInactiveToDelete(t *testing.T) {
	d := newDeskOn(t, requireInactive(t))
	created, _ := d.create()
	d.ask(http.MethodDelete, tokensOfAcme+"/"+created.ID, "alice", nil).is(409)
	d.ask(http.MethodPatch, tokensOfAcme+"/"+created.ID, "alice", map[string]any{"is_active": false}).is(200)
	d.ask(http.MethodDelete, tokensOfAcme+"/"+created.ID, "alice", nil).is(204)
}
