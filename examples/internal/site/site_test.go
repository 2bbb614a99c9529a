package site_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/oatmill/oatmill/examples/internal/site"
	"github.com/oatmill/oatmill/quota"
)

// TestRepositories: suggested is what holds an image, of one organization, and nothing of
// the registry's own.
func TestRepositories(t *testing.T) {
	data := site.Folder(t.TempDir())
	for _, path := range []string{
		"acme/api/_manifests/revisions", "acme/team/web/_manifests", "acme/api/_layers/sha256", "acme/empty/_uploads", "globex/api/_manifests",
	} {
		if err := os.MkdirAll(filepath.Join(data.Images(), "docker/registry/v2/repositories", path), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for query, want := range map[string][]string{"": {"acme/api", "acme/team/web"}, "eb": {"acme/team/web"}, "zzz": nil} {
		got, err := data.Repositories(t.Context(), "acme", query)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("for %q suggested are %q (%v), want %q", query, got, err, want)
		}
	}
	if got, err := data.Repositories(t.Context(), "nobody", ""); err != nil || len(got) > 0 {
		t.Errorf("of nobody suggested are %q (%v)", got, err)
	}
}

func TestParseRate(t *testing.T) {
	if got, err := site.ParseRate("--limit", "100/6h"); err != nil || got != (quota.Rate{Count: 100, Window: 6 * time.Hour}) {
		t.Errorf("100/6h is %v (%v)", got, err)
	}
	for _, text := range []string{"", "100", "0/1m", "-1/1m", "1/0s", "1/1ms", "1/1500ms", "x/1m"} {
		if got, err := site.ParseRate("--limit", text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}
