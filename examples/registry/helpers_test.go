package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/oatmill/oatmill/examples/internal/cli"
	"github.com/oatmill/oatmill/examples/internal/clitest"
	"github.com/oatmill/oatmill/examples/internal/site"
)

func TestMain(m *testing.M) {
	clitest.AsProgram(main)
	os.Exit(m.Run())
}

// patience bounds every wait, on a machine however slow.
const patience = clitest.Patience

// result is how a command line ended.
type result struct {
	code           int
	stdout, stderr string
}

// shell is the command line on one data folder.
type shell struct{ data string }

// run runs the program in this process. It is the whole program but for main.
func (c shell) run(args ...string) result {
	var stdout, stderr bytes.Buffer
	code := run(context.Background(), append([]string{"--data", c.data}, args...), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// do runs what must succeed, and returns what it wrote to standard output.
func (c shell) do(t *testing.T, args ...string) string {
	t.Helper()
	r := c.run(args...)
	if r.code != cli.Done {
		t.Fatalf("%q ended with %d: %s", args, r.code, r.stderr)
	}
	return r.stdout
}

// refuse runs what must end with a code and one line that holds every word.
func (c shell) refuse(t *testing.T, code int, args []string, words ...string) {
	t.Helper()
	r := c.run(args...)
	if r.code != code || r.stdout != "" {
		t.Errorf("%q ended with %d and wrote %q, want %d and nothing", args, r.code, r.stdout, code)
	}
	oneClearLine(t, r.stderr, words...)
}

func oneClearLine(t *testing.T, stderr string, words ...string) {
	t.Helper()
	if !strings.HasPrefix(stderr, "registry: ") || strings.Count(stderr, "\n") != 1 || !strings.HasSuffix(stderr, "\n") {
		t.Errorf("standard error is %q, want one line that begins with the program's name", stderr)
	}
	for _, word := range words {
		if !strings.Contains(stderr, word) {
			t.Errorf("standard error is %q, want %q in it", stderr, word)
		}
	}
}

// token is a token that the command line generated.
type token struct{ id, secret string }

// generate generates a token of acme, with a label of its own.
func (c shell) generate(t *testing.T, organization, label string, args ...string) token {
	t.Helper()
	out := c.do(t, append([]string{"token", "generate", organization, "--as", "alice", "--label", label}, args...)...)
	var list tokenList
	readJSON(t, c.do(t, "token", "list", organization, "--json"), &list)
	for _, listed := range list.Tokens {
		if listed.Label == label {
			return token{listed.ID.String(), strings.TrimSuffix(out, "\n")}
		}
	}
	t.Fatalf("the generated token %q is not in the list", label)
	return token{}
}

func readJSON(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}

// registered is a data folder with the organization acme on plan team, owner alice.
func registered(t *testing.T) shell {
	t.Helper()
	c := shell{filepath.Join(t.TempDir(), "data")}
	c.do(t, "org", "register", "acme", "--plan", "team", "--owner", "alice")
	return c
}

// serving is a server in a process of its own.
type serving struct {
	*clitest.Server
	shell
	addr    string
	process *os.Process
}

var servingLine = regexp.MustCompile(`registry: serving http://(\S+) from`)

// serve starts a server on a free port and waits until it listens.
func (c shell) serve(t *testing.T, args ...string) *serving {
	t.Helper()
	server, process := clitest.Start(t, append([]string{"--data", c.data, "--addr", "127.0.0.1:0", "serve"}, args...)...)
	s := &serving{Server: server, shell: c, process: process}
	s.addr = s.Await(t, s.Stderr, servingLine)
	return s
}

// stop sends a signal and demands that the server end well.
func (s *serving) stop(t *testing.T, signal os.Signal) {
	t.Helper()
	if err := s.process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	s.EndsWell(t)
}

var secretLine = regexp.MustCompile(`(?m)^\s*SECRET=(oat_[0-9A-Za-z]{32})$`)

// firstSecret is the secret that the first start printed.
func (s *serving) firstSecret(t *testing.T) string {
	t.Helper()
	return s.Await(t, s.Stdout, secretLine)
}

// bearer is a registry token for a scope, and the status of the answer.
func (s *serving) bearer(t *testing.T, organization, secret, scope string) (string, int) {
	t.Helper()
	query := url.Values{"service": {site.ServiceName}, "scope": {scope}}
	request, err := http.NewRequest(http.MethodGet, "http://"+s.addr+"/token?"+query.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth(organization, secret)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var reply struct{ Token string }
	if err := json.NewDecoder(response.Body).Decode(&reply); err != nil {
		t.Fatal(err)
	}
	return reply.Token, response.StatusCode
}

// ask sends one request with a bearer token and returns the answer without its body.
func (s *serving) ask(t *testing.T, method, path, bearer string) *http.Response {
	t.Helper()
	request, err := http.NewRequest(method, "http://"+s.addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+bearer)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	return response
}

// as is crane's option to be logged in as acme with a secret.
func as(secret string) crane.Option {
	return crane.WithAuth(&authn.Basic{Username: "acme", Password: secret})
}

// push pushes a small image and returns its digest.
func (s *serving) push(t *testing.T, name, secret string) string {
	t.Helper()
	image, err := random.Image(1024, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := crane.Push(image, s.addr+"/"+name, as(secret)); err != nil {
		t.Fatalf("push %s: %v", name, err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

// exitCode is how a process ended.
func exitCode(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return cli.Done
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	t.Fatal(err)
	return 0
}
