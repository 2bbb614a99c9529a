package main

import (
	"database/sql"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/oatmill/oatmill/examples/internal/cli"
	"github.com/oatmill/oatmill/examples/internal/site"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
)

// TestWrongUsage: a command line that makes no sense ends with 2, one line, and
// nothing on standard output.
func TestWrongUsage(t *testing.T) {
	c := registered(t)
	const id = "6f1c1d8e-7a3b-4d52-9c53-0a4c4f8e2b17"
	for _, test := range []struct{ args, word string }{
		{"nonsense", `"nonsense"`},
		{"--nonsense", "--nonsense"},
		{"--data", "--data"},
		{"serve now", `"now"`},
		{"serve --pull-limit 100", "100/6h"},
		{"serve --pull-limit 0/1h", "100/6h"},
		{"serve --pull-limit 1/1ms", "100/6h"},
		{"serve --url registry.example.com", "https://"},
		{"serve --public-repo base", "ORG/REPO"},
		{"org", "needs a command"},
		{"org nonsense", `"nonsense"`},
		{"org register", "NAME"},
		{"org register globex --plan team", "owner"},
		{"org register globex --owner bob", "plan"},
		{"org plan acme", "PLAN"},
		{"org plan acme business", "as"},
		{"org owner", "needs a command"},
		{"org owner add acme", "USER"},
		{"org owner add acme bob", "as"},
		{"org owner remove acme bob", "as"},
		{"token", "needs a command"},
		{"token generate", "ORG"},
		{"token generate acme --label x --public", "as"},
		{"token generate acme --as alice --public", "label"},
		{"token generate acme --as alice --label x", "exactly one of --public, --all and --repo"},
		{"token generate acme --as alice --label x --public --all read", "exclude each other"},
		{"token generate acme --as alice --label x --public --repo api=read", "exclude each other"},
		{"token generate acme --as alice --label x --all read --repo api=read", "exclude each other"},
		{"token generate acme --as alice --label x --all write", `"write"`},
		{"token generate acme --as alice --label x --repo api", "NAME=read"},
		{"token generate acme --as alice --label x --repo =read", "NAME=read"},
		{"token generate acme --as alice --label x --repo api=admin", `"admin"`},
		{"token generate acme --as alice --label x --public --expires tomorrow", `"tomorrow"`},
		{"token list", "ORG"},
		{"token show acme", "ID"},
		{"token show acme nonsense", `"nonsense"`},
		{"token edit acme " + id + " --as alice", "nothing to change"},
		{"token edit acme " + id + " --label x", "as"},
		{"token edit acme nonsense --as alice --label x", `"nonsense"`},
		{"token deactivate acme " + id, "as"},
		{"token deactivate acme nonsense --as alice", `"nonsense"`},
		{"token delete acme " + id, "as"},
		{"token delete acme --as alice", "ID"},
		{"history", "ORG"},
		{"history acme nonsense", `"nonsense"`},
		{"history acme " + id + " more", "ORG"},
		{"verify", "ORG"},
		{"verify acme --head 12", "VERSION:HASH"},
		{"rebuild acme", `"acme"`},
	} {
		t.Run(test.args, func(t *testing.T) {
			c.refuse(t, cli.Usage, strings.Fields(test.args), test.word, "--help")
		})
	}
}

// TestNames: a name that cannot be one is wrong usage, by every command, and one that is
// typed with blanks or in another normal form is the name itself. Fails if cli.Arguments or
// a flag for a name takes what it is given.
func TestNames(t *testing.T) {
	c := registered(t)
	const id = "6f1c1d8e-7a3b-4d52-9c53-0a4c4f8e2b17"
	secret := c.generate(t, "acme", "x", "--public").secret
	for _, name := range []string{"", " ", "host:console", "a\nb", strings.Repeat("x", 400), "al\u202eice", "ali\u200bce", "a\xffb", secret} {
		for _, args := range [][]string{
			{"org", "register", "globex", "--plan", "team", "--owner", "bob", "--owner", name},
			{"org", "plan", "acme", "business", "--as", name},
			{"org", "owner", "add", "acme", name, "--as", "alice"},
			{"org", "owner", "remove", "acme", name, "--as", "alice"},
			{"token", "generate", "acme", "--as", name, "--label", "x", "--public"},
			{"token", "edit", "acme", id, "--as", name, "--label", "x"},
			{"token", "deactivate", "acme", id, "--as", name},
			{"token", "delete", "acme", id, "--as", name},
			// The same as an organization's.
			{"org", "register", name, "--plan", "team", "--owner", "bob"},
			{"org", "plan", name, "business", "--as", "alice"},
			{"org", "owner", "add", name, "bob", "--as", "alice"},
			{"token", "list", name},
			{"token", "show", name, id},
			{"token", "generate", name, "--as", "alice", "--label", "x", "--public"},
			{"history", name},
			{"history", name, id},
			{"verify", name},
		} {
			c.refuse(t, cli.Usage, args, "--help")
			if r := c.run(args...); strings.Contains(r.stderr, secret) {
				t.Errorf("%q says %s", args, r.stderr)
			}
		}
	}
	c.do(t, "org", "owner", "add", " acme", "Jose\u0301", "--as", " alice ")
	if out := c.do(t, "history", "acme "); !strings.Contains(out, "Jos\u00e9") {
		t.Errorf("the history says %s", out)
	}
	c.do(t, "org", "owner", "remove", "acme", "Jos\u00e9", "--as", "Jose\u0301")
	if out := c.do(t, "token", "list", " acme "); !strings.Contains(out, "x") {
		t.Error("nothing is listed")
	}
}

// TestRefused: what a rule refuses ends with 1, one line, and nothing on standard
// output.
func TestRefused(t *testing.T) {
	c := registered(t)
	const id = "6f1c1d8e-7a3b-4d52-9c53-0a4c4f8e2b17"
	for _, test := range []struct{ args, word string }{
		{"org register acme --plan team --owner bob", "exists"},
		{"org register globex --plan gold --owner bob", "plan"},
		{"org plan acme gold --as alice", "unknown plan"},
		{"org plan acme business --as mallory", "not an owner"},
		{"org plan globex business --as alice", "organization not found"},
		{"org owner add acme bob --as mallory", "not an owner"},
		{"org owner remove acme alice --as alice", "last owner"},
		{"org owner remove acme bob --as alice", "owner not found"},
		{"token generate acme --as mallory --label x --public", "not an owner"},
		{"token generate globex --as alice --label x --public", "organization not found"},
		{"token generate acme --as alice --label x --public --expires 2020-01-31", "expires_at"},
		{"token generate acme --as alice --label x --repo globex/api=read", "globex/api"},
		{"token list globex", "organization not found: globex"},
		{"token show globex " + id, "organization not found: globex"},
		{"token show acme " + id, id},
		{"token edit acme " + id + " --as alice --label x", "token not found"},
		{"token deactivate acme " + id + " --as alice", "token not found"},
		{"token delete acme " + id + " --as alice", "token not found"},
		{"history globex", "organization not found: globex"},
		{"history acme " + id, id},
		{"verify globex", "organization not found: globex"},
		{"verify acme --head 1:" + strings.Repeat("0", 64), "organization/acme"},
		{"verify acme --head 9:" + strings.Repeat("0", 64), "organization/acme"},
	} {
		t.Run(test.args, func(t *testing.T) {
			c.refuse(t, cli.Refused, strings.Fields(test.args), test.word)
		})
	}
}

// TestEveryProblemAtOnce: whoever got several fields wrong learns all of them.
func TestEveryProblemAtOnce(t *testing.T) {
	c := registered(t)
	args := []string{"token", "generate", "acme", "--as", "alice", "--label", "", "--description", strings.Repeat("d", 201),
		"--expires", "-1h", "--repo", "api=read", "--repo", "api=read", "--repo", "UPPER=read"}
	c.refuse(t, cli.Refused, args, "label", "description", "expires_at", "resources[1]", "resources[2]")
}

// TestQuota: the eleventh token of a team is refused, an expired one of the ten or
// not, and there is room again once one is deleted.
func TestQuota(t *testing.T) {
	c := registered(t)
	// A clock that is a day behind makes one that has expired by now.
	yesterday := time.Now().AddDate(0, 0, -1)
	first, _, err := openService(t, c, func() time.Time { return yesterday }).Generate(t.Context(), oat.Actor{User: "alice"}, oat.Generate{
		Organization: "acme", Label: "0", Expires: oat.ExpiresAt(yesterday.Add(time.Hour)), Resources: []oat.Resource{oat.Public()},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, label := range strings.Split("123456789", "") {
		c.do(t, "token", "generate", "acme", "--as", "alice", "--label", label, "--all", "read")
	}
	eleventh := []string{"token", "generate", "acme", "--as", "alice", "--label", "eleventh", "--public"}
	c.refuse(t, cli.Refused, eleventh, "quota exceeded", "10")
	if list := c.do(t, "token", "list", "acme"); !strings.HasPrefix(list, "10 of 10 tokens (plan team): 9 active, 0 inactive, 1 expired\n") {
		t.Errorf("the list does not begin with the counts:\n%s", list)
	}
	c.refuse(t, cli.Refused, []string{"token", "deactivate", "acme", first.ID.String(), "--as", "alice"}, "expired")
	c.do(t, "token", "delete", "acme", first.ID.String(), "--as", "alice")
	c.do(t, eleventh...)
}

// TestTokenLife follows one token through every command that can be given.
func TestTokenLife(t *testing.T) {
	c := registered(t)
	c.do(t, "org", "owner", "add", "acme", "bob", "--as", "alice")
	generated := c.run("token", "generate", "acme", "--as", "alice", "--label", "ci", "--description", "builds",
		"--repo", "api=read", "--repo", "acme/web=read-write", "--expires", "2199-01-31")
	if !regexp.MustCompile(`^oat_[0-9A-Za-z]{32}\n$`).MatchString(generated.stdout) || generated.code != cli.Done {
		t.Fatalf("generate ended with %d and wrote %q, want only the secret", generated.code, generated.stdout)
	}
	id := regexp.MustCompile(`(?m)^id (\S+)$`).FindStringSubmatch(generated.stderr)
	if id == nil || !strings.Contains(generated.stderr, "acme/api (read), acme/web (read and write), expires 2199-01-31 00:00:00Z") {
		t.Fatalf("generate said %q, want the id, the access and the end", generated.stderr)
	}

	var shown tokenView
	readJSON(t, c.do(t, "token", "show", "acme", id[1], "--json"), &shown)
	if shown.Label != "ci" || shown.Description != "builds" || shown.CreatedBy != "alice" || shown.ExpiresAt != "2199-01-31T00:00:00Z" ||
		shown.State != projection.Active || len(shown.Resources) != 2 || shown.Resources[1].Path != "acme/web" {
		t.Errorf("show --json says %+v", shown)
	}
	for _, words := range []string{"label         ci\n", "access        acme/api (read)\n", "              acme/web (read and write)\n", "used          never\n"} {
		if text := c.do(t, "token", "show", "acme", id[1]); !strings.Contains(text, words) {
			t.Errorf("show says %s, want %q in it", text, words)
		}
	}

	c.do(t, "token", "edit", "acme", id[1], "--as", "bob", "--label", "build", "--description", "", "--all", "read", "--reason", "simpler")
	c.do(t, "token", "deactivate", "acme", id[1], "--as", "bob")
	c.refuse(t, cli.Refused, []string{"token", "edit", "acme", id[1], "--as", "alice", "--label", "x"}, "inactive")
	c.refuse(t, cli.Refused, []string{"token", "deactivate", "acme", id[1], "--as", "alice"}, "inactive")
	c.do(t, "org", "plan", "acme", "business", "--as", "bob")
	c.do(t, "token", "delete", "acme", id[1], "--as", "alice")
	c.refuse(t, cli.Refused, []string{"token", "show", "acme", id[1]}, "not found")
	c.do(t, "org", "owner", "remove", "acme", "bob", "--as", "bob")
	if list := c.do(t, "token", "list", "acme"); list != "0 of 100 tokens (plan business): 0 active, 0 inactive, 0 expired\n" {
		t.Errorf("the list is %q, want it empty", list)
	}

	wantLines(t, c.do(t, "history", "acme"),
		`host:cli registered acme: plan team; owner alice`,
		`alice added an owner: owner bob`,
		`alice generated token "ci" (`+id[1]+`): description "builds"; expires 2199-01-31 00:00:00Z; access acme/api (read), acme/web (read and write)`,
		`bob edited token "build" (`+id[1]+`): label from "ci" to "build"; description from "builds" to nothing; access from acme/api (read), acme/web (read and write) to all repositories of acme (read) (reason: simpler)`,
		`bob deactivated token "build" (`+id[1]+`): state from active to inactive`,
		`bob changed the plan: plan from team to business`,
		`alice deleted token "build" (`+id[1]+`): state from inactive to deleted`,
		`bob removed an owner: owner from bob to nothing`)
	var story projection.Story
	readJSON(t, c.do(t, "history", "acme", id[1], "--json"), &story)
	if story.Total != 4 || story.Entries[3].Type != "token.deleted.v1" || story.Entries[1].Reason != "simpler" {
		t.Errorf("the token's history is %+v", story)
	}
}

// wantLines compares a history without its times.
func wantLines(t *testing.T, text string, want ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), len(want), text)
	}
	for i, line := range lines {
		at, rest, _ := strings.Cut(line, "  ")
		if _, err := time.Parse("2006-01-02 15:04:05Z", at); err != nil || rest != want[i] {
			t.Errorf("line %d is\n%s\nwant after the time\n%s", i+1, line, want[i])
		}
	}
}

// TestVerify: a head that was noted is found again later, and every link holds.
func TestVerify(t *testing.T) {
	c := registered(t)
	head := func() string {
		out := strings.TrimSuffix(c.do(t, "verify", "acme"), "\n")
		_, noted, ok := strings.Cut(out, "\nhead ")
		if !ok {
			t.Fatalf("verify wrote %q, want a head", out)
		}
		return noted
	}
	first := head()
	c.generate(t, "acme", "ci", "--public")
	second := head()
	if first == second || !strings.HasPrefix(second, "2:") {
		t.Errorf("the heads are %s and %s", first, second)
	}
	c.do(t, "verify", "acme", "--head", first, "--head", second)
	mixed := "2:" + strings.TrimPrefix(first, "1:")
	c.refuse(t, cli.Refused, []string{"verify", "acme", "--head", first, "--head", mixed}, "organization/acme")
}

// TestRebuild: what a rebuild finds is what was done, and where no terminal is the
// progress comes in lines.
func TestRebuild(t *testing.T) {
	c := registered(t)
	c.generate(t, "acme", "ci", "--public")
	gone := c.generate(t, "acme", "gone", "--public")
	c.do(t, "token", "deactivate", "acme", gone.id, "--as", "alice")
	r := c.run("rebuild")
	for _, words := range []string{"rebuilt from 4 records in ", " records/s)", "organizations  1\n",
		"tokens         2 (1 active, 1 inactive, 0 expired)\n", "tokens used    0\n", "history        4 entries\n"} {
		if !strings.Contains(r.stdout, words) {
			t.Errorf("rebuild wrote %q, want %q in it", r.stdout, words)
		}
	}
	if r.code != cli.Done || r.stderr != "rebuilding: 4 of 4\n" {
		t.Errorf("rebuild ended with %d and said %q", r.code, r.stderr)
	}
}

// TestNoRegistryThere: a mistyped folder is said to be empty and not made.
func TestNoRegistryThere(t *testing.T) {
	c := shell{filepath.Join(t.TempDir(), "mistyped")}
	for _, args := range []string{"token list acme", "history acme", "verify acme", "rebuild", "org plan acme team --as alice"} {
		c.refuse(t, cli.Refused, strings.Fields(args), c.data, "serve")
	}
	if _, err := os.Stat(c.data); !os.IsNotExist(err) {
		t.Errorf("the folder was made: %v", err)
	}
}

// TestForeignFile: a file that is no log is named, refused, and left as it is.
func TestForeignFile(t *testing.T) {
	c := shell{filepath.Join(t.TempDir(), "data")}
	if err := os.Mkdir(c.data, 0o700); err != nil {
		t.Fatal(err)
	}
	const text = "these are the accounts of 1987, and no database at all"
	if err := os.WriteFile(site.Folder(c.data).Log(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c.refuse(t, cli.Refused, []string{"token", "list", "acme"}, site.Folder(c.data).Log(), "damaged")
	c.refuse(t, cli.Refused, []string{"--addr", "127.0.0.1:0", "serve"}, site.Folder(c.data).Log(), "damaged")
	if left, err := os.ReadFile(site.Folder(c.data).Log()); err != nil || string(left) != text {
		t.Errorf("the file is now %q (%v)", left, err)
	}
}

// TestHelp: help is no error, and goes to standard output.
func TestHelp(t *testing.T) {
	c := shell{t.TempDir()}
	for _, args := range []string{"--help", "serve --help", "token generate --help", "org owner add --help", "--version"} {
		if r := c.run(strings.Fields(args)...); r.code != cli.Done || r.stdout == "" || r.stderr != "" {
			t.Errorf("%s ended with %d, and said %q", args, r.code, r.stderr)
		}
	}
}

func TestParseExpiry(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"720h":                      "2026-12-23T12:00:00Z",
		"-1h":                       "2026-11-23T11:00:00Z", // which the rules refuse
		"2027-01-31":                "2027-01-31T00:00:00Z",
		"2027-01-31T18:00:00+02:00": "2027-01-31T18:00:00+02:00",
		"never":                     "",
	} {
		expiry, err := parseExpiry(text, now)
		if err != nil || expiry.String() != want || expiry == (oat.Expiry{}) {
			t.Errorf("--expires %s is %q (%v), want %q", text, expiry, err, want)
		}
	}
	for _, text := range []string{"", "tomorrow", "2027-02-30", "31.01.2027", "720"} {
		if expiry, err := parseExpiry(text, now); err == nil {
			t.Errorf("--expires %q is %q, want it refused", text, expiry)
		}
	}
}

// TestPrintable: what clients and users write cannot move a terminal's cursor.
func TestPrintable(t *testing.T) {
	if got := printable("a\x1b[2Jb\u202ec ü"); got != "a?[2Jb?c ü" {
		t.Errorf("printable text is %q", got)
	}
}

// TestJSONIsWhatWasGranted: list --json carries resources as they were granted.
func TestJSONIsWhatWasGranted(t *testing.T) {
	c := registered(t)
	c.generate(t, "acme", "ci", "--repo", "api=read-write", "--expires", "never")
	var list struct {
		Total, Limit, Remaining int
		Tokens                  []struct {
			Resources json.RawMessage
			ExpiresAt *string `json:"expires_at"`
			LastUsed  *string `json:"last_used_at"`
		}
	}
	readJSON(t, c.do(t, "token", "list", "acme", "--json"), &list)
	var resources []oat.Resource
	readJSON(t, string(list.Tokens[0].Resources), &resources)
	if list.Total != 1 || list.Limit != 10 || list.Remaining != 9 || resources[0].Path != "acme/api" || len(resources[0].Scopes) != 2 {
		t.Errorf("the list is %+v with %+v", list, resources)
	}
	if list.Tokens[0].ExpiresAt != nil || list.Tokens[0].LastUsed != nil {
		t.Errorf("a token that never expires and was never used says %+v", list.Tokens[0])
	}
}

// A row that somebody inserted behind the library's back, with the next version and a
// fitting hash of the record before it, is no part of the log: its token opens nowhere, verify
// names it, and the next command on the organization refuses to write around it. Fails if
// verify does not check the file.
func TestVerifyNamesAnInsertedRow(t *testing.T) {
	c := registered(t)
	c.generate(t, "acme", "ci", "--public")
	c.do(t, "verify", "acme")
	db, err := sql.Open("sqlite", filepath.Join(c.data, site.LogName))
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.Exec(`INSERT INTO records (position, stream, version, id, type, time, actor, previous, hash, data)
SELECT position + 1, stream, version + 1, '01KBCDEFGHJKMNPQRSTVWXYZ01', type, time, actor, hash, hash, data
FROM records ORDER BY position DESC LIMIT 1`)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	c.refuse(t, cli.Refused, []string{"verify", "acme"}, "organization/acme")
	c.refuse(t, cli.Refused, []string{"token", "generate", "acme", "--label", "next", "--public", "--as", "alice"}, "organization/acme")
}
