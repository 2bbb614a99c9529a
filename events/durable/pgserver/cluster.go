package pgserver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// programs is the folder with initdb and postgres. The newest version wins where a
// distribution keeps several.
func programs() (string, error) {
	places := filepath.SplitList(os.Getenv("PATH"))
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin",
		"/usr/local/opt/postgresql@*/bin", "/usr/local/pgsql/bin",
	} {
		found, _ := filepath.Glob(pattern)
		slices.SortFunc(found, func(a, b string) int { return version(b) - version(a) })
		places = append(places, found...)
	}
	for _, dir := range places {
		if _, err := exec.LookPath(filepath.Join(dir, "initdb")); err != nil {
			continue
		}
		if _, err := exec.LookPath(filepath.Join(dir, "postgres")); err == nil {
			return dir, nil
		}
	}
	return "", ErrNotFound
}

// version is the number in the path of an installation, 0 when there is none.
func version(dir string) int {
	n, _ := strconv.Atoi(strings.TrimLeft(filepath.Base(filepath.Dir(dir)), "postgrelq-@"))
	return n
}

// account is whom the server runs as.
type account struct{ uid, gid uint32 }

// unprivileged is the account for the server, nil for the caller's own.
func unprivileged() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		return &account{uint32(uid), uint32(gid)}, nil
	}
	return nil, errors.New("it does not run as root, and there is neither a user postgres nor nobody")
}

// folder makes sure of an empty folder that belongs to the server's account.
func (s *Server) folder() (err error) {
	if s.cfg.Dir == "" {
		if s.cfg.Dir, err = os.MkdirTemp("", "oatmill-postgres-"); err != nil {
			return err
		}
		s.made = true
	} else if s.cfg.Dir, err = filepath.Abs(s.cfg.Dir); err != nil {
		return err
	}
	if err := os.MkdirAll(s.cfg.Dir, 0o755); err != nil {
		return err
	}
	if entries, err := os.ReadDir(s.cfg.Dir); err != nil || len(entries) > 0 {
		return errors.Join(fmt.Errorf("folder %s: want an empty one", s.cfg.Dir), err)
	}
	if s.user == nil {
		return nil
	}
	if err := reachable(filepath.Dir(s.cfg.Dir)); err != nil {
		return err
	}
	return os.Chown(s.cfg.Dir, int(s.user.uid), int(s.user.gid))
}

// reachable tells whether everybody may pass through a folder and those above it.
func reachable(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return err
	case info.Mode().Perm()&0o001 == 0:
		return fmt.Errorf("folder %s is closed to the user the server runs as", dir)
	case filepath.Dir(dir) == dir:
		return nil
	}
	return reachable(filepath.Dir(dir))
}

// initialize makes the cluster. The password goes through a file, because command lines
// can be seen by everybody.
func (s *Server) initialize(ctx context.Context) error {
	file := filepath.Join(s.cfg.Dir, "password")
	if err := os.WriteFile(file, []byte(s.password), 0o600); err != nil {
		return err
	}
	defer os.Remove(file)
	if s.user != nil {
		if err := os.Chown(file, int(s.user.uid), int(s.user.gid)); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "initdb"),
		"--pgdata", s.data(), "--username=postgres", "--pwfile", file, "--auth=scram-sha-256",
		"--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	cmd.Dir, cmd.Env = s.cfg.Dir, environment()
	cmd.SysProcAttr = attributes(s.user)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// launch starts the server's first process, which starts the others.
func (s *Server) launch() (*process, error) {
	out, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	settings := map[string]string{
		"listen_addresses": "127.0.0.1", "port": strconv.Itoa(s.port), "unix_socket_directories": "",
		"timezone": "UTC", "log_timezone": "UTC",
	}
	maps.Copy(settings, s.cfg.Settings)
	args := []string{"-D", s.data()}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), args...)
	cmd.Dir, cmd.Env = s.cfg.Dir, environment()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = attributes(s.user)
	return begin(cmd)
}

// environment is the caller's without what steers PostgreSQL's programs.
func environment() []string {
	kept := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PG") })
	return append(kept, "LC_ALL=C")
}

// freePort is a port that nobody listens on. It lies below the range that systems take
// ports for outgoing connections from: a client that tries again and again to reach
// a server that is down could otherwise be given the server's port itself.
func freePort(try int) int {
	const lowest, highest = 15000, 32000
	for {
		port := lowest + rand.IntN(highest-lowest)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			_ = l.Close()
		}
		if err == nil || try > 3 {
			return port // after several failures the server's own message says more
		}
	}
}
