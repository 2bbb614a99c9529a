//go:build !unix

package pgserver

import (
	"os"
	"syscall"
)

func quit() os.Signal { return os.Kill }

func attributes(*account) *syscall.SysProcAttr { return nil }

func killChildren(int) ([]int, error) { return nil, nil }

func gone(int) error { return nil }
