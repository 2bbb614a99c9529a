package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oatmill/oatmill/examples/internal/clitest"
)

// TestStartsOnFullDisk stops a server, fills its disk to the last byte, and starts it again
// at another port: it verifies tokens, knows its people's sessions, and says that it cannot
// write and why. Source: SQLite, "Result and Error Codes", SQLITE_FULL and
// SQLITE_IOERR_SHMSIZE.
//
// Fails if a start cannot do without writing a file that is there, or if the accounts have a
// write-ahead log.
func TestStartsOnFullDisk(t *testing.T) {
	disk := clitest.SmallDisk(t)
	data := filepath.Join(disk, "data")
	first, running := process(t, data)
	password := first.password(t)
	browser := first.client(t)
	first.post(t, browser, "/sign-in", url.Values{"name": {"alice"}, "password": {password}}).is(t, http.StatusSeeOther)
	secret := first.script(t, "alice", password).generate("kept", time.Time{}).Secret
	must(t, running.Signal(syscall.SIGTERM))
	first.EndsWell(t)
	clitest.Fill(t, disk)

	s, _ := process(t, data)
	browser.Jar.SetCookies(mustParse(t, s.url), browser.Jar.Cookies(mustParse(t, first.url)))
	if page := s.get(t, browser, "/orgs/acme/tokens").is(t, http.StatusOK); !strings.Contains(page.text, "kept") {
		t.Errorf("the list on a full disk: %s", page.text)
	}
	request, err := http.NewRequest(http.MethodGet, s.url+"/token?service=oatmill-registry&scope=repository:acme/api:pull", nil)
	must(t, err)
	request.SetBasicAuth("acme", secret)
	send(t, http.DefaultClient, request).is(t, http.StatusOK)
	within(t, patience, "a full disk", func() bool {
		answer := s.get(t, http.DefaultClient, "/readyz")
		var health struct {
			Verify, Write struct {
				OK     bool
				Reason string
			}
		}
		must(t, json.Unmarshal([]byte(answer.text), &health))
		return answer.StatusCode == http.StatusServiceUnavailable && health.Verify.OK && health.Write.Reason == "the disk is full"
	})
	s.get(t, http.DefaultClient, "/healthz").is(t, http.StatusOK)
}
