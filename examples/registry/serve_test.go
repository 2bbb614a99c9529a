package main

import (
	"bytes"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/oatmill/oatmill/examples/internal/cli"
	"github.com/oatmill/oatmill/examples/internal/clitest"
)

// TestFirstStart: an empty data folder becomes a registry that can be used with
// nothing but what it printed; a restart keeps all of it and prints no secret. Without
// recorder.Close in close the refused attempt is lost.
func TestFirstStart(t *testing.T) {
	c := shell{filepath.Join(t.TempDir(), "data")}
	s := c.serve(t)
	if info, err := os.Stat(c.data); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the data folder is %v (%v), want it to be its owner's alone", info.Mode(), err)
	}
	secret := s.firstSecret(t)
	printed := s.Stdout.String()
	if n := strings.Count(printed, secret); n != 1 {
		t.Errorf("the secret is printed %d times:\n%s", n, printed)
	}
	digest := s.push(t, "acme/hello", secret)

	var list tokenList
	readJSON(t, c.do(t, "token", "list", "acme", "--json"), &list)
	if len(list.Tokens) != 1 || list.Tokens[0].Label != "quickstart" || list.Tokens[0].LastUsedAt.IsZero() {
		t.Fatalf("the tokens are %+v, want one that was used", list.Tokens)
	}
	expires, err := time.Parse(time.RFC3339Nano, list.Tokens[0].ExpiresAt)
	left := expires.Sub(list.Tokens[0].CreatedAt)
	if err != nil || left < 30*24*time.Hour-time.Minute || left > 30*24*time.Hour {
		t.Errorf("the token works for %v, want 30 days", left)
	}
	id := list.Tokens[0].ID.String()
	for _, command := range []string{
		"docker login --username acme --password-stdin " + s.addr + "\n",
		"docker push " + s.addr + "/acme/hello\n",
		" --data " + c.data + " token deactivate acme " + id + " --as alice\n",
	} {
		if !strings.Contains(printed, command) {
			t.Errorf("the first start printed\n%s\nwant %q in it", printed, command)
		}
	}
	s.stop(t, syscall.SIGTERM)

	again := c.serve(t)
	if again.Stdout.String() != "" {
		t.Errorf("a restart printed %q", again.Stdout)
	}
	if got, err := crane.Digest(again.addr+"/acme/hello", as(secret)); err != nil || got != digest {
		t.Errorf("after a restart the image is %s (%v), want %s", got, err, digest)
	}
	c.do(t, "token", "deactivate", "acme", id, "--as", "alice") // as was printed
	untilSecretRefused(t, again, secret)
	if _, err := crane.Digest(again.addr+"/acme/hello", as(secret)); err == nil {
		t.Error("a revoked token pulls")
	}
	again.stop(t, os.Interrupt)

	// Closing wrote down the refused attempt too, which is no first use.
	readJSON(t, c.do(t, "token", "list", "acme", "--json"), &list)
	if list.Tokens[0].Refused.Count == 0 || list.Tokens[0].Refused.Cause != "inactive" {
		t.Errorf("the refused attempt is recorded as %+v", list.Tokens[0].Refused)
	}
	if text := c.do(t, "token", "show", "acme", id); !strings.Contains(text, "because: inactive") {
		t.Errorf("show says %s, want the refused attempt in it", text)
	}
}

// TestRestartRegistersNothing: only an empty data folder is begun with acme.
func TestRestartRegistersNothing(t *testing.T) {
	c := shell{filepath.Join(t.TempDir(), "data")}
	c.do(t, "org", "register", "globex", "--plan", "team", "--owner", "hank")
	s := c.serve(t)
	s.stop(t, syscall.SIGTERM)
	if s.Stdout.String() != "" {
		t.Errorf("the start printed %q", s.Stdout)
	}
	c.refuse(t, cli.Refused, []string{"token", "list", "acme"}, "not found")
}

// TestCrane drives the registry as crane does: push, pull, copy, list tags; delete is
// refused, and so is everything outside the organization.
func TestCrane(t *testing.T) {
	c := registered(t)
	secret := c.generate(t, "acme", "all", "--all", "read-write").secret
	reader := c.generate(t, "acme", "reader", "--repo", "api=read").secret
	s := c.serve(t)
	api, web := s.addr+"/acme/api", s.addr+"/acme/web"
	digest := s.push(t, "acme/api:v1", secret)

	image, err := crane.Pull(api+":v1", as(reader))
	if err != nil {
		t.Fatal(err)
	}
	if pulled, err := image.Digest(); err != nil || pulled.String() != digest {
		t.Errorf("pulled %s (%v), want %s", pulled, err, digest)
	}
	if err := crane.Copy(api+":v1", web+":v2", as(secret)); err != nil {
		t.Errorf("copy: %v", err)
	}
	if tags, err := crane.ListTags(web, as(secret)); err != nil || !slices.Equal(tags, []string{"v2"}) {
		t.Errorf("the tags are %v (%v)", tags, err)
	}

	for what, refused := range map[string]struct {
		err  error
		with string
	}{
		"delete with read and write": {crane.Delete(api+"@"+digest, as(secret)), "UNSUPPORTED: nothing can be deleted from this registry"},
		"push with read":             {crane.Push(image, api+":v3", as(reader)), "DENIED: this token may pull acme/api, not push"},
		"push to another repository": {crane.Push(image, web+":v3", as(reader)), "403"}, // to a HEAD, which has no words
		"push to another's":          {crane.Push(image, s.addr+"/globex/api:v1", as(secret)), "403"},
		"pull another repository":    {second(crane.Pull(web+":v2", as(reader))), "DENIED: this token may not pull acme/web"},
		"pull what there is not":     {second(crane.Pull(s.addr+"/acme/none:v2", as(reader))), "DENIED: this token may not pull acme/none"},
		"pull another's":             {second(crane.Pull(s.addr+"/globex/api:v1", as(secret))), "DENIED: this token may not pull globex/api"},
		"pull without logging in":    {second(crane.Pull(api + ":v1")), "UNAUTHORIZED"},
		"pull with a made-up secret": {second(crane.Pull(api+":v1", as("oat_made-up"))), "UNAUTHORIZED"},
		"list all repositories":      {second(crane.Catalog(s.addr, as(secret))), "DENIED: access tokens do not list the repositories of a registry"},
	} {
		if refused.err == nil || !strings.Contains(refused.err.Error(), refused.with) {
			t.Errorf("%s: %v, want %q", what, refused.err, refused.with)
		}
	}
	if _, err := crane.Digest(api+":v1", as(secret)); err != nil {
		t.Errorf("after the delete was refused the image is gone: %v", err)
	}

	// What a token opens can change under a client that is logged in.
	var list tokenList
	readJSON(t, c.do(t, "token", "list", "acme", "--json"), &list)
	writing, _ := s.bearer(t, "acme", secret, "repository:acme/api:pull,push")
	c.do(t, "token", "edit", "acme", list.Tokens[0].ID.String(), "--as", "alice", "--all", "read")
	untilRefused(t, s, writing)
	if err := crane.Push(image, api+":v4", as(secret)); err == nil {
		t.Error("a token that was made read-only pushes")
	}
	if _, err := crane.Pull(api+":v1", as(secret)); err != nil {
		t.Errorf("a token that was made read-only does not pull: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestPublicRepositories: a public repository is pulled without logging in and with
// a token for public repositories, which opens nothing else.
func TestPublicRepositories(t *testing.T) {
	c := registered(t)
	secret := c.generate(t, "acme", "all", "--all", "read-write").secret
	public := c.generate(t, "acme", "public", "--public").secret
	s := c.serve(t, "--public-repo", "acme/base")
	s.push(t, "acme/base:1", secret)
	s.push(t, "acme/api:1", secret)
	for _, options := range [][]crane.Option{nil, {as(public)}} {
		if _, err := crane.Pull(s.addr+"/acme/base:1", options...); err != nil {
			t.Errorf("a public repository is not pulled: %v", err)
		}
		if _, err := crane.Pull(s.addr+"/acme/api:1", options...); err == nil {
			t.Error("a private repository is pulled")
		}
	}
}

// TestPullLimit: manifests that are fetched count, all tokens of the organization
// together; asking with HEAD is free, and what is refused does not count.
//
// Fails if the limit stands before the guard.
func TestPullLimit(t *testing.T) {
	c := registered(t)
	pusher := c.generate(t, "acme", "pusher", "--all", "read-write").secret
	one := c.generate(t, "acme", "one", "--repo", "api=read").secret
	s := c.serve(t, "--pull-limit", "3/6h")
	digest := s.push(t, "acme/api:v1", pusher)
	s.push(t, "acme/web:v1", pusher)

	const api, web = "/v2/acme/api/manifests/v1", "/v2/acme/web/manifests/v1"
	both, _ := s.bearer(t, "acme", pusher, "repository:acme/api:pull repository:acme/web:pull")
	only, _ := s.bearer(t, "acme", one, "repository:acme/api:pull")
	for _, step := range []struct {
		bearer, method, path string
		status               int
		remaining            string
	}{
		{both, http.MethodHead, api, http.StatusOK, "3;w=21600"},
		{both, http.MethodGet, api, http.StatusOK, "2;w=21600"},
		{only, http.MethodGet, web, http.StatusForbidden, ""},
		{only, http.MethodGet, api, http.StatusOK, "1;w=21600"},
		{only, http.MethodGet, "/v2/acme/api/tags/list", http.StatusOK, ""},
		{both, http.MethodGet, web, http.StatusOK, "0;w=21600"},
		{both, http.MethodGet, api, http.StatusTooManyRequests, "0;w=21600"},
		{only, http.MethodGet, api, http.StatusTooManyRequests, "0;w=21600"},
		{only, http.MethodHead, api, http.StatusOK, "0;w=21600"},
	} {
		response := s.ask(t, step.method, step.path, step.bearer)
		header := response.Header
		if response.StatusCode != step.status || header.Get("ratelimit-remaining") != step.remaining {
			t.Errorf("%s %s: %d, %q left; want %d, %q", step.method, step.path, response.StatusCode, header.Get("ratelimit-remaining"), step.status, step.remaining)
		}
		if step.remaining != "" && (header.Get("ratelimit-limit") != "3;w=21600" || header.Get("docker-ratelimit-source") != "acme") {
			t.Errorf("%s %s: the headers are %v", step.method, step.path, header)
		}
		if wait, err := strconv.Atoi(header.Get("Retry-After")); step.status == http.StatusTooManyRequests && (err != nil || wait < 1 || wait > 21600) {
			t.Errorf("%s %s: try again after %q", step.method, step.path, header.Get("Retry-After"))
		}
	}
	// crane would wait and try again otherwise.
	never := crane.Option(func(o *crane.Options) { o.Remote = append(o.Remote, remote.WithRetryStatusCodes()) })
	if _, err := crane.Pull(s.addr+"/acme/api@"+digest, as(one), never); err == nil || !strings.Contains(err.Error(), "TOOMANYREQUESTS") {
		t.Errorf("crane is told %v", err)
	}
}

// TestNoPullLimit: without a limit there is nothing to tell.
func TestNoPullLimit(t *testing.T) {
	c := registered(t)
	secret := c.generate(t, "acme", "all", "--all", "read-write").secret
	s := c.serve(t)
	s.push(t, "acme/api:v1", secret)
	bearer, _ := s.bearer(t, "acme", secret, "repository:acme/api:pull")
	response := s.ask(t, http.MethodGet, "/v2/acme/api/manifests/v1", bearer)
	if response.StatusCode != http.StatusOK || response.Header.Get("ratelimit-limit") != "" {
		t.Errorf("%d with the headers %v", response.StatusCode, response.Header)
	}
}

// TestStopFinishesRequests: an upload that has begun when the server is told to stop
// is finished, while no new request is taken. With Close in place of Shutdown in drain
// it fails.
func TestStopFinishesRequests(t *testing.T) {
	c := registered(t)
	secret := c.generate(t, "acme", "all", "--all", "read-write").secret
	s := c.serve(t)
	bearer, _ := s.bearer(t, "acme", secret, "repository:acme/api:pull,push")
	location := s.ask(t, http.MethodPost, "/v2/acme/api/blobs/uploads/", bearer).Header.Get("Location")

	body, blob := io.Pipe()
	request, err := http.NewRequest(http.MethodPatch, location, body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+bearer)
	// So that the body is sent when the server reads it, and not before.
	request.Header.Set("Expect", "100-continue")
	client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: patience}}
	answered := make(chan int, 1)
	go func() {
		response, err := client.Do(request)
		if err != nil {
			t.Errorf("the upload: %v", err)
			answered <- 0
			return
		}
		response.Body.Close()
		answered <- response.StatusCode
	}()
	write(t, blob, []byte("the beginning, ")) // returns when it is on its way
	if err := s.process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waitUntilClosed(t, s.addr)
	write(t, blob, []byte("the end"))
	if err := blob.Close(); err != nil {
		t.Fatal(err)
	}
	if status := <-answered; status != http.StatusAccepted {
		t.Errorf("the upload was answered %d", status)
	}
	s.EndsWell(t)
}

func write(t *testing.T, to io.Writer, data []byte) {
	t.Helper()
	if _, err := to.Write(data); err != nil {
		t.Fatal(err)
	}
}

// waitUntilClosed returns when nobody listens on addr any more.
func waitUntilClosed(t *testing.T, addr string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("the server goes on listening")
		}
	}
}

// TestCannotStart: what keeps a server from starting is said in one line, by a
// process that ends.
func TestCannotStart(t *testing.T) {
	s := registered(t).serve(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	locked := filepath.Join(t.TempDir(), "locked")
	if err := os.Mkdir(locked, 0o500); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 && runtime.GOOS == "linux" {
		locked = "/sys/oatmill" // nearly nothing is forbidden to root, but to make something there
	}
	for name, test := range map[string]struct {
		data, addr string
		code       int
		word       string
	}{
		"port in use":        {s.data, s.addr, cli.Refused, s.addr},
		"no such address":    {s.data, "nonsense", cli.Usage, "nonsense"},
		"data is a file":     {file, "127.0.0.1:0", cli.Refused, file},
		"data below a file":  {filepath.Join(file, "data"), "127.0.0.1:0", cli.Refused, file},
		"data not permitted": {filepath.Join(locked, "data"), "127.0.0.1:0", cli.Refused, locked},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := clitest.Process(t, "--data", test.data, "--addr", test.addr)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			if code := exitCode(t, cmd.Run()); code != test.code {
				t.Errorf("it ended with %d, want %d", code, test.code)
			}
			oneClearLine(t, stderr.String(), test.word)
		})
	}
}

// TestSecretsAreNowhere: after a life of pushes, refusals and mistakes no secret, and
// no part of one, is in the data folder, in what the server logged at its most
// talkative, or in what commands said. A p.say(secret.Reveal()) in generate breaks it.
func TestSecretsAreNowhere(t *testing.T) {
	c := shell{filepath.Join(t.TempDir(), "data")}
	s := c.serve(t, "--verbose")
	secrets := []string{s.firstSecret(t)}
	said := ""
	for _, label := range []string{"one", "two"} {
		r := c.run("token", "generate", "acme", "--as", "alice", "--label", label, "--all", "read-write")
		secrets = append(secrets, strings.TrimSpace(r.stdout))
		said += r.stderr
	}
	for _, secret := range secrets {
		s.push(t, "acme/api:v1", secret)
		_, _ = s.bearer(t, "globex", secret, "repository:acme/api:pull") // refused, and logged
	}
	var list tokenList
	readJSON(t, c.do(t, "token", "list", "acme", "--json"), &list)
	for _, token := range list.Tokens {
		said += c.run("token", "deactivate", "acme", token.ID.String(), "--as", "alice").stderr
		// A mistake that people make.
		said += c.run("token", "show", "acme", token.ID.String(), secrets[0][:4]).stderr
	}
	for _, secret := range secrets {
		untilSecretRefused(t, s, secret)
	}
	said += c.do(t, "history", "acme") + c.do(t, "token", "list", "acme")
	s.stop(t, syscall.SIGTERM)
	if log := s.Stderr.String(); !strings.Contains(log, "verification refused") || !strings.Contains(log, "PATCH") {
		t.Fatalf("the server logged too little for this test to mean something:\n%s", log)
	}

	places := map[string][]byte{"the server's log": []byte(s.Stderr.String()), "what commands said": []byte(said)}
	err := filepath.WalkDir(c.data, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			places[path], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for place, data := range places {
		for _, secret := range secrets {
			if part := partOf(secret, data); part != "" {
				t.Errorf("%s holds %q of a secret", place, part)
			}
		}
	}
}

// partOf is a part of the secret that data holds, long enough to be there by no
// accident, "" when there is none.
func partOf(secret string, data []byte) string {
	const long = 10
	for i := len("oat_"); i+long <= len(secret); i++ {
		if bytes.Contains(data, []byte(secret[i:i+long])) {
			return secret[i : i+long]
		}
	}
	return ""
}
