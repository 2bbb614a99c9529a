package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/oatmill/oatmill/examples/internal/cli"
	"github.com/oatmill/oatmill/examples/internal/clitest"
	"github.com/oatmill/oatmill/examples/internal/site"
)

// TestStartsOnFullDisk stops a server, fills its disk to the last byte, and starts it again:
// it verifies, says that it cannot write and why, and is ready when there is space again.
// Source: SQLite, "Result and Error Codes", SQLITE_FULL and SQLITE_IOERR_SHMSIZE.
//
// Fails if a start writes a key or JWKS file that is there, or if writeProblem does not know
// a full disk.
func TestStartsOnFullDisk(t *testing.T) {
	disk := clitest.SmallDisk(t)
	c := shell{filepath.Join(disk, "data")}
	first := c.serve(t)
	secret := first.firstSecret(t)
	first.stop(t, syscall.SIGTERM)
	free := clitest.Fill(t, disk)

	s := c.serve(t)
	if _, code := s.bearer(t, "acme", secret, "repository:acme/api:pull"); code != http.StatusOK {
		t.Errorf("a good token is answered %d", code)
	}
	h := s.untilReady(t, http.StatusServiceUnavailable)
	if h.Status != "read only" || !h.Verify.OK || h.Write.Reason != "the disk is full" || h.Write.Since.IsZero() {
		t.Errorf("/readyz is %+v", h)
	}
	if h := s.health(t, "/healthz"); h.code != http.StatusOK || h.Write.OK {
		t.Errorf("/healthz is %+v", h)
	}
	c.refuse(t, cli.Refused, []string{"org", "owner", "add", "acme", "bob", "--as", "alice"}, "disk is full")
	free()
	s.untilReady(t, http.StatusOK)
	c.do(t, "org", "owner", "add", "acme", "bob", "--as", "alice")
	s.stop(t, syscall.SIGTERM)
	if log := s.Stderr.String(); strings.Count(log, "nothing can be written") != 1 || !strings.Contains(log, "can be written again") || strings.Contains(log, "request failed") {
		t.Errorf("the log says %s", log)
	}
}

// TestFirstStartOnFullDisk leaves nothing behind where there is no space for a data folder.
//
// Fails if serve or org register creates without [site.Folder.Create].
func TestFirstStartOnFullDisk(t *testing.T) {
	disk := clitest.SmallDisk(t)
	c := shell{filepath.Join(disk, "data")}
	clitest.Fill(t, disk)
	c.refuse(t, cli.Refused, []string{"serve", "--addr", "127.0.0.1:0"})
	c.refuse(t, cli.Refused, []string{"org", "register", "acme", "--plan", "team", "--owner", "alice"})
	if _, err := os.Stat(string(site.Folder(c.data))); !os.IsNotExist(err) {
		t.Errorf("the data folder was left: %v", err)
	}
}
