//go:build unix

package pglog_test

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/linear"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/pglog"
)

// bounced is the address of the same database through a PgBouncer in transaction mode,
// which gives each transaction another session.
func bounced(t *testing.T, address string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer" // which is in the PATH of root only
	}
	if _, err := os.Stat(program); err != nil {
		testkit.Missing(t, "no PgBouncer here: install the Debian package pgbouncer")
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	folder := t.TempDir()
	port := unused(t)
	for name, content := range map[string]string{
		"users": fmt.Sprintf("%q %q\n", u.User.Username(), password),
		"ini": fmt.Sprintf(`[databases]
* = host=%s port=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = plain
auth_file = %s
pool_mode = transaction
default_pool_size = 3
max_client_conn = 200
ignore_startup_parameters = extra_float_digits
`, u.Hostname(), u.Port(), port, filepath.Join(folder, "users")),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	start(t, folder, exec.Command(program, filepath.Join(folder, "ini")))
	u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	for began := time.Now(); ; {
		c, err := net.Dial("tcp", u.Host)
		if err == nil {
			_ = c.Close()
			return u.String()
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("PgBouncer does not take connections: %v", err)
		}
	}
}

func unused(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// start runs the program, which refuses to be root, until the end of the test.
func start(t *testing.T, folder string, cmd *exec.Cmd) {
	t.Helper()
	if os.Geteuid() == 0 {
		u, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		if err := os.Chmod(filepath.Dir(folder), 0o755); err != nil { // to be passed through
			t.Fatal(err)
		}
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
}

// TestPoolInTransactionMode makes each call, and takes a history, through a PgBouncer that
// gives every transaction another session.
//
// What breaks it: Open with named prepared statements in spite of NoNotify.
func TestPoolInTransactionMode(t *testing.T) {
	direct := newDatabase(t)
	address := bounced(t, direct)
	log, other := openFor(t, address, pglog.Config{NoNotify: true}), openFor(t, address, pglog.Config{NoNotify: true})
	var all sync.WaitGroup
	for w := range 16 {
		all.Go(func() {
			g := testkit.NewGenerator()
			for range 10 {
				if _, err := []*pglog.Log{log, other}[w%2].Append(t.Context(), events.StreamID(fmt.Sprintf("usage/w%d", w)), events.Any, g.Batch(2)...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got := sound(t, log); len(got) != 320 {
		t.Errorf("%d records, want 320", len(got))
	}
	useAll(t, openFor(t, address, pglog.Config{NoNotify: true, Schema: "all"}))
	linear.Check(t, linear.Config{}, log, other)
}
