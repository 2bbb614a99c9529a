package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The tests in this file are the four workflows of the conformance suite of the OCI distribution
// specification 1.1: pull, push, content discovery and content management, in words of their own. They
// run as a client that has an access token and does what challenges say, without knowing beforehand
// which scope a request needs. Content management is switched off, for which the specification has the
// answer 405.
//
// They fail if the guard's challenge for any request names less than the request needs, or if it
// answers in place of the registry where the token allows the request.

// ociClient is a registry client as the suite's is: it sends each request without credentials, fetches
// a registry token for the scopes that the challenge names, and sends it again.
type ociClient struct {
	t      *testing.T
	base   string // of the server
	secret string // of a token of acme, "" for anonymous
}

// ociAnswer is an answer with its body.
type ociAnswer struct {
	*http.Response
	body []byte
}

var challengeParameter = regexp.MustCompile(`(\w+)="([^"]*)"`)

// do sends a request to an address that may be absolute, as in Location.
func (c *ociClient) do(method, address string, body []byte, headers ...string) ociAnswer {
	c.t.Helper()
	answer := c.send(method, address, body, "", headers)
	if answer.StatusCode != http.StatusUnauthorized {
		return answer
	}
	parameters := map[string]string{}
	for _, p := range challengeParameter.FindAllStringSubmatch(answer.Header.Get("WWW-Authenticate"), -1) {
		parameters[p[1]] = p[2]
	}
	request, err := http.NewRequest(http.MethodGet, parameters["realm"]+"?"+url.Values{"service": {parameters["service"]}, "scope": {parameters["scope"]}}.Encode(), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if c.secret != "" {
		request.SetBasicAuth("acme", c.secret)
	}
	var token struct{ Token string }
	if fetched := c.roundTrip(request); json.Unmarshal(fetched.body, &token) != nil || token.Token == "" {
		c.t.Fatalf("a token for %q: %s", parameters["scope"], fetched.body)
	}
	return c.send(method, address, body, token.Token, headers)
}

func (c *ociClient) send(method, address string, body []byte, bearer string, headers []string) ociAnswer {
	c.t.Helper()
	if strings.HasPrefix(address, "/") {
		address = c.base + address
	}
	request, err := http.NewRequest(method, address, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	return c.roundTrip(request)
}

func (c *ociClient) roundTrip(request *http.Request) ociAnswer {
	c.t.Helper()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return ociAnswer{response, body}
}

// want demands an answer with one of some statuses.
func (c *ociClient) want(answer ociAnswer, statuses ...int) ociAnswer {
	c.t.Helper()
	if !slices.Contains(statuses, answer.StatusCode) {
		c.t.Fatalf("%s %s: %d, want %v: %v %s", answer.Request.Method, answer.Request.URL, answer.StatusCode, statuses, answer.Header, answer.body)
	}
	return answer
}

// wantError demands an answer with a status and, in the specification's form, one of some codes.
func (c *ociClient) wantError(answer ociAnswer, status int, codes ...string) ociAnswer {
	c.t.Helper()
	var body struct {
		Errors []struct{ Code string }
	}
	if err := json.Unmarshal(c.want(answer, status).body, &body); err != nil || len(body.Errors) == 0 || !slices.Contains(codes, body.Errors[0].Code) {
		c.t.Fatalf("%s %s: %s, want one of %q", answer.Request.Method, answer.Request.URL, answer.body, codes)
	}
	return answer
}

// begin begins an upload, and returns where it goes on.
func (c *ociClient) begin(repository string) string {
	c.t.Helper()
	location := c.want(c.do(http.MethodPost, "/v2/"+repository+"/blobs/uploads/", nil), http.StatusAccepted).Header.Get("Location")
	if location == "" {
		c.t.Fatal("an upload without a Location")
	}
	return location
}

// finished returns the address that ends an upload.
func finished(location, digest string) string {
	separator := "?"
	if strings.Contains(location, "?") {
		separator = "&"
	}
	return location + separator + "digest=" + url.QueryEscape(digest)
}

const octets = "application/octet-stream"

// push pushes a blob and returns its digest.
func (c *ociClient) push(repository string, blob []byte) string {
	c.t.Helper()
	digest := digestOf(blob)
	c.want(c.do(http.MethodPut, finished(c.begin(repository), digest), blob, "Content-Type", octets), http.StatusCreated)
	return digest
}

func digestOf(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
)

// manifest returns the manifest of an image whose blobs are pushed to a repository, and no others.
func (c *ociClient) manifest(repository, mark string) []byte {
	c.t.Helper()
	config, layer := []byte(`{"architecture":"amd64","os":"linux","author":"`+mark+`"}`), []byte("layer of "+mark)
	part := func(kind string, blob []byte) map[string]any {
		return map[string]any{"mediaType": kind, "size": len(blob), "digest": c.push(repository, blob)}
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": part(configType, config), "layers": []any{part(layerType, layer)},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return manifest
}

// conformant is a server, and a client with a token that may do everything.
func conformant(t *testing.T) (*serving, *ociClient) {
	t.Helper()
	c := registered(t)
	secret := c.generate(t, "acme", "conformance", "--all", "read-write").secret
	s := c.serve(t)
	return s, &ociClient{t: t, base: "http://" + s.addr, secret: secret}
}

const absentDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // of nothing

func TestConformancePull(t *testing.T) {
	_, c := conformant(t)
	manifest := c.manifest("acme/pull", "one")
	digest, layer := digestOf(manifest), []byte("layer of one")
	c.want(c.do("PUT", "/v2/acme/pull/manifests/v1", manifest, "Content-Type", manifestType), 201)

	c.want(c.do("GET", "/v2/", nil), 200)
	for _, method := range []string{"GET", "HEAD"} {
		c.want(c.do(method, "/v2/acme/pull/blobs/"+absentDigest, nil), 404)
		c.want(c.do(method, "/v2/acme/none/blobs/"+absentDigest, nil), 404)
		c.want(c.do(method, "/v2/acme/pull/manifests/none", nil), 404)
		c.want(c.do(method, "/v2/acme/pull/manifests/"+absentDigest, nil), 404)
		blob := c.want(c.do(method, "/v2/acme/pull/blobs/"+digestOf(layer), nil), 200)
		if got := blob.Header.Get("Docker-Content-Digest"); got != digestOf(layer) || blob.ContentLength != int64(len(layer)) || method == "GET" && !bytes.Equal(blob.body, layer) {
			t.Errorf("%s of a blob: %s, %d bytes, %q", method, got, blob.ContentLength, blob.body)
		}
		for _, reference := range []string{"v1", digest} {
			got := c.want(c.do(method, "/v2/acme/pull/manifests/"+reference, nil, "Accept", manifestType), 200)
			if got.Header.Get("Docker-Content-Digest") != digest || got.Header.Get("Content-Type") != manifestType || method == "GET" && !bytes.Equal(got.body, manifest) {
				t.Errorf("%s of manifest %s: %v %s", method, reference, got.Header, got.body)
			}
		}
	}
	if got := c.want(c.do("GET", "/v2/acme/pull/blobs/"+digestOf(layer), nil, "Range", "bytes=6-7"), 206); string(got.body) != "of" {
		t.Errorf("a part of a blob: %q", got.body)
	}
	c.wantError(c.do("PUT", "/v2/acme/pull/manifests/sha256:totallywrong", manifest, "Content-Type", manifestType), 400, "DIGEST_INVALID")
}

func TestConformancePush(t *testing.T) {
	_, c := conformant(t)
	blob := []byte("a blob that is pushed in every way there is")
	digest := digestOf(blob)
	pulled := func(repository string) {
		t.Helper()
		if got := c.want(c.do("GET", "/v2/"+repository+"/blobs/"+digest, nil), 200); !bytes.Equal(got.body, blob) {
			t.Errorf("pulled %q from %s", got.body, repository)
		}
	}
	located := func(answer ociAnswer) string {
		t.Helper()
		location := answer.Header.Get("Location")
		if location == "" {
			t.Fatalf("%s %s: no Location", answer.Request.Method, answer.Request.URL)
		}
		return location
	}

	// Monolithic, by POST and PUT, and by one POST, which a registry may take for the beginning.
	c.want(c.do("GET", "/v2/acme/monolithic/blobs/"+digest, nil), 404)
	located(c.want(c.do("PUT", finished(c.begin("acme/monolithic"), digest), blob, "Content-Type", octets), 201))
	pulled("acme/monolithic")
	if one := c.want(c.do("POST", "/v2/acme/single/blobs/uploads/?digest="+digest, blob, "Content-Type", octets), 201, 202); one.StatusCode == 202 {
		c.want(c.do("PUT", finished(located(one), digest), blob, "Content-Type", octets), 201)
	}
	pulled("acme/single")

	// Streamed.
	streamed := c.want(c.do("PATCH", c.begin("acme/streamed"), blob, "Content-Type", octets), 202)
	c.want(c.do("PUT", finished(located(streamed), digest), nil), 201)
	pulled("acme/streamed")

	// In chunks, of which none is out of order or comes twice.
	first, second := blob[:20], blob[20:]
	chunk := func(location string, data []byte, from int) ociAnswer {
		return c.do("PATCH", location, data, "Content-Type", octets, "Content-Range", fmt.Sprintf("%d-%d", from, from+len(data)-1))
	}
	begun := c.begin("acme/chunked")
	c.want(chunk(begun, second, len(first)), 416)
	after := c.want(chunk(begun, first, 0), 202)
	if after.Header.Get("Range") != "0-19" {
		t.Errorf("after the first chunk: Range %q", after.Header.Get("Range"))
	}
	c.want(chunk(located(after), first, 0), 416)
	if state := c.want(c.do("GET", located(after), nil), 204); state.Header.Get("Range") != "0-19" {
		t.Errorf("the upload's state: Range %q", state.Header.Get("Range"))
	}
	after = c.want(chunk(located(after), second, len(first)), 202)
	c.want(c.do("PUT", finished(located(after), digest), nil), 201)
	pulled("acme/chunked")

	// What does not fit its digest is refused.
	c.wantError(c.do("PUT", finished(c.begin("acme/wrong"), absentDigest), blob, "Content-Type", octets), 400, "DIGEST_INVALID")

	// Mounted from a repository that the token may read, and from one that there is not.
	const mount = "/v2/acme/mounted/blobs/uploads/?mount="
	mounted := c.want(c.do("POST", mount+digest+"&from=acme/monolithic", nil), 201)
	if !strings.HasSuffix(located(mounted), "/v2/acme/mounted/blobs/"+digest) {
		t.Errorf("mounted at %s", mounted.Header.Get("Location"))
	}
	pulled("acme/mounted")
	located(c.want(c.do("POST", mount+absentDigest+"&from=acme/none", nil), 202))
	located(c.want(c.do("POST", mount+digest, nil), 201, 202))

	// Manifests, by tag and by digest.
	manifest := c.manifest("acme/push", "two")
	c.want(c.do("GET", "/v2/acme/push/manifests/none", nil), 404)
	for _, reference := range []string{"v1", "v2", "test0", "a.b_c-d", digestOf(manifest)} {
		got := c.want(c.do("PUT", "/v2/acme/push/manifests/"+reference, manifest, "Content-Type", manifestType), 201)
		located(got)
		if got.Header.Get("Docker-Content-Digest") != digestOf(manifest) {
			t.Errorf("manifest %s: %v", reference, got.Header)
		}
		c.want(c.do("GET", "/v2/acme/push/manifests/"+reference, nil, "Accept", manifestType), 200)
	}
	c.wantError(c.do("PUT", "/v2/acme/push/manifests/bad", []byte("blablabla"), "Content-Type", manifestType), 400, "MANIFEST_INVALID")
	missing := bytes.ReplaceAll(manifest, []byte(digestOf([]byte("layer of two"))), []byte(absentDigest))
	c.want(c.do("PUT", "/v2/acme/push/manifests/missing", missing, "Content-Type", manifestType), 400, 404)
}

func TestConformanceDiscovery(t *testing.T) {
	_, c := conformant(t)
	c.want(c.do("GET", "/v2/acme/none/tags/list", nil), 404)
	manifest, want := c.manifest("acme/tags", "three"), []string{"test0", "test1", "test2", "test3", "v1"}
	for _, tag := range []string{"test3", "v1", "test1", "test0", "test2"} {
		c.want(c.do("PUT", "/v2/acme/tags/manifests/"+tag, manifest, "Content-Type", manifestType), 201)
	}
	list := func(address string) ([]string, ociAnswer) {
		t.Helper()
		answer := c.want(c.do("GET", address, nil), 200)
		var body struct {
			Name string
			Tags []string
		}
		if err := json.Unmarshal(answer.body, &body); err != nil || body.Name != "acme/tags" {
			t.Fatalf("%s: %s", address, answer.body)
		}
		return body.Tags, answer
	}
	const tags = "/v2/acme/tags/tags/list"
	if got, _ := list(tags); !slices.Equal(got, want) {
		t.Errorf("the tags are %q, want %q", got, want)
	}
	if got, _ := list(tags + "?n=0"); len(got) != 0 {
		t.Errorf("no tags are %q", got)
	}
	if got, _ := list(tags + "?n=2&last=test1"); !slices.Equal(got, want[2:4]) {
		t.Errorf("two tags after test1 are %q", got)
	}
	// Page by page, as the header Link says.
	next := regexp.MustCompile(`^<([^>]+)>; rel="next"$`)
	var all []string
	for address := tags + "?n=2"; address != ""; {
		page, answer := list(address)
		if all = append(all, page...); len(page) > 2 || len(all) > len(want) {
			t.Fatalf("%s: %q, after all %q", address, page, all)
		}
		address = ""
		if link := next.FindStringSubmatch(answer.Header.Get("Link")); link != nil {
			address = link[1]
		}
	}
	if !slices.Equal(all, want) {
		t.Errorf("page by page the tags are %q, want %q", all, want)
	}

	// "If this is not available, the registry MUST respond with a 404", and clients use tags instead.
	if referrers := c.want(c.do("GET", "/v2/acme/tags/referrers/"+digestOf(manifest), nil), 200, 404); referrers.StatusCode == 404 {
		index := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
		tag := strings.Replace(digestOf(manifest), ":", "-", 1)
		c.want(c.do("PUT", "/v2/acme/tags/manifests/"+tag, index, "Content-Type", "application/vnd.oci.image.index.v1+json"), 201)
		c.want(c.do("GET", "/v2/acme/tags/manifests/"+tag, nil, "Accept", "application/vnd.oci.image.index.v1+json"), 200)
	}
}

// Nothing is deleted, and that is said to those who may see the repository alone: "If tag deletion is
// disabled, the registry MUST respond with either a 400 Bad Request or a 405 Method Not Allowed."
func TestConformanceManagement(t *testing.T) {
	s, c := conformant(t)
	manifest := c.manifest("acme/kept", "four")
	c.want(c.do("PUT", "/v2/acme/kept/manifests/v1", manifest, "Content-Type", manifestType), 201)
	reader := &ociClient{t: t, base: c.base, secret: s.generate(t, "acme", "reader", "--repo", "kept=read").secret}
	stranger := &ociClient{t: t, base: c.base, secret: s.generate(t, "acme", "stranger", "--repo", "other=read-write").secret}
	loggedIn(t, s, reader.secret) // a new token holds as soon as the server has read of it
	loggedIn(t, s, stranger.secret)
	anonymous := &ociClient{t: t, base: c.base}

	layer := digestOf([]byte("layer of four"))
	for _, path := range []string{"manifests/v1", "manifests/none", "manifests/" + digestOf(manifest), "manifests/" + absentDigest, "blobs/" + layer, "blobs/" + absentDigest} {
		for _, client := range []*ociClient{c, reader} {
			if got := client.wantError(client.do("DELETE", "/v2/acme/kept/"+path, nil), 405, "UNSUPPORTED"); got.Header.Get("Allow") == "" {
				t.Errorf("DELETE %s: %v", path, got.Header)
			}
		}
		// Who may not see it is told the same about what there is and what there is not.
		for _, repository := range []string{"acme/kept/", "acme/none/"} {
			stranger.wantError(stranger.do("DELETE", "/v2/"+repository+path, nil), 403, "DENIED")
			anonymous.wantError(anonymous.do("DELETE", "/v2/"+repository+path, nil), 401, "UNAUTHORIZED")
			stranger.wantError(stranger.do("GET", "/v2/"+repository+path, nil), 403, "DENIED")
			anonymous.wantError(anonymous.do("GET", "/v2/"+repository+path, nil), 401, "UNAUTHORIZED")
		}
	}
	for _, reference := range []string{"v1", digestOf(manifest)} {
		c.want(c.do("GET", "/v2/acme/kept/manifests/"+reference, nil, "Accept", manifestType), 200)
	}
	c.want(c.do("GET", "/v2/acme/kept/blobs/"+layer, nil), 200)

	// One's own upload is cancelled with push access, and is gone.
	location := c.want(c.do("PATCH", c.begin("acme/kept"), []byte("half of it"), "Content-Type", octets), 202).Header.Get("Location")
	reader.wantError(reader.do("DELETE", location, nil), 403, "DENIED")
	stranger.wantError(stranger.do("DELETE", location, nil), 403, "DENIED")
	anonymous.wantError(anonymous.do("DELETE", location, nil), 401, "UNAUTHORIZED")
	c.want(c.do("GET", location, nil), 204)
	c.want(c.do("DELETE", location, nil), 204)
	c.wantError(c.do("GET", location, nil), 404, "BLOB_UPLOAD_UNKNOWN")
	c.wantError(c.do("DELETE", location, nil), 404, "BLOB_UPLOAD_UNKNOWN")

	// A registry token whose access token was revoked cancels nothing.
	location = c.begin("acme/kept")
	bearer, _ := s.bearer(t, "acme", c.secret, "repository:acme/kept:pull,push")
	var list tokenList
	readJSON(t, s.do(t, "token", "list", "acme", "--json"), &list)
	for _, token := range list.Tokens {
		s.do(t, "token", "deactivate", "acme", token.ID.String(), "--as", "alice")
	}
	untilSecretRefused(t, s, c.secret)
	c.wantError(c.send("DELETE", location, nil, bearer, nil), 401, "UNAUTHORIZED")
}
