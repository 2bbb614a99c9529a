package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events/durable/sqlitelog"
	"github.com/oatmill/oatmill/examples/internal/clitest"
	"github.com/oatmill/oatmill/examples/internal/site"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

// fileNames are the names in a folder.
func fileNames(t *testing.T, folder string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	must(t, err)
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// TestAddressBehindProxy signs a person in behind a proxy that does TLS and changes the host.
// For every form of --url the origin is the one that browsers send, cookies are Secure,
// browsers are told to stay with HTTPS, and clients find the token endpoint. Another origin
// is refused. Sources: RFC 3986, 6.2.2 and 6.2.3; RFC 6454, 6.2; RFC 6265, 5.4.
//
// Fails if check does not keep the normal form of the address.
func TestAddressBehindProxy(t *testing.T) {
	for _, given := range []string{
		"https://hub.example.com", "HTTPS://Hub.Example.com", "https://hub.example.com:443/", "https://hub%2Eexample.com.", "https://HUB.example.com.:0443//",
	} {
		p := &program{stdout: clitest.NewOutput(), stderr: clitest.NewOutput(), now: time.Now, data: filepath.Join(t.TempDir(), "data")}
		s := p.opened(t, "--url", given)
		must(t, p.firstStart(t.Context(), s))
		c, err := s.accounts.Reset(t.Context(), "alice")
		must(t, err)
		post := func(origin, path string, cookies ...*http.Cookie) *http.Response {
			form := url.Values{"name": {"alice"}, "password": {c.Password}}
			request := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
			request.Host = "10.0.0.7:8080"
			request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			request.Header.Set("Origin", origin)
			for _, cookie := range cookies {
				request.AddCookie(cookie)
			}
			answer := httptest.NewRecorder()
			s.handler.ServeHTTP(answer, request)
			return answer.Result()
		}
		signedIn := post("https://hub.example.com", "/sign-in")
		cookies := signedIn.Cookies()
		if signedIn.StatusCode != http.StatusSeeOther || len(cookies) != 1 || !cookies[0].Secure || !strings.HasPrefix(cookies[0].Name, "__Host-") {
			t.Fatalf("--url %s: signing in is answered %s with %v", given, signedIn.Status, cookies)
		}
		if signedIn.Header.Get("Strict-Transport-Security") == "" {
			t.Errorf("--url %s: browsers are not told to stay with HTTPS", given)
		}
		const missing = "/orgs/acme/tokens/6f1c1d8e-7a3b-4d52-9c53-0a4c4f8e2b17/deactivate"
		if answer := post("https://hub.example.com", missing, cookies...); answer.StatusCode != http.StatusNotFound {
			t.Errorf("--url %s: the console answers %s", given, answer.Status)
		}
		for _, origin := range []string{"https://evil.example.com", "http://hub.example.com", "https://hub.example.com:8443", "null"} {
			for _, path := range []string{"/sign-in", missing} {
				if answer := post(origin, path, cookies...); answer.StatusCode != http.StatusForbidden {
					t.Errorf("--url %s: %s from %s is answered %s", given, path, origin, answer.Status)
				}
			}
		}
		answer := p.answer(t, "/v2/", "--url", given)
		if realm := answer.Header().Get("WWW-Authenticate"); !strings.Contains(realm, `realm="https://hub.example.com/token"`) {
			t.Errorf("--url %s: the challenge is %s", given, realm)
		}
	}
}

// TestFailureLeavesNothing has starts and commands fail for every reason there is, on a path
// where nothing is: nothing is there afterwards either. What makes no sense ends with 2.
//
// Fails if serve creates before it checks, or does not remove what it created.
func TestFailureLeavesNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, []byte("no certificate"), 0o600))
	for args, code := range map[string]int{
		"--addr " + taken.Addr().String():             1,
		"--addr nonsense":                             2,
		"--addr 127.0.0.1:99999":                      2,
		"--url hub.example.com":                       2,
		"--url https://hub.example.com/console":       2,
		"--url https://alice:secret@hub.example.com":  2,
		"--url https://[fe80::1%25eth0]":              2,
		"--api-limit 0":                               2,
		"--sign-in-limit 1/1ms":                       2,
		"--trusted-proxy proxy":                       2,
		"--public-repo acme":                          2,
		"--connections-per-address -1":                2,
		"--tls-cert " + file:                          2,
		"--tls-cert " + file + " --tls-key " + file:   1,
		"--tls-dev --url HTTP://hub.example.com":      2,
		"user add bob --owns acme":                    1,
		"user reset bob":                              1,
		"--tls-cert " + file + "x --tls-key " + file:  1,
		"--tls-dev --tls-cert " + file + " --tls-key": 2,
	} {
		root := t.TempDir()
		words := append([]string{"--data", filepath.Join(root, "srv", "data")}, strings.Fields(args)...)
		if !slices.Contains(words, "--addr") && !slices.Contains(words, "user") {
			words = append(words, "--addr", "127.0.0.1:0")
		}
		refuses(t, words, code, nil)
		if left := fileNames(t, root); len(left) != 0 {
			t.Errorf("%s left %q", args, left)
		}
	}
}

// failing is a standard output that cannot be written to.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// TestFailedFirstStartLeavesNothing has a first start fail at its last step: the password
// could not be printed, so that no person has it.
//
// Fails if serve does not name every file that it creates.
func TestFailedFirstStartLeavesNothing(t *testing.T) {
	for _, args := range [][]string{nil, {"--tls-dev"}} {
		root, stderr := t.TempDir(), clitest.NewOutput()
		code := run(context.Background(), append([]string{"--data", filepath.Join(root, "data"), "--addr", "127.0.0.1:0"}, args...), failing{}, stderr)
		if left := fileNames(t, root); code != 1 || len(left) != 0 {
			t.Errorf("with %q it ended with %d (%s) and left %q", args, code, stderr, left)
		}
	}
}

// TestFailureLeavesFolder has starts and commands fail in a folder that another program
// began: it holds what it held before, and the error names the file and what to do.
//
// Fails if serve or withAccounts creates without [site.Folder.Create].
func TestFailureLeavesFolder(t *testing.T) {
	for _, c := range []struct {
		name, spoilt string
		args         []string
		words        []string
	}{
		{"empty key of the API", apiKeyName, []string{"--addr", "127.0.0.1:0"}, []string{apiKeyName, "remove it"}},
		{"empty registry keys", site.KeysName, []string{"--addr", "127.0.0.1:0"}, []string{site.KeysName, "is empty", "remove it"}},
		{"owner of nothing", "", []string{"user", "add", "bob", "--owns", "globex"}, []string{"organization"}},
		{"nobody", "", []string{"user", "reset", "bob"}, []string{"bob"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := site.Folder(filepath.Join(t.TempDir(), "data"))
			must(t, data.WithLog(t.Context(), func(log *sqlitelog.Log) error {
				service, err := oat.New(oat.Config{Log: log})
				must(t, err)
				return service.Register(t.Context(), oat.Actor{Host: "cli"}, oat.Register{Organization: "acme", Plan: quota.Team, Owners: []string{"alice"}})
			}))
			if c.spoilt != "" {
				must(t, os.WriteFile(data.File(c.spoilt), nil, 0o600))
			}
			before := fileNames(t, string(data))
			refuses(t, append([]string{"--data", string(data)}, c.args...), 1, c.words)
			if after := fileNames(t, string(data)); !slices.Equal(before, after) {
				t.Errorf("before there were %q, after %q", before, after)
			}
		})
	}
}

// TestKilledStart kills starts at every moment of their first 200 milliseconds: the next one
// finds whole files or none, and goes on.
//
// Fails if a killed start leaves what the next one refuses, such as a file that means a lock.
func TestKilledStart(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	for moment := range 20 {
		server, process := clitest.Start(t, "--data", data, "--addr", "127.0.0.1:0", "--tls-dev")
		select {
		case <-time.After(time.Duration(moment) * 10 * time.Millisecond):
		case <-server.Ended:
			t.Fatalf("a start after %d that were killed: %s", moment, server.Stderr)
		}
		must(t, process.Kill())
		<-server.Ended
		if moment%5 == 0 {
			must(t, os.RemoveAll(data))
		}
	}
	process(t, data, "--tls-dev")
}

// TestUnusableAddressFile makes an account where the file with the server's address was
// spoilt: the password is printed, and the file is named.
//
// Fails if handOver begins the link with what the file holds.
func TestUnusableAddressFile(t *testing.T) {
	s := serve(t)
	must(t, os.WriteFile(filepath.Join(s.data, urlName), []byte("\x1b[31mnonsense\n"), 0o600))
	stdout, stderr := clitest.NewOutput(), clitest.NewOutput()
	if code := run(t.Context(), []string{"--data", s.data, "user", "add", "bob"}, stdout, stderr); code != 0 {
		t.Fatalf("it ended with %d: %s", code, stderr)
	}
	if strings.Contains(stdout.String(), "nonsense") || !passwordLine.MatchString(stdout.String()) || !strings.Contains(stderr.String(), filepath.Join(s.data, urlName)) {
		t.Errorf("it printed %s and said %s", stdout, stderr)
	}
}
