package testkit

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"testing"
)

// Child is the test binary in another process, for what one process cannot show. What it
// does there instead of running tests is up to its TestMain.
type Child struct {
	*exec.Cmd
	In  io.WriteCloser // its standard input
	Out *bufio.Scanner // its standard output, line by line
}

// StartChild starts a process whose environment has more entries, like "NAME=value". It is
// killed at the end of the test, if it has not ended by then.
func StartChild(t testing.TB, env ...string) *Child {
	t.Helper()
	c := &Child{Cmd: exec.Command(os.Args[0])}
	c.Env = append(os.Environ(), env...)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err == nil {
		c.In, err = c.StdinPipe()
	}
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	c.Out = bufio.NewScanner(out)
	t.Cleanup(func() { _ = c.Process.Kill() }) // which fails where it has ended
	return c
}

// Line is the next line the child prints.
func (c *Child) Line(t testing.TB) string {
	t.Helper()
	if !c.Out.Scan() {
		t.Fatalf("the other process has ended: %v", c.Wait())
	}
	return c.Out.Text()
}
