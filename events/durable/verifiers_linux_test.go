package durable_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// bound is how a process is started that must not outlive this one.
func bound() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// unplug takes a SQLite file away from this process, as a disk does that is pulled: every
// read and write through the descriptors it has open fails, and the path, which must lead
// through a symbolic link of this process's own, leads nowhere. Other processes do not
// notice. replug puts both back.
//
// What the operating system has in memory stays, as with such a disk: the sizes of the
// files, and what processes share beside a WAL. So this process still sees that there was
// a commit, and cannot read it.
func unplug(path string) (replug func() error, err error) {
	link := filepath.Dir(path)
	folder, err := os.Readlink(link)
	if err != nil {
		return nil, err
	}
	file, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(link); err != nil {
		return nil, err
	}
	saved := make(map[int]int) // by descriptor, one to the file
	for more := true; more && err == nil; {
		more, err = divert(file, saved)
	}
	if err == nil && len(saved) == 0 {
		err = errors.New("no descriptor of " + file)
	}
	return func() error {
		err := os.Symlink(folder, link)
		for fd, old := range saved {
			// The old descriptor stays: closing it would drop the file's locks.
			err = errors.Join(err, syscall.Dup3(old, fd, syscall.O_CLOEXEC))
		}
		return err
	}, err
}

// oPath opens a descriptor that tells what a file is and neither reads nor writes it.
const oPath = 0x200000

// divert makes the descriptors of the file, and of the WAL beside it, useless, and tells
// whether there were any.
func divert(file string, saved map[int]int) (found bool, err error) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return false, err
	}
	spare := make(map[int]bool)
	for _, old := range saved {
		spare[old] = true
	}
	for _, entry := range entries {
		fd, _ := strconv.Atoi(entry.Name())
		to, err := os.Readlink("/proc/self/fd/" + entry.Name())
		if err != nil || spare[fd] || !slices.Contains([]string{file, file + "-wal"}, to) {
			continue
		}
		if saved[fd] != 0 {
			continue // is useless already
		}
		old, err := syscall.Dup(fd)
		if err == nil {
			spare[old], saved[fd], found = true, old, true
			err = replace(fd, to)
		}
		if err == nil && to == file {
			err = share(old)
		}
		if err != nil {
			return false, err
		}
	}
	return found, nil
}

// replace makes fd a descriptor of the file that can do nothing with it.
func replace(fd int, file string) error {
	useless, err := syscall.Open(file, oPath|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(useless)
	return syscall.Dup3(useless, fd, syscall.O_CLOEXEC)
}

// share takes the lock again that every SQLite connection with a WAL holds as long as it is
// open, and that the operating system drops when a process closes any descriptor of the
// file. Without it, the last process to close the file would not see that this one is
// there.
func share(fd int) error {
	err := syscall.FcntlFlock(uintptr(fd), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_RDLCK, Start: 0x40000002, Len: 510})
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	return nil
}
