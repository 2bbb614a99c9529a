package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oatmill/oatmill/examples/internal/cli"
	"github.com/oatmill/oatmill/examples/internal/site"
)

// failing is a standard output that cannot be written to.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// TestFailureLeavesNothing has starts and commands fail for every reason there is, on a path
// where nothing is: nothing is there afterwards either. What makes no sense ends with 2.
//
// Fails if serve or a command creates before it checks, or does not remove what it created.
func TestFailureLeavesNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		args string
		code int
	}{
		{"--addr " + taken.Addr().String(), cli.Refused},
		{"--addr " + taken.Addr().String() + " serve", cli.Refused},
		{"--addr nonsense", cli.Usage},
		{"--addr 127.0.0.1:99999", cli.Usage},
		{"--addr 127.0.0.1:0 --url registry.example.com", cli.Usage},
		{"--addr 127.0.0.1:0 --url https://registry.example.com/path", cli.Usage},
		{"--addr 127.0.0.1:0 --url https://alice:secret@registry.example.com", cli.Usage},
		{"--addr 127.0.0.1:0 --pull-limit 100", cli.Usage},
		{"--addr 127.0.0.1:0 --trusted-proxy proxy", cli.Usage},
		{"--addr 127.0.0.1:0 --public-repo base", cli.Usage},
		{"--addr 127.0.0.1:0 --connections-per-address -1", cli.Usage},
		{"org register Globex! --plan team --owner bob", cli.Usage},
		{"org register globex --plan gold --owner bob", cli.Refused},
		{"token list acme", cli.Refused},
		{"verify acme", cli.Refused},
		{"rebuild", cli.Refused},
	} {
		root := t.TempDir()
		shell := shell{filepath.Join(root, "srv", "registry")}
		shell.refuse(t, c.code, strings.Fields(c.args))
		if left := fileNames(t, root); len(left) != 0 {
			t.Errorf("%s left %v", c.args, left)
		}
	}
	// The secret could not be printed, so that no person has it.
	root := t.TempDir()
	var stderr bytes.Buffer
	code := run(context.Background(), []string{"--data", filepath.Join(root, "data"), "--addr", "127.0.0.1:0"}, failing{}, &stderr)
	if left := fileNames(t, root); code != cli.Refused || len(left) != 0 {
		t.Errorf("a start that cannot print ended with %d (%s) and left %v", code, &stderr, left)
	}
	if r := (shell{""}).run("--addr", "127.0.0.1:0"); r.code != cli.Usage {
		t.Errorf("no folder: %+v", r)
	}
}

// TestFailureLeavesFolder has starts fail in a folder that is there: it is as it was before.
//
// Fails if serve does not name the files it creates to [site.Folder.Create].
func TestFailureLeavesFolder(t *testing.T) {
	unusable := func(name string) func(t *testing.T, data site.Folder) {
		return func(t *testing.T, data site.Folder) {
			if err := os.WriteFile(data.File(name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, spoil := range map[string]func(*testing.T, site.Folder){
		"empty keys": unusable(site.KeysName),
		"jwks is a folder": func(t *testing.T, data site.Folder) {
			if err := os.MkdirAll(filepath.Join(data.JWKS(), "x"), 0o700); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, c := range []shell{registered(t), {filepath.Join(t.TempDir(), "data")}} {
				if err := os.MkdirAll(c.data, 0o700); err != nil {
					t.Fatal(err)
				}
				spoil(t, site.Folder(c.data))
				before := fileNames(t, c.data)
				c.refuse(t, cli.Refused, []string{"--addr", "127.0.0.1:0"}, c.data)
				if after := fileNames(t, c.data); !slices.Equal(before, after) {
					t.Errorf("before there were %q, after %q", before, after)
				}
			}
		})
	}
}

// fileNames are the names in a folder.
func fileNames(t *testing.T, folder string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}
