package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/oatmill/oatmill/examples/internal/clitest"
)

func TestMain(m *testing.M) {
	clitest.AsProgram(main)
	code := m.Run()
	browsers.close()
	os.Exit(code)
}

// patience bounds every wait, on a machine however slow.
const patience = clitest.Patience

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serving is a server that runs.
type serving struct {
	*clitest.Server
	data      string
	url, host string
	stop      func()
}

var servingLine = regexp.MustCompile(`console: serving (\S+) from`)

// serve runs the program on an empty folder, in this process, until the test ends.
func serve(t testing.TB, args ...string) *serving {
	t.Helper()
	return serveIn(t, filepath.Join(t.TempDir(), "data"), args...)
}

func serveIn(t testing.TB, data string, args ...string) *serving {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	s := &serving{Server: clitest.NewServer(), data: data}
	s.stop = func() {
		stop()
		<-s.Ended
	}
	go func() {
		defer close(s.Ended)
		s.Code = run(ctx, append([]string{"--data", data, "--addr", "127.0.0.1:0"}, args...), s.Stdout, s.Stderr)
	}()
	t.Cleanup(func() {
		s.stop()
		if s.Code != 0 {
			t.Errorf("the server ended with %d: %s", s.Code, s.Stderr)
		}
	})
	s.began(t)
	return s
}

// began waits until the server listens.
func (s *serving) began(t testing.TB) {
	t.Helper()
	s.url = s.Await(t, s.Stderr, servingLine)
	_, s.host, _ = strings.Cut(s.url, "://")
}

// command runs another command of the program on the same folder.
func (s *serving) command(t testing.TB, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(context.Background(), append([]string{"--data", s.data}, args...), &stdout, &stderr); code != 0 {
		t.Fatalf("%q ended with %d: %s", args, code, stderr.String())
	}
	return stdout.String()
}

var (
	linkLine     = regexp.MustCompile(`(/sign-in/once/[A-Z0-9]+)`)
	passwordLine = regexp.MustCompile(`(?m)^\s*(?:PASSWORD=)?([A-Z2-7]{26})$`)
)

// password is that of alice, as the first start printed it.
func (s *serving) password(t testing.TB) string {
	t.Helper()
	return s.Await(t, s.Stdout, passwordLine)
}

// add makes an account and returns its password.
func (s *serving) add(t testing.TB, name string, args ...string) string {
	t.Helper()
	return passwordLine.FindStringSubmatch(s.command(t, append([]string{"user", "add", name}, args...)...))[1]
}

// client is a browser without a screen: it keeps cookies and follows nothing.
func (s *serving) client(t testing.TB) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	must(t, err)
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Timeout: patience}
}

// answer is a response and its body.
type answer struct {
	*http.Response
	text string
}

func send(t testing.TB, client *http.Client, request *http.Request) answer {
	t.Helper()
	response, err := client.Do(request)
	must(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must(t, err)
	return answer{response, string(body)}
}

func (s *serving) get(t testing.TB, client *http.Client, path string) answer {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, s.url+path, nil)
	must(t, err)
	return send(t, client, request)
}

func (s *serving) post(t testing.TB, client *http.Client, path string, form url.Values) answer {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, s.url+path, strings.NewReader(form.Encode()))
	must(t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return send(t, client, request)
}

// is demands a status.
func (a answer) is(t testing.TB, status int) answer {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%s %s: %s, want %d: %s", a.Request.Method, a.Request.URL.Path, a.Status, status, a.text)
	}
	return a
}

// scripted is somebody who uses the API.
type scripted struct {
	*serving
	t      testing.TB
	client *http.Client
	bearer string
}

// script signs somebody in to the API.
func (s *serving) script(t testing.TB, name, password string) *scripted {
	t.Helper()
	c := &scripted{serving: s, t: t, client: http.DefaultClient}
	c.signIn(name, password)
	return c
}

func (c *scripted) signIn(name, password string) {
	c.t.Helper()
	var reply struct{ Token string }
	c.call(http.MethodPost, "/v2/users/login", map[string]string{"username": name, "password": password}, http.StatusOK, &reply)
	c.bearer = reply.Token
}

// call sends one request to the API and reads the answer.
func (c *scripted) call(method, path string, body any, status int, into any) {
	c.t.Helper()
	encoded, err := json.Marshal(body)
	must(c.t, err)
	request, err := http.NewRequest(method, c.url+path, bytes.NewReader(encoded))
	must(c.t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+c.bearer)
	got := send(c.t, c.client, request).is(c.t, status)
	if into != nil {
		must(c.t, json.Unmarshal([]byte(got.text), into))
	}
}

// made is a token of acme.
type made struct {
	ID       string
	Secret   string `json:"token"`
	IsActive bool   `json:"is_active"`
	LastUsed string `json:"last_used_at"`
}

// generate makes a token that reaches all of acme's repositories.
func (c *scripted) generate(label string, expires time.Time) (token made) {
	c.t.Helper()
	body := map[string]any{"label": label, "resources": []any{map[string]any{
		"type": "TYPE_REPO", "path": "acme/*", "scopes": []string{"scope-image-pull", "scope-image-push"},
	}}}
	if !expires.IsZero() {
		body["expires_at"] = expires.UTC().Format(time.RFC3339Nano)
	}
	c.call(http.MethodPost, "/v2/orgs/acme/access-tokens", body, http.StatusCreated, &token)
	return token
}

// docker is the docker command line with a configuration of its own. It needs no engine
// to log in.
type docker struct {
	program string
	config  string
}

func newDocker(t *testing.T) docker {
	t.Helper()
	program, err := exec.LookPath("docker")
	if err != nil {
		clitest.Missing(t, "docker is not on PATH: put the docker command line there (https://download.docker.com/linux/static/stable/); no engine is needed")
	}
	return docker{program, t.TempDir()}
}

// paste runs a docker command as it is written, with a password on its standard input.
func (d docker) paste(command, password string) (string, bool) {
	words := append(strings.Fields(command)[1:], "--password-stdin")
	cmd := exec.Command(d.program, words...)
	cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+d.config)
	cmd.Stdin = strings.NewReader(password)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

// push pushes a small image with a secret.
func (s *serving) push(name, secret string) error {
	image, err := random.Image(1024, 2)
	if err != nil {
		return err
	}
	if err := crane.Push(image, s.host+"/"+name, crane.WithAuth(&authn.Basic{Username: "acme", Password: secret})); err != nil {
		return fmt.Errorf("push %s: %w", name, err)
	}
	return nil
}

// as is crane's option to be logged in as acme with a secret.
func as(secret string) crane.Option {
	return crane.WithAuth(&authn.Basic{Username: "acme", Password: secret})
}
