package site

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
	"github.com/oatmill/oatmill/oat"
)

const (
	// probeAfter is the age at which the last outcome of a write is out of date.
	probeAfter = 2 * time.Second
	// probeTimeout is how long /readyz waits for that.
	probeTimeout = time.Second
	// probeName is the checkpoint that a probe saves.
	probeName = "readyz"
)

// WatchedLog is a log that notes whether appends to it succeed. A probe finds out the same
// without an append: it saves a checkpoint, which takes the lock, the disk space and the
// fsync of an append, and adds no record.
type WatchedLog struct {
	*sqlitelog.Log
	logger *slog.Logger // receives the moments at which writing ends and begins again

	mu      sync.Mutex
	problem string        // why nothing can be written, "" when it can
	since   time.Time     // of the first failure after the last success
	noted   time.Time     // when that became known
	probe   chan struct{} // closed when the running probe ends, nil without one
}

// Watch returns a log of which nothing is known yet.
func Watch(log *sqlitelog.Log, logger *slog.Logger) *WatchedLog {
	return &WatchedLog{Log: log, logger: logger}
}

// Append is [events.Log.Append].
func (l *WatchedLog) Append(ctx context.Context, stream events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	records, err := l.Log.Append(ctx, stream, expected, batch...)
	l.note(err)
	return records, err
}

func (l *WatchedLog) note(err error) {
	problem, known := writeProblem(err)
	if !known {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noted = time.Now()
	switch {
	case problem != "" && l.problem == "":
		l.since = l.noted
		l.logger.Error("nothing can be written to the log, and commands are refused", "error", err)
	case problem == "" && l.problem != "":
		l.logger.Info("the log can be written again")
	}
	l.problem = problem
}

// writeProblem returns why nothing can be written to a log, in words for any client, and
// whether the outcome of an append says anything about that.
func writeProblem(err error) (problem string, known bool) {
	for refusal, problem := range map[error]string{
		events.ErrFull:     "the disk is full",
		events.ErrBusy:     "another process holds the log",
		events.ErrReadOnly: "the file or its file system is read-only",
		events.ErrClosed:   "the log is closed",
	} {
		if errors.Is(err, refusal) {
			return problem, true
		}
	}
	for _, refusal := range []error{events.ErrConflict, events.ErrDuplicate, events.ErrInvalid, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, refusal) {
			return "", false
		}
	}
	if err != nil {
		return "the log takes no writes", true
	}
	return "", true
}

// writing returns the outcome of the last write. If that is out of date, it starts a probe,
// and waits for its end if wait is set.
func (l *WatchedLog) writing(wait bool) check {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.noted) > probeAfter {
		if l.probe == nil {
			l.probe = make(chan struct{})
			go l.runProbe()
		}
		if probe := l.probe; wait {
			l.mu.Unlock()
			late := false
			select {
			case <-probe:
			case <-time.After(probeTimeout):
				late = true
			}
			l.mu.Lock()
			if late && l.problem == "" {
				return check{Reason: "the log takes no write in time"}
			}
		}
	}
	if l.problem != "" {
		return check{Reason: l.problem, Since: l.since.UTC()}
	}
	return check{OK: true}
}

func (l *WatchedLog) runProbe() {
	// A checkpoint never moves back, and the clock makes it move.
	l.note(l.SaveCheckpoint(context.Background(), probeName, events.Position(time.Now().UnixNano())))
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.probe)
	l.probe = nil
}

// Health answers /healthz and /readyz. Both report the same to any client: what the
// server can do, and for what it cannot do the reason, without names and paths.
type Health struct {
	verifier *oat.Verifier
	log      *WatchedLog
}

// NewHealth returns the health of a server that decides on log and verifies with verifier.
func NewHealth(verifier *oat.Verifier, log *WatchedLog) *Health { return &Health{verifier, log} }

// report is the body of an answer.
type report struct {
	Status      string  `json:"status"` // "ok", "stale", "read only" or "damaged"
	FollowDelay float64 `json:"follow_delay_ms"`
	Verify      check   `json:"verify"`
	Write       check   `json:"write"`
	// Closed is how many organizations are closed, because their records in the log are not
	// the ones that were appended. The others are served. Names and causes are in the
	// server's own log.
	Closed int `json:"closed_organizations"`
}

// check is one thing that a server can do or not.
type check struct {
	OK     bool      `json:"ok"`
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since,omitzero"`
}

// Live answers /healthz: 200 while the process follows the log and so can verify. It never
// waits. A server that cannot write is not to be restarted for it.
func (h *Health) Live(w http.ResponseWriter, _ *http.Request) {
	report := h.report(false)
	answer(w, report, report.Verify.OK)
}

// Ready answers /readyz: 200 while the server can verify and carry out commands.
func (h *Health) Ready(w http.ResponseWriter, _ *http.Request) {
	report := h.report(true)
	answer(w, report, report.Verify.OK && report.Write.OK)
}

func (h *Health) report(wait bool) report {
	status := h.verifier.Status()
	r := report{
		Status: "ok", FollowDelay: float64(status.FollowDelay) / float64(time.Millisecond),
		Verify: verifying(status), Write: h.log.writing(wait), Closed: len(status.Closed),
	}
	switch {
	case !r.Verify.OK:
		r.Status = "stale"
	case !r.Write.OK:
		r.Status = "read only"
	case r.Closed > 0:
		r.Status = "damaged"
	}
	return r
}

// verifying returns whether a verifier can distinguish good tokens from revoked ones. What
// keeps a part of the tokens from being verified belongs here, too.
func verifying(status oat.VerifierStatus) check {
	if status.Stale {
		return check{Reason: "the end of the log has not been read for too long, and every token is refused", Since: status.Confirmed.UTC()}
	}
	return check{OK: true}
}

func answer(w http.ResponseWriter, r report, ok bool) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	// The client has gone if this fails.
	_ = json.NewEncoder(w).Encode(r)
}
