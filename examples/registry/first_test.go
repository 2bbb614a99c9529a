package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/oatmill/oatmill/events/durable/sqlitelog"
	"github.com/oatmill/oatmill/examples/internal/site"
	"github.com/oatmill/oatmill/oat"
)

// TestFirstStartIsFinished: a first start that was killed after it had registered acme
// goes on with the token. It fails when a log that holds anything counts as begun.
func TestFirstStartIsFinished(t *testing.T) {
	c := shell{filepath.Join(t.TempDir(), "data")}
	if err := os.Mkdir(c.data, 0o700); err != nil {
		t.Fatal(err)
	}
	log, err := sqlitelog.Open(t.Context(), site.Folder(c.data).Log(), sqlitelog.Config{})
	if err != nil {
		t.Fatal(err)
	}
	service, err := oat.New(oat.Config{Log: log})
	if err == nil {
		err = service.Register(t.Context(), oat.Actor{Host: "serve"}, oat.Register{Organization: firstOrganization, Plan: firstPlan, Owners: []string{firstOwner}})
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	s := c.serve(t)
	s.stop(t, syscall.SIGTERM)
	if !strings.Contains(s.Stdout.String(), "SECRET=oat_") {
		t.Errorf("the start printed %q, want a secret", s.Stdout)
	}
}
