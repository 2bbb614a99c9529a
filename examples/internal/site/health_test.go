package site

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
	"github.com/oatmill/oatmill/oat"
)

// A server that closed an organization, because its records are not the ones that were
// appended, says how many there are, and stays ready for the others. It names none of them.
// Fails if report leaves out the verifier's Closed.
func TestHealthCountsClosedOrganizations(t *testing.T) {
	log, err := sqlitelog.Open(t.Context(), filepath.Join(t.TempDir(), LogName), sqlitelog.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	envelope, err := events.NewEnvelope([16]byte{1}, time.Now(), "alice", &events.OrganizationRegistered{Plan: "team", Owners: []string{"alice"}})
	if err != nil {
		t.Fatal(err)
	}
	slippedIn, _ := events.Seal("organization/acme", events.Head{Hash: events.Hash{1}}, []events.Envelope{envelope})
	slippedIn[0].Position = 1
	verifier := oat.NewVerifier(oat.VerifierConfig{})
	if err := verifier.Apply(t.Context(), slippedIn); err != nil {
		t.Fatal(err)
	}
	verifier.Confirm(time.Now())
	health := NewHealth(verifier, Watch(log, slog.New(slog.DiscardHandler)))
	for path, serve := range map[string]http.HandlerFunc{"/healthz": health.Live, "/readyz": health.Ready} {
		w := httptest.NewRecorder()
		serve(w, httptest.NewRequest(http.MethodGet, path, nil))
		var got struct {
			Status string
			Closed int `json:"closed_organizations"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK || got.Status != "damaged" || got.Closed != 1 || strings.Contains(w.Body.String(), "acme") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}
