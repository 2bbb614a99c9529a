//go:build linux

package pgserver_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events/durable/pgserver"
)

// childEnv makes the test binary start a server in the folder it names, say so, and
// wait for its own end.
const childEnv = "OATMILL_PGSERVER_CHILD"

func TestMain(m *testing.M) {
	dir := os.Getenv(childEnv)
	if dir == "" {
		os.Exit(m.Run())
	}
	s, err := pgserver.Start(context.Background(), pgserver.Config{Dir: dir})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(s.URL())
	select {}
}

// need skips, or fails on a machine for all checks, where there is no PostgreSQL.
func need(t testing.TB, err error) {
	t.Helper()
	switch {
	case errors.Is(err, pgserver.ErrNotFound) && os.Getenv("CI") == "":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
}

// takes tells whether somebody takes connections at the server's address.
func takes(t *testing.T, address string) bool {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", u.Host)
	if err == nil {
		_ = c.Close()
	}
	return err == nil
}

// pid is the number of the server's first process.
func pid(t *testing.T, dir string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(b), "\n")
	n, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// open is a temporary folder that every user can reach, unlike the testing package's.
func open(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "oatmill-pgserver-test-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestLife(t *testing.T) {
	dir := open(t)
	s, err := pgserver.Start(t.Context(), pgserver.Config{Dir: dir, Settings: map[string]string{"max_connections": "17"}})
	need(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	address := s.URL()
	for name, end := range map[string]func() error{"kill": s.Kill, "stop": s.Stop, "restart alone": func() error { return nil }} {
		before := pid(t, dir)
		if err := end(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if takes(t, address) != (name == "restart alone") {
			t.Errorf("after %s: the port is wrong", name)
		}
		if err := s.Restart(t.Context()); err != nil {
			t.Fatalf("after %s: %v", name, err)
		}
		if s.URL() != address || !takes(t, address) || pid(t, dir) == before {
			t.Errorf("after %s: not started again at %s", name, address)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.opts"))
	if err != nil || !strings.Contains(string(b), "max_connections=17") {
		t.Errorf("started with %s, %v", b, err)
	}
	if !strings.Contains(s.Log(), "automatic recovery") {
		t.Errorf("the kill was no crash: %s", s.Log())
	}
}

// TestClose leaves no process and no folder, and may be called twice.
func TestClose(t *testing.T) {
	t.Setenv("TMPDIR", open(t))
	s, err := pgserver.Start(t.Context(), pgserver.Config{})
	need(t, err)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if left, _ := os.ReadDir(os.TempDir()); len(left) > 0 || takes(t, s.URL()) {
		t.Errorf("left behind: %v", left)
	}
}

// TestParentDies has the parent killed without a chance to clean up.
//
// What breaks it: attributes without Pdeathsig.
func TestParentDies(t *testing.T) {
	dir := open(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		_ = cmd.Wait()
		_, err := pgserver.Start(t.Context(), pgserver.Config{Dir: filepath.Join(dir, "again")})
		need(t, err)
		t.Fatal("the child did not start a server")
	}
	server := pid(t, dir)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	// The server deletes its PID file last, when its folder is not in use any more.
	there := func() bool {
		_, err := os.Stat(filepath.Join(dir, "data", "postmaster.pid"))
		return err == nil
	}
	for began := time.Now(); there() || takes(t, lines.Text()); {
		if time.Since(began) > time.Minute {
			_ = syscall.Kill(server, syscall.SIGQUIT)
			t.Fatal("the server outlives its parent")
		}
	}
}

func TestStartRefuses(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "precious"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pgserver.Start(t.Context(), pgserver.Config{Dir: full}); err == nil || !strings.Contains(err.Error(), full) {
		if !errors.Is(err, pgserver.ErrNotFound) {
			t.Errorf("a folder with something in it: %v", err)
		}
	}
	_, err := pgserver.Start(t.Context(), pgserver.Config{Settings: map[string]string{"fsync": "perhaps"}})
	if err == nil || !strings.Contains(err.Error(), `parameter "fsync"`) && !errors.Is(err, pgserver.ErrNotFound) {
		t.Errorf("a wrong setting: %v", err)
	}
}

func TestFindForeign(t *testing.T) {
	t.Setenv(pgserver.Env, "postgres://somewhere/db")
	s, err := pgserver.Find(t.Context(), pgserver.Config{})
	if err != nil || s.URL() != "postgres://somewhere/db" || !s.Foreign() {
		t.Fatalf("%v, %v", s, err)
	}
	if err := s.Kill(); !errors.Is(err, pgserver.ErrForeign) {
		t.Errorf("kill: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}
