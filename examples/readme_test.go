// Package examples_test holds the README to its word.
package examples_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadme runs the program in the README as if it stood in this module, and compares
// what it prints with what the README says it prints.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	program, want := fenced(t, string(readme), "```go\n"), fenced(t, string(readme), "It prints\n\n```\n")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	source, overlay := filepath.Join(t.TempDir(), "main.go"), filepath.Join(t.TempDir(), "overlay.json")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(here, "readme", "main.go"): source}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{source: []byte(program), overlay: replace} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "run", "-overlay", overlay, "./readme")
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	got, err := cmd.CombinedOutput()
	if err != nil || string(got) != want {
		t.Errorf("the program in the README: %v\n%s", err, got)
	}
}

// fenced is the text between the opening, which must occur once, and the end of the
// fence.
func fenced(t *testing.T, text, opening string) string {
	t.Helper()
	_, after, found := strings.Cut(text, opening)
	body, rest, closed := strings.Cut(after, "```\n")
	if !found || !closed || strings.Contains(rest, opening) {
		t.Fatalf("the README does not have exactly one block after %q", opening)
	}
	return body
}
