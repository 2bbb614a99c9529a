//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package site

import (
	"context"
	"os"
	"syscall"
	"time"
)

// retryAfter is how long to wait before trying again to lock a folder.
const retryAfter = 10 * time.Millisecond

// lock locks an open folder until it is closed, and reports whether the file system could.
// While another process has the lock, it waits until ctx ends.
func lock(ctx context.Context, folder *os.File) (locked bool, err error) {
	for {
		err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != syscall.EWOULDBLOCK && err != syscall.EINTR {
			return err == nil, nil
		}
		select {
		case <-time.After(retryAfter):
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}
