package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/oatmill/oatmill/examples/internal/clitest"
)

// docker is the docker command line with a configuration of its own. It needs no
// engine for what these tests do.
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

// run runs docker and returns all it wrote, and whether it succeeded.
func (d docker) run(stdin string, args ...string) (string, bool) {
	cmd := exec.Command(d.program, args...)
	cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+d.config)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

// TestDocker drives the registry with the docker command line: log in, look at an
// image, log out; and the same when the token is revoked in between.
func TestDocker(t *testing.T) {
	d := newDocker(t)
	c := registered(t)
	good := c.generate(t, "acme", "laptop", "--all", "read-write")
	s := c.serve(t)
	digest := s.push(t, "acme/api:v1", good.secret)
	login := []string{"login", "--username", "acme", "--password-stdin", s.addr}
	inspect := []string{"manifest", "inspect", "--insecure", "--verbose", s.addr + "/acme/api:v1"}
	expect := func(ok bool, word, stdin string, args ...string) {
		t.Helper()
		if out, did := d.run(stdin, args...); did != ok || !strings.Contains(out, word) {
			t.Errorf("docker %s: success %t, want %t with %q; it wrote\n%s", args[0], did, ok, word, out)
		}
	}

	expect(false, "unauthorized", "", inspect...)
	expect(false, "incorrect username or password", "oat_madeup", login...)
	expect(false, "incorrect username or password", good.secret, "login", "--username", "globex", "--password-stdin", s.addr)
	expect(true, "Login Succeeded", good.secret, login...)
	expect(true, digest, "", inspect...)
	expect(true, "Removing login credentials", "", "logout", s.addr)
	expect(false, "unauthorized", "", inspect...)

	expect(true, "Login Succeeded", good.secret, login...)
	bearer := loggedIn(t, s, good.secret)
	c.do(t, "token", "deactivate", "acme", good.id, "--as", "alice")
	untilRefused(t, s, bearer)
	expect(false, "unauthorized", "", inspect...)
	expect(false, "incorrect username or password", good.secret, login...)
}
