package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/oatmill/oatmill/events/durable/pgserver"
)

// server is the PostgreSQL of all tests but the one that lets the tour start its own.
var server struct {
	*pgserver.Server
	err error
}

func TestMain(m *testing.M) {
	// Nothing here crashes the server, so that it need not wait for its disk.
	server.Server, server.err = pgserver.Find(context.Background(), pgserver.Config{Settings: map[string]string{"fsync": "off"}})
	code := m.Run()
	if server.err == nil {
		if err := server.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// address is the server's. A test that has none is skipped, or fails on a machine for all
// checks.
func address(t *testing.T) string {
	t.Helper()
	needPostgreSQL(t, server.err)
	return server.URL()
}

func needPostgreSQL(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, pgserver.ErrNotFound) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	noError(t, err)
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The tour checks itself; here it is held to going all the way, on a server of its own.
func TestTheTourGoesAllTheWay(t *testing.T) {
	var out strings.Builder
	err := run(t.Context(), &out, "")
	if err != nil {
		t.Logf("after:\n%s", &out)
	}
	needPostgreSQL(t, err)
	for step := 1; step <= 14; step++ {
		if !strings.Contains("\n"+out.String(), fmt.Sprintf("\n%2d. ", step)) {
			t.Errorf("step %d is missing:\n%s", step, &out)
		}
	}
	if !strings.HasSuffix(out.String(), "\nEverything was as it should be.\n") {
		t.Errorf("the end is missing:\n%s", &out)
	}
}

// At somebody's server the tour goes all the way as well, and leaves nothing behind. To
// see it fail, let dropSchemas drop only one.
func TestTheTourLeavesNothingBehind(t *testing.T) {
	url := address(t)
	var out strings.Builder
	noError(t, run(t.Context(), &out, url))
	schema := schemaIn(out.String())
	if left := schemas(t, url, schema); schema == "" || left != 0 {
		t.Errorf("%d schemas of %q are left", left, schema)
	}
}

// Whoever interrupts the tour finds nothing left of it either, with two processes at work.
// To see it fail, have dropSchemas get its context from run.
func TestTheTourInterrupted(t *testing.T) {
	url := address(t)
	ctx, interrupt := context.WithCancel(t.Context())
	out := &reader{until: " 8. ", then: interrupt}
	if err := run(ctx, out, url); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, after:\n%s", err, &out.told)
	}
	if schema := schemaIn(out.told.String()); schema == "" || schemas(t, url, schema) != 0 {
		t.Errorf("schemas of %q are left", schema)
	}
}

// reader reads what the tour tells, and does something when it reads of a step.
type reader struct {
	told  strings.Builder
	until string
	then  func()
}

func (r *reader) Write(p []byte) (int, error) {
	if strings.HasPrefix(string(p), r.until) {
		r.then()
	}
	return r.told.Write(p)
}

// schemaIn is the name of the schema that a tour told of.
func schemaIn(told string) string { return regexp.MustCompile(`embed_[a-z0-9]+`).FindString(told) }

// schemas is how many there are whose names begin like this.
func schemas(t *testing.T, url, prefix string) (count int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	noError(t, err)
	defer func() { noError(t, conn.Close(context.Background())) }()
	noError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_namespace WHERE starts_with(nspname, $1)", prefix).Scan(&count))
	return count
}

func TestTheTourSaysThatNobodyAnswers(t *testing.T) {
	var out strings.Builder
	err := run(t.Context(), &out, "postgres://somebody:opensesame@127.0.0.1:1/nothing?connect_timeout=5")
	if err == nil || !strings.HasPrefix(err.Error(), "step 1: ") || !strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("an address where nobody answers: %v", err)
	}
	if strings.Contains(fmt.Sprint(err)+out.String(), "opensesame") {
		t.Errorf("the password was printed: %v\n%s", err, &out)
	}
}

// TestTheTourSeesWhatIsWrong plants, one at a time, what somebody who embeds the library
// could get wrong, and demands that the tour ends at the step that is about it.
func TestTheTourSeesWhatIsWrong(t *testing.T) {
	url := address(t)
	for _, c := range []struct {
		name            string
		file, old, then string
		want            string
	}{
		{
			"no guard", "process.go",
			"p.backend.routes(p.tokens.guard(oat.Pull), p.tokens.guard(oat.Push))",
			"p.backend.routes(func(h http.Handler) http.Handler { return h }, func(h http.Handler) http.Handler { return h })",
			`step 3: GET acme/api as "acme": answered 404, want 401`,
		},
		{
			"writing guarded like reading", "process.go",
			"p.tokens.guard(oat.Push)", "p.tokens.guard(oat.Pull)",
			`step 7: PUT acme/site as "": answered 204, want 401`,
		},
		{
			"the token not in the transaction", "tokens.go",
			"t.service.Within(t.log.Tx(tx), owners{tx}).Generate", "t.service.Generate",
			"step 3: the log grew",
		},
		{
			"everybody an owner", "tokens.go",
			"return is, err", "return true, err",
			"step 5: a repository that bob creates in acme: was not refused",
		},
		{
			"creators kept as owners", "tokens.go",
			"(SELECT FROM owners WHERE organization = $1 AND name = $2)",
			"(SELECT FROM owners WHERE organization = $1 AND name = $2 UNION ALL SELECT FROM oatmill_tokens WHERE organization = $1 AND created_by = $2)",
			"step 10: a command of alice, who is no owner any more",
		},
		{
			"the organization taken from the path", "guard.go",
			"Organization: organization, Secret", `Organization: organization[:0] + r.PathValue("organization"), Secret`,
			`step 7: GET globex/core as "acme": answered 401, want 404`,
		},
		{
			"internal taken for public", "guard.go",
			`word != "public"`, `word == "private" || word == ""`,
			`step 7: GET acme/wiki as "": answered 200, want 401`,
		},
		{
			"grants kept", "guard.go",
			"func (t *tokens) check(r *http.Request, action oat.Action) int {\n\tgrant, err := t.grant(r)\n",
			`var kept = map[string]oat.Grant{}

func (t *tokens) check(r *http.Request, action oat.Action) int {
	key := r.Header.Get("Authorization")
	grant, err := kept[key], error(nil)
	if grant == (oat.Grant{}) {
		grant, err = t.grant(r)
		kept[key] = grant
	}
`,
			`step 11: GET acme/api as "acme": answered 200, want 401`,
		},
		{
			"revoked tokens counted", "tokens.go",
			"s.organization = x.organization AND s.usable", "s.organization = x.organization",
			`step 11: the rows are "acme/api 2`,
		},
		{
			"use not recorded", "tokens.go",
			"oat.VerifierConfig{Recorder: t.recorder}", "oat.VerifierConfig{}",
			"step 13: the chains have 4 and 0 records",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			tour := exec.CommandContext(ctx, planted(t, c.file, c.old, c.then), "--postgres", url)
			out, err := tour.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "\nembed: "+c.want) {
				t.Errorf("%v, want %q in:\n%s", err, c.want, out)
			}
			if schema := schemaIn(string(out)); schema == "" || schemas(t, url, schema) != 0 {
				t.Errorf("schemas of %q are left", schema)
			}
		})
	}
}

// planted is the program built with a change in one of its files.
func planted(t *testing.T, file, old, then string) string {
	t.Helper()
	source, err := os.ReadFile(file)
	noError(t, err)
	if strings.Count(string(source), old) != 1 {
		t.Fatalf("%s has not exactly one %q", file, old)
	}
	changed := strings.Replace(string(source), old, then, 1)
	here, err := os.Getwd()
	noError(t, err)
	dir := t.TempDir()
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(here, file): filepath.Join(dir, file)}})
	noError(t, err)
	noError(t, os.WriteFile(filepath.Join(dir, file), []byte(changed), 0o600))
	noError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600))
	program := filepath.Join(dir, "embed")
	out, err := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-ldflags=-s -w", "-o", program, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	return program
}
