//go:build !unix

package sqlitelog

import "syscall"

// unwritable returns why this process may not create files in a folder, 0 if that is not
// known.
func unwritable(string) syscall.Errno { return 0 }
