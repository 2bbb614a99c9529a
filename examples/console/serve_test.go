package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/spf13/cobra"

	"github.com/oatmill/oatmill/examples/internal/clitest"
)

// process is the server in a process of its own.
func process(t *testing.T, data string, args ...string) (*serving, *os.Process) {
	t.Helper()
	server, process := clitest.Start(t, append([]string{"--data", data, "--addr", "127.0.0.1:0"}, args...)...)
	s := &serving{Server: server, data: data}
	s.began(t)
	return s, process
}

// TestRestart: SIGTERM stops the server cleanly, and a restart keeps everything: people,
// sessions, tokens and images; and it prints nothing a second time.
func TestRestart(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	s, process := process(t, data)
	password := s.password(t)
	browser := s.client(t)
	s.post(t, browser, "/sign-in", url.Values{"name": {"alice"}, "password": {password}}).is(t, http.StatusSeeOther)
	token := s.script(t, "alice", password).generate("kept", time.Time{})
	must(t, s.push("acme/api:v1", token.Secret))
	must(t, process.Signal(syscall.SIGTERM))
	s.EndsWell(t)
	if strings.Contains(s.Stderr.String(), password) {
		t.Errorf("the server says a password: %s", s.Stderr)
	}

	again := serveIn(t, data)
	if again.Stdout.String() != "" {
		t.Errorf("a restart printed %q", again.Stdout)
	}
	cookies := browser.Jar.Cookies(mustParse(t, s.url))
	browser.Jar.SetCookies(mustParse(t, again.url), cookies)
	if page := again.get(t, browser, "/orgs/acme/tokens").is(t, http.StatusOK); !strings.Contains(page.text, "kept") {
		t.Errorf("the list after a restart: %s", page.text)
	}
	if _, err := crane.Digest(again.host+"/acme/api:v1", as(token.Secret)); err != nil {
		t.Error(err)
	}
	again.script(t, "alice", password)
}

func mustParse(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	must(t, err)
	return u
}

// TestFirstStart: what is printed can be pasted, and everything is its owner's alone.
func TestFirstStart(t *testing.T) {
	s := serve(t)
	link := s.Await(t, s.Stdout, linkLine)
	printed := s.Stdout.String()
	for _, line := range []string{
		"    " + s.url + link + "\n", "    docker login --username acme " + s.host + "\n", "    docker push " + s.host + "/acme/hello\n",
		s.url + "/v2/users/login\n", "    PASSWORD=" + s.password(t) + "\n",
	} {
		if !strings.Contains(printed, line) {
			t.Errorf("the first start printed\n%s\nwant %q in it", printed, line)
		}
	}
	if strings.Count(printed, link) != 1 || strings.Contains(s.Stderr.String(), link) {
		t.Errorf("the link is printed more than once:\n%s%s", printed, s.Stderr)
	}
	for _, name := range []string{"", "accounts.db", "api.key", "keys.json"} {
		if info, err := os.Stat(filepath.Join(s.data, name)); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%q in the data folder: %v (%v)", name, info.Mode(), err)
		}
	}
}

// TestBothWays: what happens in the console holds for clients and scripts at once, and
// what they do shows in the console, each use within a second: a recordInterval of a
// minute shows the first one only. The API and the registry share /v2/ without a conflict,
// also for organizations called like its parts, which an API mounted at all of /v2/orgs/
// would not.
func TestBothWays(t *testing.T) {
	s := serve(t)
	browser, script := s.client(t), s.script(t, "alice", s.password(t))
	s.post(t, browser, "/sign-in", url.Values{"name": {"alice"}, "password": {s.password(t)}}).is(t, http.StatusSeeOther)
	token := script.generate("from a script", time.Time{})
	page := "/orgs/acme/tokens/" + token.ID
	if got := s.get(t, browser, page).is(t, http.StatusOK); !strings.Contains(got.text, "from a script") {
		t.Errorf("the console does not show what a script made: %s", got.text)
	}
	must(t, s.push("acme/api:v1", token.Secret))
	within(t, time.Second, "last used", func() bool {
		return strings.Contains(s.get(t, browser, page).text, "go-containerregistry")
	})
	pulled := time.Now()
	if _, err := crane.Digest(s.host+"/acme/api:v1", as(token.Secret)); err != nil {
		t.Fatal(err)
	}
	within(t, time.Second, "last used again", func() bool {
		var seen made
		script.call(http.MethodGet, "/v2/orgs/acme/access-tokens/"+token.ID, nil, http.StatusOK, &seen)
		last, err := time.Parse(time.RFC3339Nano, seen.LastUsed)
		return err == nil && last.After(pulled)
	})
	s.post(t, browser, page+"/deactivate", nil).is(t, http.StatusSeeOther)
	if err := s.push("acme/api:v2", token.Secret); err == nil {
		t.Error("a token pushed that was deactivated in the console")
	}
	var seen made
	if script.call(http.MethodGet, "/v2/orgs/acme/access-tokens/"+token.ID, nil, http.StatusOK, &seen); seen.IsActive || seen.LastUsed == "" {
		t.Errorf("the API shows %+v", seen)
	}
	for _, path := range []string{"/v2/orgs/api/tags/list", "/v2/orgs/acme/access-tokens/tags/list", "/v2/auditlogs/acme/manifests/v1", "/v2/"} {
		answer := s.get(t, http.DefaultClient, path).is(t, http.StatusUnauthorized)
		if answer.Header.Get("Docker-Distribution-Api-Version") == "" {
			t.Errorf("%s is not the registry's", path)
		}
	}
	s.get(t, http.DefaultClient, "/v2/openapi.json").is(t, http.StatusOK)
	s.get(t, http.DefaultClient, "/healthz").is(t, http.StatusOK)
}

// TestAddressesOfDockersAPIThatOursHasNot: what is no address of a registry is answered by the API, also
// where Docker's own has something that ours has not (Docker Hub API, version 2-beta). The registry would
// answer 401, and scripts would think that they must sign in again.
//
// Fails if mountRegistry hands every path below /v2/ to the registry.
func TestAddressesOfDockersAPIThatOursHasNot(t *testing.T) {
	s := serve(t)
	for _, path := range []string{
		"/v2/orgs/acme/members", "/v2/orgs/acme/members/alice", "/v2/orgs/acme/groups/dev/members", "/v2/orgs/acme/settings",
		"/v2/namespaces/acme/repositories", "/v2/namespaces/acme/repositories/api/tags", "/v2/namespaces/acme/repositories/api/tags/v1",
		"/v2/repositories/acme/api/", "/v2/access-tokens", "/v2/users/2fa-login", "/v2/user/", "/v2/invites/bulk", "/v2/scim/2.0/Users", "/v2/nonsense",
		"/v2/orgs/acme/access-tokens/1/2", "/v2/auditlogs/acme/actions",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete} {
			request, err := http.NewRequest(method, s.url+path, strings.NewReader("{}"))
			must(t, err)
			answer := send(t, http.DefaultClient, request).is(t, http.StatusNotFound)
			var body struct{ Detail, Message string }
			if err := json.Unmarshal([]byte(answer.text), &body); err != nil || !strings.Contains(body.Message, "not found") || answer.Header.Get("Docker-Distribution-Api-Version") != "" {
				t.Errorf("%s %s: %v %s", method, path, answer.Header, answer.text)
			}
		}
	}
}

// TestOwnCertificate: with --tls-dev it speaks HTTP/2 with a certificate that is kept, and
// cookies are bound to the host; docker logs in to it, on loopback.
func TestOwnCertificate(t *testing.T) {
	d := newDocker(t)
	s := serve(t, "--tls-dev")
	certificate, err := os.ReadFile(filepath.Join(s.data, "dev-cert.pem"))
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := s.client(t)
	client.Transport = transport
	answer := s.post(t, client, "/sign-in", url.Values{"name": {"alice"}, "password": {s.password(t)}}).is(t, http.StatusSeeOther)
	cookie := answer.Header.Get("Set-Cookie")
	for _, word := range []string{"__Host-oatmill=", "Path=/", "HttpOnly", "Secure", "SameSite=Lax"} {
		if !strings.Contains(cookie, word) {
			t.Errorf("the cookie is %q, want %s in it", cookie, word)
		}
	}
	if strings.Contains(cookie, "Domain") || answer.ProtoMajor != 2 {
		t.Errorf("the cookie is %q, by %s", cookie, answer.Proto)
	}
	if list := s.get(t, client, "/orgs/acme/tokens").is(t, http.StatusOK); !strings.Contains(list.text, "Access tokens") {
		t.Errorf("the list is %s", list.text)
	}
	script := scripted{serving: s, t: t, client: client}
	script.signIn("alice", s.password(t))
	token := script.generate("laptop", time.Time{})
	if out, ok := d.paste("docker login --username acme "+s.host, token.Secret); !ok {
		t.Errorf("docker login: %s", out)
	}
	s.stop()
	again := serveIn(t, s.data, "--tls-dev")
	if kept, err := os.ReadFile(filepath.Join(again.data, "dev-cert.pem")); err != nil || !bytes.Equal(kept, certificate) {
		t.Errorf("a restart made another certificate (%v)", err)
	}
}

// TestRefusals: what cannot work is refused in one line that says what and why.
func TestRefusals(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	folder := t.TempDir()
	file := filepath.Join(folder, "file")
	must(t, os.WriteFile(file, []byte("no certificate"), 0o600))
	open := filepath.Join(folder, "open")
	must(t, os.Mkdir(open, 0o755))
	for _, c := range []struct {
		args  string
		code  int
		words []string
	}{
		{"--addr " + taken.Addr().String(), 1, []string{"address already in use", "--addr"}},
		{"--data " + file, 1, []string{"data folder", file}},
		{"--data " + open, 1, []string{open, "chmod 700"}},
		{"--trusted-proxy proxy", 2, []string{"--trusted-proxy", "10.0.0.0/8"}},
		{"--addr 0.0.0.0:0", 2, []string{"plain HTTP", "--tls-cert", "--insecure-http"}},
		{"--addr :0", 2, []string{"plain HTTP"}},
		{"--tls-cert " + file, 2, []string{"--tls-key"}},
		{"--tls-cert " + file + " --tls-key " + file, 1, []string{"certificate", file}},
		{"--tls-dev --url http://hub.example.com", 2, []string{"https"}},
		{"--url hub.example.com", 2, []string{"--url"}},
		{"--public-repo acme", 2, []string{"ORG/REPO"}},
		{"user", 2, []string{"user"}},
		{"user add", 2, []string{"NAME"}},
		{"user add bob", 1, []string{"there is nothing in"}},
		{"user add host:console", 2, []string{"NAME", "host:"}},
		{"user add " + strings.Repeat("x", 400), 2, []string{"NAME", "400"}},
		{"user add al\u202eice", 2, []string{"NAME", "U+202E"}},
		{"user add bob --owns Acme!", 2, []string{"--owns"}},
		{"user reset host:console", 2, []string{"NAME"}},
		{"nonsense", 2, []string{"nonsense"}},
	} {
		args := append([]string{"--data", filepath.Join(folder, "data"), "--addr", "127.0.0.1:0"}, strings.Fields(c.args)...)
		if strings.HasPrefix(c.args, "user") {
			args = append([]string{"--data", filepath.Join(t.TempDir(), "none")}, strings.Fields(c.args)...)
		}
		refuses(t, args, c.code, c.words)
	}
}

// TestNames: people are who they are by every spelling of their name, and what cannot be a
// name is wrong usage. Fails if accounts or cli.Arguments takes what it is given.
func TestNames(t *testing.T) {
	for _, name := range []string{"", " ", "\u200b", "a\nb", "a\xffb"} {
		for _, command := range []string{"add", "reset"} {
			refuses(t, []string{"--data", filepath.Join(t.TempDir(), "none"), "user", command, name}, 2, []string{"NAME"})
		}
	}
	s := serve(t)
	password := s.add(t, " Jose\u0301 ", "--owns", " acme ")
	for _, name := range []string{"Jos\u00e9", "Jose\u0301", " Jos\u00e9"} {
		browser := s.client(t)
		s.post(t, browser, "/sign-in", url.Values{"name": {name}, "password": {password}}).is(t, http.StatusSeeOther)
		if page := s.get(t, browser, "/orgs/acme/organization").is(t, http.StatusOK); !strings.Contains(page.text, "<bdi>Jos\u00e9</bdi> <span class=\"sub inline\">you</span>") {
			t.Errorf("%+q sees %s", name, page.text)
		}
	}
}

func refuses(t *testing.T, args []string, code int, words []string) {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	var stdout, stderr bytes.Buffer
	got := run(ctx, args, &stdout, &stderr)
	line := stderr.String()
	if got != code || stdout.Len() > 0 || !strings.HasPrefix(line, "console: ") || strings.Count(line, "\n") != 1 {
		t.Errorf("%q ended with %d and said %q, want %d and one line", args, got, line, code)
	}
	for _, word := range words {
		if !strings.Contains(line, word) {
			t.Errorf("%q said %q, want %q in it", args, line, word)
		}
	}
}

// TestTaken: where another server has the address, nothing is touched.
func TestTaken(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	refuses(t, []string{"--data", data, "--addr", serve(t).host}, 1, []string{"address already in use"})
	if _, err := os.Stat(data); !os.IsNotExist(err) {
		t.Errorf("the data folder was made: %v", err)
	}
}

// TestExpiredCertificate: a certificate whose time is over is refused at the start, and
// not by every browser afterwards.
func TestExpiredCertificate(t *testing.T) {
	certificate, key, err := selfSigned([]string{"localhost"}, time.Now().Add(-devTTL-day))
	must(t, err)
	certFile, keyFile := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	must(t, os.WriteFile(certFile, certificate, 0o600))
	must(t, os.WriteFile(keyFile, key, 0o600))
	refuses(t, []string{"--data", filepath.Join(t.TempDir(), "data"), "--addr", "127.0.0.1:0", "--tls-cert", certFile, "--tls-key", keyFile}, 1, []string{certFile, "not now"})
}

// TestNobodyYet: on a log that others began without alice, the server says how somebody
// comes to an account.
func TestNobodyYet(t *testing.T) {
	s := serve(t)
	s.command(t, "user", "add", "bob", "--owns", "acme")
	s.stop()
	for _, file := range []string{"accounts.db", "accounts.db-wal", "accounts.db-shm"} {
		if err := os.Remove(filepath.Join(s.data, file)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	again := serveIn(t, s.data) // alice owns acme, so she is given another account
	if again.password(t) == s.password(t) {
		t.Error("the password is the old one")
	}
	if help := fmt.Sprint(again.command(t, "--help")); !strings.Contains(help, "/v2/orgs/") {
		t.Errorf("the help is %s", help)
	}
}

// TestDiscreet: at its most talkative, the registry tells no query and no secret.
// Without the formatter that cuts them, the log holds both.
func TestDiscreet(t *testing.T) {
	s, _ := process(t, filepath.Join(t.TempDir(), "data"), "--verbose")
	token := s.script(t, "alice", s.password(t)).generate("laptop", time.Time{})
	must(t, s.push("acme/x:v1", token.Secret))
	s.get(t, http.DefaultClient, "/v2/acme/x/tags/list?access_token="+token.Secret+"&last=hidden").is(t, http.StatusUnauthorized)
	misplaced := strings.ToLower(token.Secret)
	s.get(t, http.DefaultClient, "/v2/acme/"+misplaced+"/tags/list").is(t, http.StatusUnauthorized)
	within(t, patience, "a log of all requests", func() bool { return strings.Count(s.Stderr.String(), "/tags/list") > 1 })
	log := s.Stderr.String()
	for _, secret := range []string{token.Secret, misplaced, "hidden", "access_token"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log holds %q:\n%s", secret, log)
		}
	}
}

// TestStrictTransport: browsers are told to stay with HTTPS where they can, but not by a
// certificate of its own making.
func TestStrictTransport(t *testing.T) {
	for _, c := range []struct {
		want string
		args []string
	}{
		{"", nil},
		{"max-age=31536000", []string{"--url", "https://hub.example.com"}},
		{"", []string{"--url", "https://hub.example.com", "--tls-dev"}},
	} {
		p := &program{stdout: clitest.NewOutput(), stderr: clitest.NewOutput(), now: time.Now, data: filepath.Join(t.TempDir(), "data")}
		for path, want := range map[string]string{"/sign-in": c.want, "/": c.want, "/v2/": c.want} {
			if got := p.answer(t, path, c.args...).Header().Get("Strict-Transport-Security"); got != want {
				t.Errorf("with %q, %s says %q, want %q", c.args, path, got, want)
			}
		}
	}
}

// opened is a server with these flags, without a network.
func (p *program) opened(t testing.TB, args ...string) (s *server) {
	t.Helper()
	var options serveOptions
	flags := new(cobra.Command)
	options.flags(flags)
	must(t, flags.ParseFlags(args))
	must(t, options.check())
	if options.url == "" {
		options.url = "http://127.0.0.1:8080"
	}
	must(t, p.folder().Create(t.Context(), files(options), func() (err error) {
		s, err = p.newServer(t.Context(), options)
		return err
	}))
	t.Cleanup(func() { must(t, s.close()) })
	return s
}

// answer is that of a server with these flags.
func (p *program) answer(t *testing.T, path string, args ...string) *httptest.ResponseRecorder {
	t.Helper()
	recorder := httptest.NewRecorder()
	p.opened(t, args...).handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
	return recorder
}
