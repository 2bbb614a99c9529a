package oat

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
)

const (
	// logDelay is how long a refusal waits to be logged.
	logDelay = 50 * time.Millisecond
	// maxRefusals bounds how many wait. Beyond that they are counted; they are still
	// recorded as uses.
	maxRefusals = 1024
)

// refusal is what is logged of one refused attempt.
type refusal struct {
	ctx                              context.Context // for the values in it that a log handler looks for
	at                               int64
	level                            slog.Level
	cause                            string
	organization, address, userAgent string
	token                            uuid.UUID
}

// refusals are waiting to be logged. To log one takes longer than all the rest of a
// verification, and only attempts with a known secret are logged in production: how long
// a request takes would tell a known secret from an unknown one. Requests therefore only
// leave a refusal here, whether it will be logged or not, and all of them are logged a
// moment later, by a goroutine that no request waits for.
type refusals struct {
	mu        sync.Mutex
	waiting   []refusal
	notLogged refusal // where one is put that its level keeps out of the log
	dropped   int     // since the last that was logged
	due       bool    // whether the waiting will be logged without further ado

	logging sync.Mutex // held while refusals are logged, one batch after the other
}

// logRefusal has a refusal logged. It takes the same time for a known and for an unknown
// secret.
func (v *Verifier) logRefusal(ctx context.Context, level slog.Level, cause string, a *Attempt, token uuid.UUID) {
	logged := v.cfg.Logger.Enabled(ctx, level)
	if !logged && (cause != causeUnknown || !v.cfg.Logger.Enabled(ctx, slog.LevelInfo)) {
		return
	}
	r := refusal{ctx, v.clock.read(), level, cause, a.Organization, a.Address, a.UserAgent, token}
	w := &v.refusals
	w.mu.Lock()
	switch {
	case !logged:
		w.notLogged = r
	case len(w.waiting) == maxRefusals:
		w.dropped++
	default:
		w.waiting = append(w.waiting, r)
	}
	begin := !w.due
	w.due = true
	w.mu.Unlock()
	if begin {
		time.AfterFunc(logDelay, v.FlushLog)
	}
}

// FlushLog logs the refusals that are not logged yet, which otherwise happens within a
// fraction of a second. A host calls it before it ends.
func (v *Verifier) FlushLog() {
	w := &v.refusals
	w.logging.Lock()
	defer w.logging.Unlock()
	w.mu.Lock()
	waiting, dropped := w.waiting, w.dropped
	w.waiting, w.notLogged, w.dropped, w.due = nil, refusal{}, 0, false
	w.mu.Unlock()
	for i := range waiting {
		waiting[i].log(v.cfg.Logger.Handler())
	}
	if dropped > 0 {
		v.cfg.Logger.Warn("refused verifications were not logged, there were too many", slog.Int("count", dropped))
	}
}

func (r *refusal) log(handler slog.Handler) {
	record := slog.NewRecord(time.Unix(0, r.at), r.level, "verification refused", 0)
	record.AddAttrs(slog.String("cause", r.cause),
		slog.String("organization", loggable(r.organization)), slog.String("token", r.token.String()),
		slog.String("address", clip(useText(bounded(r.address)))), slog.String("user_agent", clip(useText(bounded(r.userAgent)))))
	_ = handler.Handle(r.ctx, record) // as slog.Logger does
}

// loggable returns a user name as it may be logged. A client that mixes up user name and
// password sends a secret as the one or the other, so only what can be a name is shown.
func loggable(organization string) string {
	if organization == "" || OrganizationProblem(organization) == "" {
		return organization
	}
	return "[no organization's name]"
}
