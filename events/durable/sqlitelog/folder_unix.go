//go:build unix

package sqlitelog

import "syscall"

// unwritable returns why this process may not create files in a folder, 0 if it may.
func unwritable(folder string) syscall.Errno {
	const write = 2 // W_OK of access(2)
	errno, _ := syscall.Access(folder, write).(syscall.Errno)
	return errno
}
