//go:build !linux

package durable_test

import (
	"errors"
	"syscall"
)

// bound is how a process is started. It ends when its input does, and so with this one.
func bound() *syscall.SysProcAttr { return nil }

// unplug cannot be had here: it needs to reach the descriptors that SQLite has open.
func unplug(string) (replug func() error, err error) { return nil, errors.ErrUnsupported }
