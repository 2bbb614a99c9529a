// Package clitest is what the tests of the examples' command lines have in common: the
// program in a process of its own, servers that run until a test ends them, and what they
// write meanwhile.
//
// The test binary is the program, too, so that nothing is built a second time. For that a
// TestMain begins with [AsProgram].
package clitest

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"testing"
	"time"
)

// Patience bounds every wait, on a machine however slow.
const Patience = 30 * time.Second

// asProgram in the environment makes the test binary the program itself.
const asProgram = "OATMILL_TEST_AS_PROGRAM"

// Missing skips a test where somebody tries it out who lacks what it needs, and fails it
// where all checks must have been made: where CI is set in the environment. how says in one
// line what is missing and how to get it.
func Missing(t testing.TB, how string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(how)
	}
	t.Skip(how)
}

// AsProgram calls main, which must not return, in a process that [Process] made.
func AsProgram(main func()) {
	if os.Getenv(asProgram) != "" {
		main()
	}
}

// Process is the program in a process of its own, which has not been started yet.
func Process(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	// A process with the race detector would otherwise sleep a second at its end.
	cmd.Env = append(os.Environ(), asProgram+"=1", "GORACE=atexit_sleep_ms=0")
	return cmd
}

// Output is what a program wrote so far. It may be written to and read at the same time.
type Output struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // told of every write
}

// NewOutput is one to which nothing was written.
func NewOutput() *Output { return &Output{more: make(chan struct{}, 1)} }

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.text.Write(p)
	select {
	case o.more <- struct{}{}:
	default:
	}
	return n, err
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Server is a server that runs, in a process of its own or in the test's.
type Server struct {
	Stdout, Stderr *Output
	Ended          chan struct{} // is closed when it has ended
	Code           int           // its exit code, once it has
}

// NewServer is for a server that the test runs itself, and whose end it notes.
func NewServer() *Server {
	return &Server{Stdout: NewOutput(), Stderr: NewOutput(), Ended: make(chan struct{})}
}

// Start starts a server in a process of its own. It is killed at the end of the test, if it
// has not ended by then.
func Start(t testing.TB, args ...string) (*Server, *os.Process) {
	t.Helper()
	s, cmd := NewServer(), Process(t, args...)
	cmd.Stdout, cmd.Stderr = s.Stdout, s.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.Ended)
		if err := cmd.Wait(); err != nil {
			s.Code = cmd.ProcessState.ExitCode()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has ended where a test stopped it
		<-s.Ended
	})
	return s, cmd.Process
}

// Await is what the first group of a pattern matches in one of the server's outputs, as
// soon as it has written that.
func (s *Server) Await(t testing.TB, in *Output, pattern *regexp.Regexp) string {
	t.Helper()
	timeout := time.After(Patience)
	for {
		if line := pattern.FindStringSubmatch(in.String()); line != nil {
			return line[1]
		}
		select {
		case <-in.more:
		case <-s.Ended:
			t.Fatalf("the server ended with %d: %s", s.Code, s.Stderr)
		case <-timeout:
			t.Fatalf("the server did not write %v, but: %s", pattern, in)
		}
	}
}

// EndsWell waits until the server, which was asked to, has ended, and demands that it says
// it has done so as it should.
func (s *Server) EndsWell(t testing.TB) {
	t.Helper()
	select {
	case <-s.Ended:
	case <-time.After(Patience):
		t.Fatal("the server does not end")
	}
	if s.Code != 0 {
		t.Fatalf("the server ended with %d: %s", s.Code, s.Stderr)
	}
}
