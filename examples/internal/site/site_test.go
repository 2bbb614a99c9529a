package site_test

import (
	"net"
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

func TestBaseURL(t *testing.T) {
	for _, c := range []struct{ given, scheme, listens, want string }{
		{"", "http", "127.0.0.1:8080", "http://127.0.0.1:8080"},
		{"", "https", "[::]:8443", "https://127.0.0.1:8443"},
		{"https://hub.example.com/", "http", "127.0.0.1:8080", "https://hub.example.com"},
	} {
		addr, err := net.ResolveTCPAddr("tcp", c.listens)
		if err != nil {
			t.Fatal(err)
		}
		if got := site.BaseURL(c.given, c.scheme, addr); got != c.want {
			t.Errorf("on %s with %q it is %s, want %s", c.listens, c.given, got, c.want)
		}
	}
	for given, want := range map[string]bool{"": true, "https://hub.example.com": true, "hub.example.com": false, "ftp://hub": false, "https://": false} {
		if site.CheckURL(given) != want {
			t.Errorf("%q is taken for an address: %t", given, !want)
		}
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
