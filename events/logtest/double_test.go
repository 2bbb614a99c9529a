package logtest

import (
	"flag"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
)

// double is a test that may fail without failing the real one.
type double struct {
	testing.TB
	mu       sync.Mutex
	failures []string
	skipped  bool
}

func (d *double) fail(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failures = append(d.failures, what)
}

func (d *double) Failed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.failures) > 0
}

func (d *double) Helper()                   {}
func (d *double) Log(...any)                {}
func (d *double) Logf(string, ...any)       {}
func (d *double) Error(args ...any)         { d.fail(fmt.Sprint(args...)) }
func (d *double) Errorf(f string, a ...any) { d.fail(fmt.Sprintf(f, a...)) }
func (d *double) Fail()                     { d.fail("failed") }
func (d *double) FailNow()                  { d.fail("failed"); runtime.Goexit() }
func (d *double) Fatal(args ...any)         { d.Error(args...); runtime.Goexit() }
func (d *double) Fatalf(f string, a ...any) { d.Errorf(f, a...); runtime.Goexit() }
func (d *double) Skip(...any)               { d.skipped = true; runtime.Goexit() }

// catches tells how the case fails for the log of h, "" when it does not.
func catches(t *testing.T, c Case, h Harness) string {
	d := &double{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				d.fail(fmt.Sprint("panic: ", p))
			}
		}()
		c.run(d, h)
	}()
	<-done
	if d.skipped {
		t.Fatalf("%s: skipped", c.Name)
	}
	if !d.Failed() {
		return ""
	}
	return d.failures[0]
}

// quickRapid keeps rapid from shrinking and from writing down the failures that a
// test provokes.
func quickRapid(t *testing.T) {
	for name, value := range map[string]string{"rapid.nofailfile": "true", "rapid.shrinktime": "0s"} {
		was := flag.Lookup(name).Value.String()
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { flag.Set(name, was) })
	}
}

// Every case catches a fault that was made for it, and every case has one: a case
// that cannot fail says nothing. That the cases pass without a fault is what
// TestHandles shows.
func TestFaultsAreCaught(t *testing.T) {
	quickRapid(t)
	caught := make(map[string]bool)
	for _, f := range faults() {
		for _, name := range f.caughtBy {
			t.Run(f.name+"/"+name, func(t *testing.T) {
				h := harness(f.plant)
				if f.hangs {
					h.patience = 50 * time.Millisecond
				}
				how := catches(t, caseNamed(t, name), h)
				if how == "" {
					t.Fatalf("a log in which %s passes", f.name)
				}
				t.Logf("caught: %.300s", how)
			})
			caught[name] = true
		}
	}
	for _, c := range Cases() {
		if !caught[c.Name] {
			t.Errorf("no fault shows that this case can fail: %s", c.Name)
		}
	}
}

// A harness that declares a difference which its log does not have fails: without the
// case, a declaration would outlive its reason.
func TestNeedlessDeclarationIsCaught(t *testing.T) {
	h := harness(func(h *handle) events.Log { return h })
	h.IDsPerStream = true
	if catches(t, caseNamed(t, "an ID of another stream is a duplicate"), h) == "" {
		t.Error("a log that sees IDs of other streams passes with the declaration that it does not")
	}
}

func caseNamed(t *testing.T, name string) Case {
	for _, c := range Cases() {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("there is no case %q", name)
	return Case{}
}
