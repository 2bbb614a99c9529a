package main

import (
	"database/sql"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/oatmill/oatmill/examples/internal/site"
)

// health is what /healthz and /readyz answer.
type health struct {
	code          int
	Status        string
	Delay         *float64 `json:"follow_delay_ms"`
	Verify, Write struct {
		OK     bool
		Reason string
		Since  time.Time
	}
}

func (s *serving) health(t *testing.T, path string) health {
	t.Helper()
	response, err := http.Get("http://" + s.addr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	h := health{code: response.StatusCode}
	if err := json.NewDecoder(response.Body).Decode(&h); err != nil {
		t.Fatal(err)
	}
	return h
}

// untilReady asks /readyz until it answers with a code. What is known of writing is found
// out again after two seconds.
func (s *serving) untilReady(t *testing.T, code int) health {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		if h := s.health(t, "/readyz"); h.code == code {
			return h
		} else if time.Now().After(deadline) {
			t.Fatalf("/readyz goes on answering %+v, want %d", h, code)
		}
	}
}

// TestHealth has a server that is up to date say so, how far behind it was, and that it can
// verify and write.
func TestHealth(t *testing.T) {
	s := registered(t).serve(t)
	for _, path := range []string{"/healthz", "/readyz"} {
		h := s.health(t, path)
		if h.code != http.StatusOK || h.Status != "ok" || h.Delay == nil || !h.Verify.OK || !h.Write.OK {
			t.Errorf("%s is %+v", path, h)
		}
	}
}

// TestReadyWhileLocked has another process lock the log: the server is not ready, says why,
// and goes on to verify, so that /healthz stays 200. When the lock is gone it is ready.
// Source: SQLite, "Result and Error Codes", SQLITE_BUSY.
//
// Fails if Ready does not wait for a probe, or if writing leaves out the one that is late.
func TestReadyWhileLocked(t *testing.T) {
	c := registered(t)
	secret := c.generate(t, "acme", "all", "--all", "read-write").secret
	s := c.serve(t)
	db, err := sql.Open("sqlite", site.Folder(c.data).Log()+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	lock, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	// Nothing was appended yet, so the first answer comes from a probe, which is late.
	h := s.health(t, "/readyz")
	if h.code != http.StatusServiceUnavailable || h.Status != "read only" || !h.Verify.OK || h.Write.OK || h.Write.Reason == "" {
		t.Errorf("/readyz is %+v", h)
	}
	if h := s.health(t, "/healthz"); h.code != http.StatusOK || !h.Verify.OK {
		t.Errorf("/healthz is %+v", h)
	}
	if _, code := s.bearer(t, "acme", secret, "repository:acme/api:pull"); code != http.StatusOK {
		t.Errorf("a good token is answered %d", code)
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	if h := s.untilReady(t, http.StatusOK); h.Status != "ok" {
		t.Errorf("/readyz is %+v", h)
	}
}
