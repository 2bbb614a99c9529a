//go:build unix && !linux

package pgserver

import (
	"os"
	"syscall"
)

func quit() os.Signal { return syscall.SIGQUIT }

func attributes(as *account) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true}
	if as != nil {
		a.Credential = &syscall.Credential{Uid: as.uid, Gid: as.gid}
	}
	return a
}

// killChildren is not needed here as much as on Linux: the processes of a server end by
// themselves when the first one is gone, and a server that is started too early is
// started again.
func killChildren(int) ([]int, error) { return nil, nil }

func gone(int) error { return nil }
