package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events/durable/sqlitelog"
	"github.com/oatmill/oatmill/examples/internal/accounts"
	"github.com/oatmill/oatmill/examples/internal/site"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

// TestLoad has owners work at the same time, in the console and by scripts, four in each
// organization so that they get in each other's way. Every answer must be what the rules
// say; afterwards there are exactly the tokens that were generated and not deleted.
//
// Usually 16 of them work for two seconds. OATMILL_LOAD, a duration as Go writes it, has
// 64 of them work for so long; do it after changes to what commands decide upon, or to how
// the server is put together:
//
//	OATMILL_LOAD=60s go test ./examples/console -run '^TestLoad$' -v
//
// and -v shows how many requests there were, how each kind was answered, and how quickly.
func TestLoad(t *testing.T) {
	owners, duration := 16, 2*time.Second
	if long := os.Getenv("OATMILL_LOAD"); long != "" {
		var err error
		duration, err = time.ParseDuration(long)
		must(t, err)
		owners = 64
	}
	s, all := crowd(t, owners)
	var working sync.WaitGroup
	until := time.Now().Add(duration)
	for _, o := range all {
		working.Go(func() { o.work(until) })
	}
	working.Wait()
	total := newTally()
	for _, o := range all {
		total.add(o.tally)
	}
	t.Logf("%d owners for %v: %s", owners, duration, total)
	for _, o := range all[:owners/ownersEach] { // one of each organization
		var list struct{ Total int }
		o.api(http.MethodGet, "", nil, nil, &list)
		if want := total.left[o.organization]; list.Total != want {
			t.Errorf("%s has %d tokens; generated and not deleted were %d", o.organization, list.Total, want)
		}
	}
	if failures := s.Stderr.String(); strings.Contains(failures, "ERROR") {
		t.Errorf("the server complained: %s", failures)
	}
}

const ownersEach = 4

// owner is a person with a browser and a script.
type owner struct {
	t            *testing.T
	s            *serving
	organization string
	client       *http.Client
	bearer       string
	tally        *tally
}

// tally is what came of somebody's requests.
type tally struct {
	outcomes map[string]int // by what was asked and how it was answered
	took     []time.Duration
	left     map[string]int // tokens generated and not deleted, by organization
	wrong    []string
}

func newTally() *tally { return &tally{outcomes: make(map[string]int), left: make(map[string]int)} }

func (c *tally) add(other *tally) {
	for key, n := range other.outcomes {
		c.outcomes[key] += n
	}
	for key, n := range other.left {
		c.left[key] += n
	}
	c.took = append(c.took, other.took...)
	c.wrong = append(c.wrong, other.wrong...)
}

func (c *tally) String() string {
	slices.Sort(c.took)
	var b strings.Builder
	fmt.Fprintf(&b, "%d requests, half of them within %v, 99 of 100 within %v, all within %v\n",
		len(c.took), c.took[len(c.took)/2], c.took[len(c.took)*99/100], c.took[len(c.took)-1])
	for _, key := range slices.Sorted(maps.Keys(c.outcomes)) {
		fmt.Fprintf(&b, "  %-40s %d\n", key, c.outcomes[key])
	}
	return b.String()
}

// crowd is a server with so many owners, all signed in.
func crowd(t *testing.T, owners int) (*serving, []*owner) {
	t.Helper()
	data := site.Folder(filepath.Join(t.TempDir(), "data"))
	passwords := make([]string, owners)
	links := make([]string, owners)
	must(t, data.WithLog(t.Context(), func(log *sqlitelog.Log) error {
		service, err := oat.New(oat.Config{Log: log})
		must(t, err)
		people, err := accounts.Open(t.Context(), data.File("accounts.db"), time.Now)
		must(t, err)
		for i := range owners {
			c, err := people.Add(t.Context(), ownerName(i))
			must(t, err)
			passwords[i], links[i] = c.Password, c.Link
		}
		for i := range owners / ownersEach {
			register := oat.Register{Organization: organizationName(i), Plan: quota.Team}
			for j := range ownersEach {
				register.Owners = append(register.Owners, ownerName(i+j*owners/ownersEach))
			}
			must(t, service.Register(t.Context(), oat.Actor{Host: "test"}, register))
		}
		return people.Close()
	}))
	s := serveIn(t, string(data), "--api-limit", "1000000/1m", "--sign-in-limit", "1000/1m")
	transport := &http.Transport{MaxIdleConnsPerHost: owners}
	t.Cleanup(transport.CloseIdleConnections)
	all := make([]*owner, owners)
	for i := range all {
		client := s.client(t)
		client.Transport = transport
		s.post(t, client, linkPath(links[i]), nil).is(t, http.StatusSeeOther)
		all[i] = &owner{
			t: t, s: s, organization: organizationName(i % (owners / ownersEach)), client: client,
			bearer: s.script(t, ownerName(i), passwords[i]).bearer, tally: newTally(),
		}
	}
	return s, all
}

func ownerName(i int) string        { return fmt.Sprintf("owner-%d", i) }
func organizationName(i int) string { return fmt.Sprintf("organization-%d", i) }

// work does one thing after the other.
func (o *owner) work(until time.Time) {
	things := []func(){o.look, o.look, o.fillIn, o.edit, o.deactivate, o.remove, o.list, o.create, o.patch, o.delete}
	for time.Now().Before(until) {
		things[rand.IntN(len(things))]()
	}
}

// is counts an answer, which must be one of those that the rules allow.
func (o *owner) is(what string, answer *http.Response, body []byte, allowed ...int) bool {
	key := fmt.Sprintf("%s: %d", what, answer.StatusCode)
	o.tally.outcomes[key]++
	if !slices.Contains(allowed, answer.StatusCode) {
		o.t.Errorf("%s: %s", key, body[:min(len(body), 300)])
	}
	return answer.StatusCode == allowed[0]
}

func (o *owner) send(request *http.Request) (*http.Response, []byte) {
	began := time.Now()
	response, err := o.client.Do(request)
	if err == nil {
		defer response.Body.Close()
		var body []byte
		if body, err = io.ReadAll(response.Body); err == nil {
			o.tally.took = append(o.tally.took, time.Since(began))
			return response, body
		}
	}
	o.t.Errorf("%s %s: %v", request.Method, request.URL, err)
	return &http.Response{Header: http.Header{}}, nil
}

// page asks the console: with a form by POST.
func (o *owner) page(path string, form url.Values) (*http.Response, []byte) {
	method := http.MethodGet
	if form != nil {
		method = http.MethodPost
	}
	request, err := http.NewRequest(method, o.s.url+"/orgs/"+o.organization+"/tokens"+path, strings.NewReader(form.Encode()))
	if err != nil {
		o.t.Error(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return o.send(request)
}

// api asks the API and reads the answer.
func (o *owner) api(method, path string, body any, header http.Header, into any) (*http.Response, []byte) {
	encoded, err := json.Marshal(body)
	request, requestErr := http.NewRequest(method, o.s.url+"/v2/orgs/"+o.organization+"/access-tokens"+path, bytes.NewReader(encoded))
	if err := errors.Join(err, requestErr); err != nil {
		o.t.Error(err)
	}
	maps.Copy(request.Header, header)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+o.bearer)
	response, text := o.send(request)
	if into != nil && response.StatusCode < 300 {
		if err := json.Unmarshal(text, into); err != nil {
			o.t.Error(err)
		}
	}
	return response, text
}

var (
	listedToken = regexp.MustCompile(`data-token="([0-9a-f-]{36})"`)
	formName    = regexp.MustCompile(`name="request" value="([0-9a-f]+)"`)
	formVersion = regexp.MustCompile(`name="version" value="([0-9]+)"`)
)

// look shows the list, and names one of its tokens.
func (o *owner) look() { o.some() }

func (o *owner) some() (path string, ok bool) {
	response, body := o.page("", nil)
	if !o.is("console list", response, body, http.StatusOK) {
		return "", false
	}
	all := listedToken.FindAllSubmatch(body, -1)
	if len(all) == 0 {
		return "", false
	}
	return "/" + string(all[rand.IntN(len(all))][1]), true
}

// fillIn generates a token in the console. A full organization refuses it.
func (o *owner) fillIn() {
	response, body := o.page("/new", nil)
	name := formName.FindSubmatch(body)
	if !o.is("console form", response, body, http.StatusOK) || name == nil {
		return
	}
	response, body = o.page("/new", url.Values{
		"request": {string(name[1])}, "label": {"by hand"}, "expires": {"30"}, "access": {"all"}, "all-level": {"read"},
	})
	if o.is("console generate", response, body, http.StatusOK, http.StatusConflict) {
		o.tally.left[o.organization]++
		if !bytes.Contains(body, []byte("oat_")) {
			o.t.Errorf("the page has no secret: %s", body)
		}
	}
}

// edit edits a token in the console. Somebody else may have edited it, ended it or deleted
// it since.
func (o *owner) edit() {
	token, ok := o.some()
	if !ok {
		return
	}
	response, body := o.page(token+"/edit", nil)
	version := formVersion.FindSubmatch(body)
	// An inactive token has no form; a deleted one no page.
	if !o.is("console edit form", response, body, http.StatusOK, http.StatusSeeOther, http.StatusNotFound) || version == nil {
		return
	}
	response, body = o.page(token+"/edit", url.Values{
		"version": {string(version[1])}, "label": {fmt.Sprintf("edited %d", rand.IntN(1000))}, "access": {"public"},
	})
	o.is("console edit", response, body, http.StatusSeeOther, http.StatusConflict)
}

func (o *owner) deactivate() {
	if token, ok := o.some(); ok {
		response, body := o.page(token+"/deactivate", url.Values{})
		o.is("console deactivate", response, body, http.StatusSeeOther)
	}
}

func (o *owner) remove() {
	token, ok := o.some()
	if !ok {
		return
	}
	response, body := o.page(token+"/delete", url.Values{})
	if o.is("console delete", response, body, http.StatusSeeOther) && strings.HasSuffix(response.Header.Get("Location"), "=deleted") {
		o.tally.left[o.organization]--
	}
}

// list lists tokens by the API, and names one.
func (o *owner) list() { o.any() }

func (o *owner) any() (path string, ok bool) {
	var list struct{ Results []made }
	response, body := o.api(http.MethodGet, "?page_size=100", nil, nil, &list)
	if !o.is("api list", response, body, http.StatusOK) || len(list.Results) == 0 {
		return "", false
	}
	return "/" + list.Results[rand.IntN(len(list.Results))].ID, true
}

func (o *owner) create() {
	response, body := o.api(http.MethodPost, "", map[string]any{
		"label": "by script", "resources": []any{map[string]any{"type": "TYPE_REPO", "path": "*/*/public", "scopes": []string{"scope-image-pull"}}},
	}, nil, nil)
	if o.is("api create", response, body, http.StatusCreated, http.StatusBadRequest) {
		o.tally.left[o.organization]++
	} else if !bytes.Contains(body, []byte("10")) { // the limit
		o.t.Errorf("a token is refused with %s", body)
	}
}

// patch edits the version it has seen, as long as the token is active.
func (o *owner) patch() {
	token, ok := o.any()
	if !ok {
		return
	}
	var seen made
	response, body := o.api(http.MethodGet, token, nil, nil, &seen)
	if !o.is("api get", response, body, http.StatusOK, http.StatusNotFound) || !seen.IsActive {
		return
	}
	header := http.Header{"If-Match": {response.Header.Get("ETag")}}
	response, body = o.api(http.MethodPatch, token, map[string]any{"description": fmt.Sprint(rand.IntN(1000))}, header, nil)
	o.is("api update", response, body, http.StatusOK, http.StatusPreconditionFailed, http.StatusBadRequest, http.StatusNotFound)
}

func (o *owner) delete() {
	token, ok := o.any()
	if !ok {
		return
	}
	response, body := o.api(http.MethodDelete, token, nil, nil, nil)
	if o.is("api delete", response, body, http.StatusNoContent, http.StatusNotFound) {
		o.tally.left[o.organization]--
	}
}

// BenchmarkListPage is the server's time for the list of an organization with 100 tokens,
// on the log in a file and with the session looked up: among 10,000 organizations, and
// beside it (alone-ns/op) as the only one.
func BenchmarkListPage(b *testing.B) {
	among, alone := listPage(b, 10_000), listPage(b, 1)
	var spent time.Duration
	n := 0
	for b.Loop() {
		began := time.Now()
		alone()
		spent += time.Since(began)
		n++
		among()
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(n), "alone-ns/op")
	b.ReportMetric((float64(b.Elapsed().Nanoseconds())-float64(spent.Nanoseconds()))/float64(n), "among-ns/op")
}

// listPage is what asks the server for the page, without a network.
func listPage(b *testing.B, organizations int) func() {
	b.Helper()
	p := &program{stdout: io.Discard, stderr: io.Discard, now: time.Now, data: filepath.Join(b.TempDir(), "data")}
	s := p.opened(b)
	service, err := oat.New(oat.Config{Log: s.log})
	must(b, err)
	populate(b, service, organizations)
	must(b, s.runner.CatchUp(b.Context()))
	c, err := s.accounts.Add(b.Context(), "alice")
	must(b, err)
	session, err := s.accounts.Redeem(b.Context(), c.Link, "")
	must(b, err)
	return func() {
		request := httptest.NewRequest(http.MethodGet, "/orgs/organization-0/tokens", nil)
		request.AddCookie(&http.Cookie{Name: "oatmill", Value: session})
		answer := httptest.NewRecorder()
		s.handler.ServeHTTP(answer, request)
		if answer.Code != http.StatusOK || !listedToken.Match(answer.Body.Bytes()) {
			b.Fatal(answer.Code, answer.Body)
		}
	}
}

// populate registers organizations, many at a time, and gives the first 100 tokens.
func populate(b *testing.B, service *oat.Service, organizations int) {
	b.Helper()
	by := oat.Actor{Host: "test"}
	var registering sync.WaitGroup
	for worker := range 64 {
		registering.Go(func() {
			for i := worker; i < organizations; i += 64 {
				if err := service.Register(b.Context(), by, oat.Register{Organization: organizationName(i), Plan: quota.Business, Owners: []string{"alice"}}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	registering.Wait()
	for i := range 100 {
		_, _, err := service.Generate(b.Context(), by, oat.Generate{
			Organization: "organization-0", Label: fmt.Sprintf("token %d", i), Expires: oat.Never(), Resources: []oat.Resource{oat.All("organization-0", oat.Read)},
		})
		must(b, err)
	}
}
