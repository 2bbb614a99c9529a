package pgserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func quit() os.Signal { return syscall.SIGQUIT }

// attributes are how a program is started: as another user perhaps, apart from the
// caller's terminal, and not to outlive the caller.
func attributes(as *account) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGQUIT}
	if as != nil {
		a.Credential = &syscall.Credential{Uid: as.uid, Gid: as.gid}
	}
	return a
}

// killChildren ends all children of a process, and returns which. The process is stopped
// for that: it then starts no others, and gives no number of a dead child free for
// somebody else's process.
func killChildren(parent int) (children []int, err error) {
	if err := syscall.Kill(parent, syscall.SIGSTOP); err != nil {
		return nil, nil // it has ended, and its children end by themselves
	}
	if err := until(parent, "T", "Z", ""); err != nil {
		return nil, err
	}
	entries, err := filepath.Glob("/proc/[0-9]*")
	for _, entry := range entries {
		pid, _ := strconv.Atoi(filepath.Base(entry))
		if _, of := status(pid); of == parent {
			children = append(children, pid)
			err = errors.Join(err, syscall.Kill(pid, syscall.SIGKILL))
		}
	}
	return children, err
}

// gone waits for a process to end.
func gone(pid int) error { return until(pid, "Z", "") }

// until waits for a process to be in one of the states.
func until(pid int, states ...string) error {
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		state, _ := status(pid)
		if slices.Contains(states, state) {
			return nil
		}
		if time.Since(began) > patience {
			return fmt.Errorf("process %d of PostgreSQL is still in state %s", pid, state)
		}
	}
}

// status is a process's state and parent, zero when it is gone.
func status(pid int) (state string, parent int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0
	}
	// The name, in parentheses, may hold anything.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 2 {
		return "", 0
	}
	parent, _ = strconv.Atoi(fields[1])
	return fields[0], parent
}
