package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/oatmill/oatmill/examples/internal/clitest"
)

// The release of axe-core that pages are checked with, and the digest of its script.
const (
	axeRelease = "axe-core@4.14.1"
	axeDigest  = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
)

// axe is the script that finds what shuts people out. npm fetches it, once, into the
// user's cache.
func axe(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	folder := filepath.Join(cache, "oatmill")
	file := filepath.Join(folder, strings.ReplaceAll(axeRelease, "@", "-")+".js")
	script, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		script = fetchAxe(t)
		must(t, os.MkdirAll(folder, 0o755))
		must(t, os.WriteFile(file, script, 0o644))
	}
	if sum := sha256.Sum256(script); hex.EncodeToString(sum[:]) != axeDigest {
		t.Fatalf("%s is not %s: its SHA-256 is %x", file, axeRelease, sum)
	}
	return string(script)
}

func fetchAxe(t *testing.T) []byte {
	t.Helper()
	npm, err := exec.LookPath("npm")
	if err != nil {
		clitest.Missing(t, "npm is not on PATH, which fetches "+axeRelease+": install it (Debian: apt-get install npm)")
	}
	cmd := exec.Command(npm, "pack", "--silent", axeRelease)
	cmd.Dir = t.TempDir()
	if out, err := cmd.CombinedOutput(); err != nil {
		clitest.Missing(t, fmt.Sprintf("npm cannot fetch %s: %v: %s", axeRelease, err, bytes.TrimSpace(out)))
	}
	packed, err := os.Open(filepath.Join(cmd.Dir, strings.ReplaceAll(axeRelease, "@", "-")+".tgz"))
	must(t, err)
	defer packed.Close()
	unzipped, err := gzip.NewReader(packed)
	must(t, err)
	for files := tar.NewReader(unzipped); ; {
		header, err := files.Next()
		must(t, err)
		if header.Name == "package/axe.min.js" {
			script, err := io.ReadAll(files)
			must(t, err)
			return script
		}
	}
}

// violation is what axe finds wrong.
type violation struct {
	ID, Impact, Help string
	Nodes            []struct {
		Target         []any
		FailureSummary string
	}
}

// accessible demands that axe finds nothing wrong with the page, in the light and in the
// dark.
func (b *tab) accessible(script, name string) {
	b.t.Helper()
	for _, dark := range []bool{false, true} {
		b.dark(dark)
		shade := map[bool]string{false: "light", true: "dark"}[dark]
		b.shot(name + "-" + shade)
		for _, v := range b.violations(script) {
			details, _ := json.Marshal(v.Nodes) // for a message
			b.t.Errorf("%s (%s, %s): %s: %s: %s", b.path(), name, shade, v.ID, v.Help, details)
		}
	}
	b.dark(false)
}

func (b *tab) violations(script string) []violation {
	b.t.Helper()
	return eval[[]violation](b, script+"; axe.run(document, {resultTypes: ['violations']}).then(result => result.violations)")
}

// fits demands that the page fits a telephone.
func (b *tab) fits(name string) {
	b.t.Helper()
	if wide := b.width(); wide > 360 {
		b.t.Errorf("%s (%s) is %d wide", b.path(), name, wide)
	}
	if outside := b.outside(); len(outside) > 0 {
		b.t.Errorf("%s (%s) has out of reach: %q", b.path(), name, outside)
	}
	b.shot(name + "-360")
}

// width is how wide the page is, what has to be scrolled to included.
func (b *tab) width() int {
	b.t.Helper()
	return eval[int](b, "document.documentElement.scrollWidth")
}

// outside is what can be used but does not lie within the page, or is too low for a
// finger.
func (b *tab) outside() []string {
	b.t.Helper()
	return eval[[]string](b, `[...document.querySelectorAll('a, button, input:not([type=hidden]), select, textarea, summary')]
		.filter(e => e.checkVisibility() && !e.closest('.unseen, .skip'))
		.map(e => [e, e.getBoundingClientRect()])
		.filter(([e, r]) => r.width > 0 && (r.left < 0 || r.right > 360.5 || r.height < 16))
		.map(([e, r]) => (e.id || e.className || e.tagName) + ' ' + JSON.stringify(r))`)
}

// visitAll visits every page there is, also those that say what is wrong, and ends at the
// form for a token.
func (b *tab) visitAll(used string, look func(name string)) {
	b.t.Helper()
	b.open("/")
	look("sign-in")
	b.fill("#name", "alice")
	b.fill("#password", "wrong")
	b.click("#submit")
	look("sign-in-wrong")
	b.open("/sign-in/once/SPENT")
	look("link-spent")
	b.open(b.site.Await(b.t, b.site.Stdout, linkLine))
	look("link")
	b.signIn("alice", b.site.password(b.t))
	for name, path := range map[string]string{
		"list": "/orgs/acme/tokens", "found": "/orgs/acme/tokens?q=cluster&sort=label", "nothing-found": "/orgs/acme/tokens?q=zzz",
		"token": used, "edit": used + "/edit", "deactivate": used + "/deactivate", "delete": used + "/delete",
		"activity": "/orgs/acme/activity", "organization": "/orgs/acme/organization", "not-found": "/orgs/other/tokens",
	} {
		b.open(path)
		look(name)
	}
	b.open(used)
	b.press("#actions summary")
	look("menu")
	b.open("/orgs/acme/tokens/new")
	b.press("#access-selected")
	look("generate")
	b.press("#add")
	b.fill("#repository-0", "other/UPPER")
	b.click("#submit")
	look("generate-wrong")
	b.fill("#label", "made here")
	b.press("#access-public")
	b.click("#submit")
	look("secret")
	b.lead(chromedp.Reload())
	look("sent-twice")
	b.interrupted(used, look)
}

// interrupted visits the pages that come up when others are at work as well.
func (b *tab) interrupted(used string, look func(name string)) {
	b.t.Helper()
	other := b.second()
	b.open(used + "/edit")
	other.open(used + "/edit")
	other.fill("#label", "all clusters")
	other.click("#submit")
	b.fill("#description", "typed at the same time")
	b.click("#submit")
	look("changed")

	script := b.site.script(b.t, "alice", b.site.password(b.t))
	for i := range 3 {
		script.generate(fmt.Sprintf("filling %d", i+1), time.Time{})
	}
	b.open("/orgs/acme/tokens")
	look("limit")
	b.open("/orgs/acme/tokens/new")
	look("limit-form")

	b.open(used + "/edit")
	other.click("#sign-out")
	b.click("#submit")
	look("session-over")
	b.signIn("alice", b.site.password(b.t))
	b.open("/orgs/acme/tokens/new")
}

// TestAccessible: axe finds no violation on any page.
func TestAccessible(t *testing.T) {
	script := axe(t)
	s, used := furnished(t)
	b := s.tab(t)
	b.visitAll(used, func(name string) { b.accessible(script, name) })

	// What is planted, is found.
	eval[chromedp.Void](b, "document.querySelector('label[for=label]').remove()")
	found := b.violations(script)
	if !slices.ContainsFunc(found, func(v violation) bool { return v.ID == "label" }) {
		t.Errorf("of a field without a label axe says %+v", found)
	}
}

// TestNarrow: everything can be reached on a telephone.
func TestNarrow(t *testing.T) {
	s, used := furnished(t)
	b := s.tab(t)
	b.narrow()
	b.visitAll(used, b.fits)

	// What is planted, is found.
	eval[chromedp.Void](b, "{ const field = document.querySelector('#label'); field.style.marginLeft = '300px'; field.style.minWidth = '200px' }")
	if b.width() <= 360 || len(b.outside()) == 0 {
		t.Errorf("a field that sticks out is not seen: the page is %d wide, and out of reach is %q", b.width(), b.outside())
	}
}

// TestNoScripts goes the whole way with scripts turned off.
func TestNoScripts(t *testing.T) {
	d := newDocker(t)
	s := serve(t)
	b := s.tab(t)
	b.noScripts()
	b.signIn("alice", s.password(t))
	b.click("#generate")
	b.fill("#label", "by hand")
	b.press("#access-selected")
	b.fill("#repository-0", "acme/api")
	b.choose("#level-0", "write")
	b.click("#add")
	b.fill("#repository-1", "acme/mistake")
	b.click("#add")
	b.fill("#repository-2", "acme/web")
	b.click(".repository:nth-child(2) .remove")
	b.shot("rows")
	b.click("#submit")
	if b.do(chromedp.WaitVisible(chromedp.CSS("#secret"))); eval[bool](b, "document.querySelector('#copy').checkVisibility()") {
		t.Error("a button is shown that does nothing")
	}
	secret := b.text("#secret")
	if out, ok := d.paste(b.text("#login"), secret); !ok {
		t.Errorf("docker login: %s", out)
	}
	must(t, s.push("acme/api:v1", secret))
	b.click("#done")
	page := b.path()
	b.says("acme/api, read and write", "acme/web, read")
	if strings.Contains(b.page(), "mistake") {
		t.Error("what was removed is there")
	}
	within(t, time.Second, "last used", func() bool {
		b.lead(chromedp.Reload())
		return !strings.HasPrefix(b.text("#last-used"), "Never")
	})
	b.press("#actions summary")
	b.click("#edit")
	b.fill("#description", "no scripts")
	b.click("#submit")
	b.says("The changes were saved", "no scripts")
	b.press("#actions summary")
	b.click("#deactivate")
	b.click("#submit")
	b.at(page + "?notice=deactivated")
	if out, ok := d.paste("docker login --username acme "+s.host, secret); ok {
		t.Errorf("docker login with a deactivated token: %s", out)
	}
	b.press("#actions summary")
	if offered := b.all("#actions li"); len(offered) != 1 || offered[0] != "Delete" {
		t.Errorf("of an inactive token the menu offers %q", offered)
	}
	b.click("#delete")
	b.click("#submit")
	b.says("The token was deleted", "There are no tokens yet")
}

// readmePicture is how the README shows the console.
const readmePicture = "console.png"

// TestPicture looks at the picture in the repository, and makes it anew if it is asked to.
func TestPicture(t *testing.T) {
	if os.Getenv("OATMILL_README_PICTURE") != "" {
		s, _ := furnished(t)
		b := s.tab(t)
		b.signIn("alice", s.password(t))
		b.do(chromedp.EmulateViewport(1280, 860))
		must(t, os.WriteFile(readmePicture, ask(b, chromedp.CaptureScreenshot()), 0o644))
	}
	picture, err := os.ReadFile(readmePicture)
	must(t, err)
	config, err := png.DecodeConfig(bytes.NewReader(picture))
	if err != nil || config.Width != 1280 || len(picture) >= 150<<10 {
		t.Errorf("the picture is %+v with %d bytes (%v); OATMILL_README_PICTURE=1 makes it anew", config, len(picture), err)
	}
}
