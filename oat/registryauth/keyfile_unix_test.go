//go:build unix

package registryauth_test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/oatmill/oatmill/oat/registryauth"
)

// TestKeyFileIsNamedPipe demands an error where the path is a named pipe, which nothing
// writes to.
//
// Fails if readPrivateFile opens what is not a regular file: OpenKeys then never returns.
func TestKeyFileIsNamedPipe(t *testing.T) {
	path := keyPath(t)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := registryauth.OpenKeys(path, registryauth.KeysConfig{})
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("a named pipe as key file: %v", err)
	}
}
