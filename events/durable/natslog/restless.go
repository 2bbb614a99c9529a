package natslog

import (
	"errors"
	"sync"
	"time"
)

// restless moves the log's own connection to another server when this one gets nothing
// done for long. A server that is cut off from its cluster keeps its clients, answers
// their pings, and can do nothing for them; they would stay until it is back.
type restless struct {
	log *Log

	mu    sync.Mutex
	since time.Time // of the trouble there is, zero while there is none
}

// note takes in the outcome of a try. Trouble is what waiting may mend.
func (r *restless) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch now := time.Now(); {
	case !errors.Is(err, errAgain) && !errors.Is(err, errUnsure):
		r.since = time.Time{}
	case r.since.IsZero():
		r.since = now
	case now.Sub(r.since) > r.log.cfg.RequestTimeout && r.log.owned:
		r.since = now
		r.log.cfg.Logger.Warn("the log tries another server", "stream", r.log.cfg.Stream, "server", r.log.nc.ConnectedUrlRedacted(), "error", err)
		_ = r.log.nc.ForceReconnect() // fails for a connection that is closed or broken already
	}
}
