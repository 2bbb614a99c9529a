package oat

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// slowHandler is a log handler that waits before each line until it may go on.
type slowHandler struct {
	mu    sync.Mutex
	lines []string
	goOn  chan struct{}
}

func (h *slowHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}
func (h *slowHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h *slowHandler) WithGroup(string) slog.Handler      { return h }

func (h *slowHandler) Handle(_ context.Context, r slog.Record) error {
	<-h.goOn
	h.mu.Lock()
	defer h.mu.Unlock()
	line := fmt.Sprintf("%d %s", r.Time.Unix(), r.Message)
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	h.lines = append(h.lines, line)
	return nil
}

// slowlyLogged is a verifier whose only known secret does not open, with a log that waits.
func slowlyLogged(t *testing.T) (*Verifier, *slowHandler, Attempt) {
	handler := &slowHandler{goOn: make(chan struct{})}
	now := time.Unix(1_700_000_000, 0)
	f := newFleet(t, 1, VerifierConfig{Now: func() time.Time { return now }, Logger: slog.New(handler)})
	f.verifier.Confirm(now)
	digest := f.attempts[0].Secret.digest()
	f.verifier.digests.byDigest(&digest).active = false
	return f.verifier, handler, f.attempts[0]
}

// A request does not wait for the log: a refusal is logged afterwards, with the time at
// which it happened, by itself and before FlushLog returns. Fails if logRefusal logs: it
// never returns then.
func TestRefusalIsLoggedOffTheRequest(t *testing.T) {
	v, handler, attempt := slowlyLogged(t)
	attempt.Address, attempt.UserAgent = "192.0.2.1", "docker\u202e/29 "+attempt.Secret.Reveal()
	if _, err := v.Verify(t.Context(), attempt); err != ErrRefused {
		t.Fatalf("refused with %v", err)
	}
	handler.goOn <- struct{}{} // the log is written to by itself
	if _, err := v.Verify(t.Context(), attempt); err != ErrRefused {
		t.Fatalf("refused with %v", err)
	}
	close(handler.goOn)
	v.FlushLog()
	want := fmt.Sprintf("1700000000 verification refused cause=inactive organization=org-000000 token=%s address=192.0.2.1 user_agent=docker/29 oat_[redacted]",
		v.tokenOf(attempt.Secret))
	if len(handler.lines) != 2 || handler.lines[0] != want || handler.lines[1] != want {
		t.Errorf("logged %q, want %q twice", handler.lines, want)
	}
}

func (v *Verifier) tokenOf(s Secret) string {
	digest := s.digest()
	return v.digests.byDigest(&digest).token.String()
}

// A log that does not keep up loses lines and says how many; the memory for them is bounded.
// Fails if logRefusal does not look at maxRefusals.
func TestRefusalsOfASlowLogAreCounted(t *testing.T) {
	v, handler, attempt := slowlyLogged(t)
	for range maxRefusals + 7 {
		if _, err := v.Verify(t.Context(), attempt); err != ErrRefused {
			t.Fatalf("refused with %v", err)
		}
	}
	v.refusals.mu.Lock()
	waiting := len(v.refusals.waiting)
	v.refusals.mu.Unlock()
	if waiting > maxRefusals {
		t.Errorf("%d refusals wait", waiting)
	}
	close(handler.goOn)
	v.FlushLog()
	// What was logged by itself in between made room.
	logged, counted := 0, 0
	for _, line := range handler.lines {
		var n int
		if at := strings.Index(line, "count="); at >= 0 {
			if _, err := fmt.Sscanf(line[at:], "count=%d", &n); err != nil {
				t.Error(err)
			}
			counted += n
		} else {
			logged++
		}
	}
	if logged+counted != maxRefusals+7 || logged < maxRefusals {
		t.Errorf("%d logged and %d counted", logged, counted)
	}
}

// How long a refusal takes does not tell a known secret from an unknown one: the medians
// are within 2 µs (measured by BenchmarkRefusal: 20 ns; 17 µs when requests wrote the log).
// Fails if logRefusal logs.
func TestRefusalsTakeTheSameTime(t *testing.T) {
	known, unknown := refusalTimes(t, 5000)
	if apart := (known - unknown).Abs(); apart > 2*time.Microsecond {
		t.Errorf("a known secret is refused in %v, an unknown one in %v", known, unknown)
	}
}
