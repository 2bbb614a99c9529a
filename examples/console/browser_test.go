package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/oatmill/oatmill/examples/internal/clitest"
)

// browsers is the one browser that all tests share. Each test has a profile of its own in
// it.
var browsers chromium

type chromium struct {
	once  sync.Once
	ctx   context.Context
	end   []func()
	err   error
	found bool
}

// start starts Chromium, the first time.
func (c *chromium) start() {
	var program string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		return
	}
	c.found = true
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.IgnoreCertErrors, chromedp.WindowSize(1280, 900),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.WSURLReadTimeout(patience),
	)
	allocator, endAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, end := chromedp.NewContext(allocator)
	c.ctx, c.end = ctx, []func(){end, endAllocator}
	c.err = chromedp.Do(ctx)
}

func (c *chromium) close() {
	for _, end := range c.end {
		end()
	}
}

// step is something done in a browser that yields nothing.
type step = chromedp.Action[chromedp.Void]

// tell sends the browser a command of its protocol.
func tell[P, R any](command cdp.Command[P, R], params P) step {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, params)
		return err
	})
}

// tab is a page in a browser, in a profile of its own unless it is a second one.
type tab struct {
	t    *testing.T
	ctx  context.Context
	site *serving
}

// tab opens a browser.
func (s *serving) tab(t *testing.T) *tab {
	t.Helper()
	browsers.once.Do(browsers.start)
	if !browsers.found {
		clitest.Missing(t, "no Chromium is on PATH: install it (Debian: apt-get install chromium)")
	}
	must(t, browsers.err)
	ctx, end := chromedp.NewContext(browsers.ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(end)
	return (&tab{t: t, ctx: ctx, site: s}).begin()
}

// second opens another tab of the same browser.
func (b *tab) second() *tab {
	b.t.Helper()
	ctx, end := chromedp.NewContext(b.ctx)
	b.t.Cleanup(end)
	return (&tab{t: b.t, ctx: ctx, site: b.site}).begin()
}

// begin opens the page. The first thing done in a tab must not have a deadline, which
// would be the tab's own.
func (b *tab) begin() *tab {
	b.t.Helper()
	must(b.t, chromedp.Do(b.ctx))
	b.do(chromedp.EmulateViewport(1280, 900), tell(emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}))
	return b
}

// do does things one after the other, each within the test's patience.
func (b *tab) do(actions ...step) {
	b.t.Helper()
	if err := b.try(actions...); err != nil {
		b.fail(err)
	}
}

func (b *tab) try(actions ...step) error {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	return chromedp.Do(ctx, actions...)
}

// ask does what yields something.
func ask[T any](b *tab, action chromedp.Action[T]) T {
	b.t.Helper()
	value, err := tried(b, action)
	if err != nil {
		b.fail(err)
	}
	return value
}

// fail ends the test with what there is to see.
func (b *tab) fail(err error) {
	b.t.Helper()
	b.shot("failed")
	b.t.Fatalf("%v at %s: %s", err, b.path(), b.main())
}

// lead does what leads to another page, waits until that is there, and returns the status
// it came with.
func (b *tab) lead(actions ...step) int64 {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	response, err := chromedp.RunResponse(ctx, actions...)
	if err != nil {
		b.fail(err)
	}
	return response.Status
}

// open goes to a path of the server.
func (b *tab) open(path string) int64 {
	b.t.Helper()
	return b.lead(chromedp.Navigate(b.site.url + path))
}

// click follows a link or presses a button that leads to another page.
func (b *tab) click(selector string) int64 {
	b.t.Helper()
	return b.lead(chromedp.Click(chromedp.CSS(selector)))
}

// press clicks what leads nowhere else.
func (b *tab) press(selector string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.CSS(selector)))
}

// fill types into a field in place of what it holds.
func (b *tab) fill(selector, text string) {
	b.t.Helper()
	b.do(chromedp.WaitVisible(chromedp.CSS(selector)))
	eval[chromedp.Void](b, fmt.Sprintf("{ const field = document.querySelector(%s); field.focus(); field.select() }", quote(selector)))
	b.do(chromedp.KeyEvent(kb.Delete), insert(text))
}

// insert types a text into what has the focus, in one go.
func insert(text string) step {
	return tell(input.InsertText, input.InsertTextParams{Text: text})
}

// choose chooses an option of a select element, as its keys and its menu do.
func (b *tab) choose(selector, value string) {
	b.t.Helper()
	b.do(chromedp.WaitVisible(chromedp.CSS(selector)))
	eval[chromedp.Void](b, fmt.Sprintf("{ const list = document.querySelector(%s); list.value = %s; list.dispatchEvent(new Event('change', {bubbles: true})) }", quote(selector), quote(value)))
	if b.value(selector) != value {
		b.t.Fatalf("%s does not offer %q", selector, value)
	}
}

// eval is what an expression yields in the page. Without scripts in the page it works
// still: the debugger asks.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	return ask(b, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// text is the text of an element as a person sees it.
func (b *tab) text(selector string) string {
	b.t.Helper()
	return strings.TrimSpace(ask(b, chromedp.Text(chromedp.CSS(selector))))
}

func (b *tab) value(selector string) string {
	b.t.Helper()
	return ask(b, chromedp.Value(chromedp.CSS(selector)))
}

// has tells whether there is such an element.
func (b *tab) has(selector string) bool {
	b.t.Helper()
	return eval[bool](b, fmt.Sprintf("document.querySelector(%s) !== null", quote(selector)))
}

// all is the text of every such element.
func (b *tab) all(selector string) []string {
	b.t.Helper()
	return eval[[]string](b, fmt.Sprintf("[...document.querySelectorAll(%s)].map(e => e.textContent.trim().replace(/\\s+/g, ' '))", quote(selector)))
}

// page is everything there is to read.
func (b *tab) page() string {
	text, _ := tried(b, chromedp.Evaluate[string]("document.body.innerText")) // for a message about something else
	return text
}

// main is what the page is about, on one line, for messages.
func (b *tab) main() string {
	const enough = 600
	text, _ := tried(b, chromedp.Evaluate[string]("document.querySelector('main').innerText"))
	text = strings.Join(strings.Fields(text), " ")
	return text[:min(len(text), enough)]
}

// tried is ask without a failure.
func tried[T any](b *tab, action chromedp.Action[T]) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, action)
}

// says demands that the page says something.
func (b *tab) says(texts ...string) {
	b.t.Helper()
	page := b.page()
	for _, text := range texts {
		if !strings.Contains(page, text) {
			b.t.Errorf("%s does not say %q: %s", b.path(), text, b.main())
		}
	}
}

// path is the address without the server.
func (b *tab) path() string {
	at, _ := tried(b, chromedp.Location()) // for messages
	return strings.TrimPrefix(at, b.site.url)
}

// at demands that the browser was led to a path.
func (b *tab) at(path string) {
	b.t.Helper()
	if got := b.path(); got != path {
		b.t.Fatalf("the browser is at %s, want %s: %s", got, path, b.main())
	}
}

func quote(text string) string {
	encoded, _ := json.Marshal(text) // a string can be encoded
	return string(encoded)
}

// signIn signs somebody in, on the page where the server sends who is not.
func (b *tab) signIn(name, password string) {
	b.t.Helper()
	b.open("/")
	b.fill("#name", name)
	b.fill("#password", password)
	b.click("#submit")
}

// noScripts keeps pages from running any.
func (b *tab) noScripts() {
	b.t.Helper()
	b.do(tell(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
}

// narrow makes it a telephone.
func (b *tab) narrow() {
	b.t.Helper()
	b.do(tell(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: 360, Height: 740, DeviceScaleFactor: 1, Mobile: true}))
}

// dark is how a person who likes it dark sees the page.
func (b *tab) dark(on bool) {
	b.t.Helper()
	scheme := "light"
	if on {
		scheme = "dark"
	}
	b.do(tell(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	}))
	eval[chromedp.Void](b, "document.getAnimations().forEach(animation => animation.finish())") // colours fade over
}

// mayCopy lets the page use the clipboard, as it may where a person presses a button, and
// lets the test read it.
func (b *tab) mayCopy() {
	b.t.Helper()
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		b.do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
			c := chromedp.FromContext(ctx)
			_, err := cdp.Call(ctx, c.Browser, browser.SetPermission, browser.SetPermissionParams{
				Permission: &browser.PermissionDescriptor{Name: name}, Setting: browser.PermissionSettingGranted,
				Origin: b.site.url, BrowserContextID: c.BrowserContextID,
			})
			return err
		}))
	}
}

// copied is what is in the clipboard.
func (b *tab) copied() string {
	b.t.Helper()
	return eval[string](b, "navigator.clipboard.readText()")
}

// shot keeps a picture of the whole page in the folder that OATMILL_SCREENSHOTS names, or
// among the test's artifacts.
func (b *tab) shot(name string) {
	b.t.Helper()
	picture, err := tried(b, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Logf("no picture of %s: %v", name, err)
		return
	}
	folder := os.Getenv("OATMILL_SCREENSHOTS")
	if folder == "" {
		folder = b.t.ArtifactDir()
	}
	must(b.t, os.MkdirAll(folder, 0o755))
	test := strings.NewReplacer("/", "-", "Test", "").Replace(b.t.Name())
	must(b.t, os.WriteFile(filepath.Join(folder, test+"-"+name+".png"), picture, 0o644))
}

// within demands that something comes true soon, and looks every now and then.
func within(t *testing.T, limit time.Duration, what string, is func() bool) {
	t.Helper()
	again := time.NewTicker(25 * time.Millisecond)
	defer again.Stop()
	for began := time.Now(); !is(); <-again.C {
		if time.Since(began) > limit {
			t.Fatalf("%s takes longer than %v", what, limit)
		}
	}
}
