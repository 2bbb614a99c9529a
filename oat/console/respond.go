package console

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"mime"
	"net/http"
	"path"
	"strings"
)

// pages are the templates by name, each with the layout around it.
type pages map[string]*template.Template

func loadPages() (pages, error) {
	all := make(pages)
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		page := strings.TrimSuffix(path.Base(name), ".html")
		if page == "layout" || page == "parts" {
			continue
		}
		all[page], err = template.ParseFS(files, "templates/layout.html", "templates/parts.html", name)
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// asset is a file that every page refers to by its hash, so that browsers may keep it for
// ever.
type asset struct {
	content []byte
	hash    string
	kind    string
}

func loadAssets() (map[string]asset, error) {
	all := make(map[string]asset)
	entries, err := files.ReadDir("assets")
	for _, entry := range entries {
		content, err := files.ReadFile("assets/" + entry.Name())
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(content)
		kind := mime.TypeByExtension(path.Ext(entry.Name()))
		all[entry.Name()] = asset{content, hex.EncodeToString(sum[:6]), kind}
	}
	return all, err
}

func (c *Console) serveAsset(w http.ResponseWriter, r *http.Request) {
	a, ok := c.assets[r.PathValue("name")]
	switch {
	case !ok:
		c.notFound(w, r)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		c.wrongMethod(w, r, route{})
		return
	}
	w.Header().Set("Content-Type", a.kind)
	if r.URL.Query().Get("v") == a.hash {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	_, _ = w.Write(a.content)
}

// frame is what the layout shows around a page.
type frame struct {
	Title   string // of the page
	Product string
	Prefix  string
	User    string // "" when nobody is signed in, or it does not matter
	SignOut string
	Org     string // "" outside an organization
	Section string // which entry of the navigation is the current one
	Notice  notice
	Assets  map[string]string // addresses by name
}

// notice says what just happened, at the head of the page a browser was led to.
type notice struct {
	Kind string // "done" or "note"
	Text string
}

// At is a path within the organization. Names of organizations need no escaping.
func (f frame) At(rest string) string { return f.Prefix + "/orgs/" + f.Org + "/" + rest }

// Home is the first page.
func (f frame) Home() string { return f.Prefix + "/" }

func (c *Console) frame(title string) frame {
	assets := make(map[string]string, len(c.assets))
	for name, a := range c.assets {
		assets[name] = c.cfg.Prefix + "/assets/" + name + "?v=" + a.hash
	}
	return frame{Title: title, Product: c.cfg.Title, Prefix: c.cfg.Prefix, Assets: assets}
}

// frame is that of a page of the organization.
func (v *visit) frame(title, section string) frame {
	f := v.Console.frame(title)
	f.User, f.SignOut, f.Org, f.Section = v.user, v.cfg.SignOut, v.org.Name, section
	f.Notice = noticeOf(v.r.URL.Query().Get("notice"))
	return f
}

// noticeOf knows the notices by names, so that a link can make a page say nothing else.
func noticeOf(name string) notice {
	switch name {
	case "saved":
		return notice{"done", "The changes were saved."}
	case "unchanged":
		return notice{"note", "Nothing was changed, because the form said what the token said already."}
	case "deactivated":
		return notice{"done", "The token was deactivated. It does not open anything any more."}
	case "deleted":
		return notice{"done", "The token was deleted. It does not open anything any more."}
	case "gone":
		return notice{"note", "There was nothing left to do: the token had been deleted already."}
	case "inactive":
		return notice{"note", "There was nothing left to do: the token had been deactivated already. An inactive token can only be deleted."}
	case "expired":
		return notice{"note", "The token has expired meanwhile. It does not open anything any more, and can only be deleted."}
	case "active":
		return notice{"note", "This token is active. Here, a token must be deactivated before it is deleted."}
	}
	return notice{}
}

// render writes a page. It is made in full before the first byte goes out, so that no
// page ends in the middle.
func (c *Console) render(w http.ResponseWriter, r *http.Request, status int, name string, data any) {
	var page bytes.Buffer
	if err := c.pages[name].ExecuteTemplate(&page, "layout", data); err != nil {
		c.log(r, slog.LevelError, "page "+name+" could not be made", err)
		http.Error(w, "This page could not be made.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes())
}

func (v *visit) render(status int, name string, data any) {
	v.Console.render(v.w, v.r, status, name, data)
}

// message is a page that says one thing.
type message struct {
	frame
	Text string
	Link string // where to go from here
	Word string // what that is called
}

// fail shows a page outside any organization, to whomever it is.
func (c *Console) fail(w http.ResponseWriter, r *http.Request, status int, title, text string) {
	c.render(w, r, status, "message", message{frame: c.frame(title), Text: text, Link: c.cfg.Prefix + "/", Word: "To your organizations"})
}

// notFound is the one answer for what is not there and for what is none of the person's
// business.
func (c *Console) notFound(w http.ResponseWriter, r *http.Request) {
	c.fail(w, r, http.StatusNotFound, "Not found", "There is nothing here, or it belongs to an organization that you do not own.")
}

// noToken is shown to owners only.
func (v *visit) noToken() {
	f := v.frame("No such token", "tokens")
	v.render(http.StatusNotFound, "message", message{f, v.org.Name + " has no token with this id.", v.at("tokens"), "To the access tokens"})
}

func (c *Console) wrongMethod(w http.ResponseWriter, r *http.Request, to route) {
	allowed := []string{http.MethodGet, http.MethodHead}
	if to.post != nil {
		allowed = append(allowed, http.MethodPost)
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	c.fail(w, r, http.StatusMethodNotAllowed, "That cannot be done here", "This address does not take what the browser asked for. Nothing was changed.")
}

func (c *Console) crossOrigin(w http.ResponseWriter, r *http.Request) {
	c.fail(w, r, http.StatusForbidden, "This came from another site", "A form of this console must be sent from the console itself. Nothing was changed.")
}

func (c *Console) unavailable(w http.ResponseWriter, r *http.Request, err error) {
	c.log(r, slog.LevelError, "console cannot answer", err)
	retryLater(w)
	c.fail(w, r, http.StatusServiceUnavailable, "Not available at the moment", "The organization's data cannot be read now. Nothing was changed. Try again in a moment.")
}

// retryLater says when a request that is answered 503 can be sent again.
func retryLater(w http.ResponseWriter) { w.Header().Set("Retry-After", "2") }

// counted is a number with its noun.
func counted[N int | int64](n N, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case noun == "repository":
		noun = "repositorie"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
