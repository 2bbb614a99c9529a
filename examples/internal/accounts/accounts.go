// Package accounts is the people of an example and their sessions, in a small SQLite
// database of its own. A host of the library has all this already; the library asks it
// no more than who is signed in.
//
// # What is kept
//
// Of a password, its argon2id hash. Of a sign-in link and of a session, the SHA-256 of
// its 128 or more random bits: whoever reads the file can sign in with none of it.
// Passwords are made here and never chosen, so they cannot be guessed.
//
// # What is promised
//
//   - Names follow the library's rule, and are found by every spelling of theirs.
//   - A link signs in once, and not after [LinkTTL]. Looking at it, which mail programs
//     and browsers do without being asked, does not use it up. Two who use it at once get
//     one session between them.
//   - Signing in always begins a session with a new name, so that nobody can plant the
//     name of a session they know.
//   - A password costs the same work for names that there are and for names that there
//     are not, and no more than two are worked on at a time.
//   - Several processes may use the file; sessions survive a restart.
package accounts

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite" // also the driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
)

// How long what opens is good.
const (
	LinkTTL    = time.Hour
	SessionTTL = 12 * time.Hour
)

var (
	// ErrRefused means that a name and password, or a link, do not open.
	ErrRefused = errors.New("these do not open")
	// ErrExists means that there is such a person already.
	ErrExists = errors.New("there is such a person already")
	// ErrNobody means that there is no such person.
	ErrNobody = errors.New("there is no such person")
	// ErrName means that a name cannot be a person's.
	ErrName = errors.New("this is not a name")
)

// Accounts are safe for concurrent use.
type Accounts struct {
	db     *sql.DB
	now    func() time.Time
	hasher *hasher
}

const schema = `
CREATE TABLE IF NOT EXISTS people (name TEXT PRIMARY KEY, password TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS links (digest BLOB PRIMARY KEY, person TEXT NOT NULL REFERENCES people(name), expires INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS sessions (digest BLOB PRIMARY KEY, person TEXT NOT NULL REFERENCES people(name), expires INTEGER NOT NULL) STRICT;`

// Open opens the file, and makes it where there is none. It is its owner's alone.
func Open(ctx context.Context, file string, now func() time.Time) (*Accounts, error) {
	// A file that is there is not opened here: closing it would drop the locks of another
	// Accounts in this process.
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		info, err = create(file)
	}
	if err != nil {
		return nil, fmt.Errorf("open accounts: %w", err)
	}
	if others := info.Mode().Perm() & 0o077; others != 0 {
		return nil, fmt.Errorf("open accounts: others than its owner may use %s: chmod 600 it", file)
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("open accounts: %w", err)
	}
	name := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: url.Values{
		// No write-ahead log: it could not be opened while the disk is full.
		"_pragma": {"busy_timeout(10000)", "synchronous(FULL)", "foreign_keys(ON)"},
		"_txlock": {"immediate"},
	}.Encode()}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return nil, fmt.Errorf("open accounts %s: %w", file, err)
	}
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, errors.Join(fmt.Errorf("open accounts %s: %w", file, err), db.Close())
	}
	return &Accounts{db: db, now: now, hasher: newHasher()}, nil
}

// create creates a file that its owner alone may read and write, whatever the umask is.
func create(file string) (os.FileInfo, error) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = f.Chmod(0o600)
	info, failed := f.Stat()
	return info, errors.Join(err, failed, f.Close())
}

// Close closes the file.
func (a *Accounts) Close() error { return a.db.Close() }

// Credentials are what a person is given, once.
type Credentials struct {
	Name     string
	Password string
	Link     string // what Redeem takes
	Until    time.Time
}

// Empty tells whether there is nobody yet.
func (a *Accounts) Empty(ctx context.Context) (bool, error) {
	var people int
	err := a.db.QueryRowContext(ctx, `SELECT count(*) FROM people`).Scan(&people)
	return people == 0, wrap("count people", err)
}

// Exists tells whether there is such a person.
func (a *Accounts) Exists(ctx context.Context, name string) (bool, error) {
	var people int
	err := a.db.QueryRowContext(ctx, `SELECT count(*) FROM people WHERE name = ?`, oat.CleanText(name)).Scan(&people)
	return people > 0, wrap("look for a person", err)
}

// Add adds a person. The error is [ErrExists] when there is one of that name, and [ErrName]
// for a name that the library does not take for an owner's.
func (a *Accounts) Add(ctx context.Context, name string) (Credentials, error) {
	name = oat.CleanText(name)
	if problem := oat.UserProblem(name); problem != "" {
		return Credentials{}, fmt.Errorf("%w: it %s", ErrName, problem)
	}
	return a.equip(ctx, name, ErrExists, `INSERT INTO people (name, password) VALUES (?1, ?2) ON CONFLICT DO NOTHING`)
}

// Reset gives a person a new password and link. What they had does not open any more,
// and where they were signed in they are not. The error is [ErrNobody] when there is no
// such person.
func (a *Accounts) Reset(ctx context.Context, name string) (Credentials, error) {
	return a.equip(ctx, oat.CleanText(name), ErrNobody, `UPDATE people SET password = ?2 WHERE name = ?1`)
}

// equip carries out a statement that sets a person's password, and makes a link.
func (a *Accounts) equip(ctx context.Context, name string, none error, statement string) (Credentials, error) {
	c := Credentials{Name: name, Password: rand.Text(), Link: rand.Text(), Until: a.now().Add(LinkTTL).Truncate(time.Second)}
	password, err := a.hasher.hash(ctx, c.Password)
	if err != nil {
		return Credentials{}, err
	}
	err = a.within(ctx, func(tx *sql.Tx) error {
		done, err := tx.ExecContext(ctx, statement, name, password)
		if err != nil {
			return err
		}
		if changed, err := done.RowsAffected(); err != nil || changed == 0 {
			return errors.Join(err, fmt.Errorf("%w: %s", none, name))
		}
		for _, table := range []string{"links", "sessions"} {
			if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE person = ?`, name); err != nil {
				return err
			}
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO links (digest, person, expires) VALUES (?, ?, ?)`, digest(c.Link), name, c.Until.UnixNano())
		return err
	})
	if err != nil {
		return Credentials{}, err
	}
	return c, nil
}

// SignIn begins a session, and ends the one that the same browser had, if any.
func (a *Accounts) SignIn(ctx context.Context, name, password, before string) (session string, err error) {
	name = oat.CleanText(name)
	if err := a.Check(ctx, name, password); err != nil {
		return "", err
	}
	return session, a.within(ctx, func(tx *sql.Tx) (err error) {
		session, err = a.begin(ctx, tx, name, before)
		return err
	})
}

// Check tells whether a password is the person's: nil or [ErrRefused].
func (a *Accounts) Check(ctx context.Context, name, password string) error {
	name = oat.CleanText(name)
	var stored string
	err := a.db.QueryRowContext(ctx, `SELECT password FROM people WHERE name = ?`, name).Scan(&stored)
	if errors.Is(err, sql.ErrNoRows) || err == nil && oat.UserProblem(name) != "" {
		// There is nobody of that name, or it is from before there was a rule for names.
		stored, err = a.hasher.decoy, nil
	}
	if err != nil {
		return wrap("look for a password", err)
	}
	ok, err := a.hasher.matches(ctx, stored, password)
	if err == nil && !ok {
		err = ErrRefused
	}
	return err
}

// Holder is whom a link is for, without using it up.
func (a *Accounts) Holder(ctx context.Context, link string) (name string, ok bool, err error) {
	return a.person(ctx, `SELECT person FROM links WHERE digest = ? AND `+valid, link, LinkTTL)
}

// Redeem uses a link up and begins a session, both or neither.
func (a *Accounts) Redeem(ctx context.Context, link, before string) (session string, err error) {
	return session, a.within(ctx, func(tx *sql.Tx) error {
		var name string
		from, to := a.expiries(LinkTTL)
		err := tx.QueryRowContext(ctx, `DELETE FROM links WHERE digest = ? AND `+valid+` RETURNING person`, digest(link), from, to).Scan(&name)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrRefused
		}
		if err != nil {
			return err
		}
		session, err = a.begin(ctx, tx, name, before)
		return err
	})
}

// begin begins a session. Sessions and links that are over are forgotten on the way.
func (a *Accounts) begin(ctx context.Context, tx *sql.Tx, name, before string) (session string, err error) {
	now := a.now()
	for _, table := range []string{"links", "sessions"} {
		if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE expires <= ? OR digest = ?`, now.UnixNano(), digest(before)); err != nil {
			return "", err
		}
	}
	session = rand.Text()
	_, err = tx.ExecContext(ctx, `INSERT INTO sessions (digest, person, expires) VALUES (?, ?, ?)`, digest(session), name, now.Add(SessionTTL).UnixNano())
	return session, err
}

// User is whose session it is, and false for none.
func (a *Accounts) User(ctx context.Context, session string) (name string, ok bool, err error) {
	return a.person(ctx, `SELECT person FROM sessions WHERE digest = ? AND `+valid, session, SessionTTL)
}

// SignOut ends a session.
func (a *Accounts) SignOut(ctx context.Context, session string) error {
	_, err := a.db.ExecContext(ctx, `DELETE FROM sessions WHERE digest = ?`, digest(session))
	return wrap("end a session", err)
}

// valid is the condition for links and sessions that open now. Its parameters are those of
// expiries.
const valid = `expires > ? AND expires <= ?`

// leeway is how far the clocks of processes that share the file may be apart.
const leeway = time.Minute

// expiries returns between which instants something expires that opens now and was made to
// last for ttl. What was made while a clock was ahead ends when the clock is corrected.
func (a *Accounts) expiries(ttl time.Duration) (from, to int64) {
	now := a.now()
	return now.UnixNano(), now.Add(ttl + leeway).UnixNano()
}

// person asks whose something is that is good now.
func (a *Accounts) person(ctx context.Context, query, opens string, ttl time.Duration) (name string, ok bool, err error) {
	from, to := a.expiries(ttl)
	err = a.db.QueryRowContext(ctx, query, digest(opens), from, to).Scan(&name)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	return name, err == nil, wrap("look for a session", err)
}

// within does several things or none.
func (a *Accounts) within(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := a.db.BeginTx(ctx, nil)
	if err != nil {
		return wrap("change accounts", err)
	}
	if err := do(tx); err != nil {
		if causeOf(err) != nil {
			err = wrap("change accounts", err)
		}
		return errors.Join(err, tx.Rollback())
	}
	return wrap("change accounts", tx.Commit())
}

// wrap returns an error of the file with the value of package events that says what the
// caller can do about it, as the logs do.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	if cause := causeOf(err); cause != nil {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// causeOf returns the value of package events for an error of SQLite, nil for other errors.
func causeOf(err error) error {
	failed := (*sqlite.Error)(nil)
	if !errors.As(err, &failed) {
		return nil
	}
	switch failed.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return events.ErrFull
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return events.ErrBusy
	case sqlite3.SQLITE_READONLY:
		return events.ErrReadOnly
	case sqlite3.SQLITE_PERM:
		return events.ErrDenied
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN:
		return events.ErrUnavailable
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return events.ErrDamaged
	}
	return nil
}

// digest is what is kept of something that opens.
func digest(opens string) []byte {
	sum := sha256.Sum256([]byte(opens))
	return sum[:]
}

// encoding is that of the parts of a hash, as others who write argon2 hashes have it.
func encoding() *base64.Encoding { return base64.RawStdEncoding }

// split cuts a hash into its five parts.
func split(hash string) (parts [5]string, ok bool) {
	cut := strings.Split(strings.TrimPrefix(hash, "$"), "$")
	if len(cut) != len(parts) || !strings.HasPrefix(hash, "$") {
		return parts, false
	}
	return [5]string(cut), true
}
