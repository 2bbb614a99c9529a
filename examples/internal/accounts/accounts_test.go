package accounts_test

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oatmill/oatmill/examples/internal/accounts"
)

// clock is set by hand.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func open(t *testing.T) (*accounts.Accounts, *clock, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "accounts.db")
	c := &clock{time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	a, err := accounts.Open(t.Context(), file, c.now)
	must(t, err)
	t.Cleanup(func() { must(t, a.Close()) })
	return a, c, file
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func add(t *testing.T, a *accounts.Accounts, name string) accounts.Credentials {
	t.Helper()
	c, err := a.Add(t.Context(), name)
	must(t, err)
	return c
}

// whose demands that a session is somebody's, or nobody's.
func whose(t *testing.T, a *accounts.Accounts, session, want string) {
	t.Helper()
	name, ok, err := a.User(t.Context(), session)
	if err != nil || name != want || ok != (want != "") {
		t.Errorf("the session is %q's (%t, %v), want %q", name, ok, err, want)
	}
}

func refused(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// TestPassword: a person signs in with their own password alone.
func TestPassword(t *testing.T) {
	a, _, _ := open(t)
	alice, bob := add(t, a, "alice"), add(t, a, "bob")
	session, err := a.SignIn(t.Context(), "alice", alice.Password, "")
	must(t, err)
	whose(t, a, session, "alice")
	for _, c := range []struct{ name, password string }{
		{"alice", bob.Password}, {"alice", ""}, {"alice", alice.Password + " "}, {"Alice", alice.Password}, {"mallory", alice.Password}, {"", ""},
	} {
		_, err := a.SignIn(t.Context(), c.name, c.password, "")
		refused(t, c.name+" with "+c.password, err, accounts.ErrRefused)
	}
	_, err = a.Add(t.Context(), "alice")
	refused(t, "adding alice again", err, accounts.ErrExists)
	_, err = a.SignIn(t.Context(), "alice", alice.Password, "")
	must(t, err)
}

// TestUnknownCostsTheSame: a name that nobody has is worked on like one that somebody
// has. Returning ErrRefused in Check where there is no row takes a thousandth.
func TestUnknownCostsTheSame(t *testing.T) {
	a, _, _ := open(t)
	add(t, a, "alice")
	fastest := func(name string) time.Duration {
		best := time.Hour
		for range 5 {
			began := time.Now()
			refused(t, name, a.Check(t.Context(), name, "wrong"), accounts.ErrRefused)
			best = min(best, time.Since(began))
		}
		return best
	}
	if known, unknown := fastest("alice"), fastest("mallory"); unknown < known/4 {
		t.Errorf("a known name takes %v and an unknown one %v", known, unknown)
	}
}

// TestLink: a link signs in once, whoever comes at the same time, and not after its time.
// SELECT in place of DELETE in Redeem lets all of them in.
func TestLink(t *testing.T) {
	a, c, _ := open(t)
	alice := add(t, a, "alice")
	for range 2 { // looking does not use it up
		if name, ok, err := a.Holder(t.Context(), alice.Link); name != "alice" || !ok || err != nil {
			t.Fatalf("the link is %q's (%t, %v)", name, ok, err)
		}
	}
	sessions := make(chan string, 8)
	var all sync.WaitGroup
	for range cap(sessions) {
		all.Go(func() {
			session, err := a.Redeem(t.Context(), alice.Link, "")
			if err == nil {
				sessions <- session
			} else if !errors.Is(err, accounts.ErrRefused) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(sessions) != 1 {
		t.Fatalf("one link signed in %d times", len(sessions))
	}
	whose(t, a, <-sessions, "alice")
	bob := add(t, a, "bob")
	c.at = bob.Until
	_, err := a.Redeem(t.Context(), bob.Link, "")
	refused(t, "a link whose time is over", err, accounts.ErrRefused)
}

// TestSession: a session ends by signing out, by its age, and when the same browser signs
// in again; it never keeps a name that was there before. Without "OR digest = ?" in begin
// the first session goes on.
func TestSession(t *testing.T) {
	a, c, _ := open(t)
	alice := add(t, a, "alice")
	first, err := a.Redeem(t.Context(), alice.Link, "planted")
	must(t, err)
	whose(t, a, "planted", "")
	second, err := a.SignIn(t.Context(), "alice", alice.Password, first)
	must(t, err)
	whose(t, a, first, "")
	third, err := a.SignIn(t.Context(), "alice", alice.Password, "")
	must(t, err)
	must(t, a.SignOut(t.Context(), second))
	whose(t, a, second, "")
	whose(t, a, third, "alice")
	c.at = c.at.Add(accounts.SessionTTL)
	whose(t, a, third, "")
}

// TestClockAhead: what was made while the clock was ahead ends when the clock is corrected, and
// clocks may be a minute apart. Fails if valid has no upper bound.
func TestClockAhead(t *testing.T) {
	a, c, _ := open(t)
	right := c.at
	for _, ahead := range []time.Duration{time.Minute, 61 * time.Second, 365 * 24 * time.Hour} {
		c.at = right.Add(ahead)
		person := add(t, a, ahead.String())
		session, err := a.SignIn(t.Context(), person.Name, person.Password, "")
		must(t, err)
		c.at = right
		want := ""
		if ahead <= time.Minute {
			want = person.Name
		}
		whose(t, a, session, want)
		if name, ok, err := a.Holder(t.Context(), person.Link); err != nil || name != want || ok != (want != "") {
			t.Errorf("%v ahead: the link is %q's (%t, %v), want %q", ahead, name, ok, err, want)
		}
		if _, err := a.Redeem(t.Context(), person.Link, ""); errors.Is(err, accounts.ErrRefused) != (want == "") {
			t.Errorf("%v ahead: the link is redeemed with %v", ahead, err)
		}
	}
}

// TestReset: whoever had a person's password, link or session has nothing any more.
func TestReset(t *testing.T) {
	a, _, _ := open(t)
	before := add(t, a, "alice")
	session, err := a.SignIn(t.Context(), "alice", before.Password, "")
	must(t, err)
	after, err := a.Reset(t.Context(), "alice")
	must(t, err)
	whose(t, a, session, "")
	refused(t, "the old password", a.Check(t.Context(), "alice", before.Password), accounts.ErrRefused)
	_, err = a.Redeem(t.Context(), before.Link, "")
	refused(t, "the old link", err, accounts.ErrRefused)
	must(t, a.Check(t.Context(), "alice", after.Password))
	_, err = a.Reset(t.Context(), "mallory")
	refused(t, "a reset of nobody", err, accounts.ErrNobody)
}

// TestNothingThatOpensIsKept: the files hold no password, no link and no session.
func TestNothingThatOpensIsKept(t *testing.T) {
	a, _, file := open(t)
	alice := add(t, a, "alice")
	session, err := a.SignIn(t.Context(), "alice", alice.Password, "")
	must(t, err)
	files, err := filepath.Glob(file + "*")
	must(t, err)
	for _, name := range files {
		info, err := os.Stat(name)
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s is %v", name, info.Mode())
		}
		content, err := os.ReadFile(name)
		must(t, err)
		for _, opens := range []string{alice.Password, alice.Link, session} {
			if strings.Contains(string(content), opens) {
				t.Errorf("%s holds something that opens", name)
			}
		}
		if name == file && !strings.Contains(string(content), "$argon2id$v=19$m=19456,t=2,p=1$") {
			t.Errorf("%s holds no hash as it should", name)
		}
	}
}

// TestFileOfOthers: a file that others may read is refused.
func TestFileOfOthers(t *testing.T) {
	_, _, file := open(t)
	must(t, os.Chmod(file, 0o644))
	_, err := accounts.Open(t.Context(), file, time.Now)
	if err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("opening it: %v, want an error that names %s", err, file)
	}
}

// TestNames: a name is found by every spelling, and one that cannot be an owner's is no
// account's, also not that of a file from before there was a rule. Fails if a function
// takes the name it is given, or Check does not ask whether it is one.
func TestNames(t *testing.T) {
	a, _, file := open(t)
	jose := add(t, a, " Jose\u0301\n")
	if jose.Name != "Jos\u00e9" {
		t.Errorf("the account is %+q's", jose.Name)
	}
	for _, name := range []string{"Jos\u00e9", "Jose\u0301", " Jos\u00e9 "} {
		exists, err := a.Exists(t.Context(), name)
		must(t, errors.Join(err, a.Check(t.Context(), name, jose.Password)))
		session, err := a.SignIn(t.Context(), name, jose.Password, "")
		must(t, err)
		whose(t, a, session, "Jos\u00e9")
		_, err = a.Add(t.Context(), name)
		if !exists || !errors.Is(err, accounts.ErrExists) {
			t.Errorf("%+q: exists %t, added again: %v", name, exists, err)
		}
	}
	reset, err := a.Reset(t.Context(), "Jose\u0301")
	must(t, err)
	must(t, a.Check(t.Context(), "Jos\u00e9", reset.Password))
	for _, name := range []string{"", " ", "host:console", "a\nb", strings.Repeat("x", 400), "al\u202eice", "a\xffb"} {
		_, err := a.Add(t.Context(), name)
		refused(t, name, err, accounts.ErrName)
	}
	db, err := sql.Open("sqlite", file)
	must(t, err)
	_, err = db.ExecContext(t.Context(), `INSERT INTO people SELECT 'host:console', password FROM people`)
	must(t, errors.Join(err, db.Close()))
	refused(t, "host:console", a.Check(t.Context(), "host:console", reset.Password), accounts.ErrRefused)
}
