package main

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/oatmill/oatmill/examples/internal/accounts"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

//go:embed signin.html
var signInPage string

//go:embed signin.css
var signInStyle []byte

const (
	// maxBack bounds the path that somebody is led back to, in bytes.
	maxBack = 2 << 10
	// maxSignIn bounds the body of a sign-in form, in bytes: encoded, a path is up to three
	// times as long.
	maxSignIn = 3*maxBack + 4<<10
)

// desk is where people sign in and out. It looks like the console, whose style sheet it
// uses.
type desk struct {
	accounts *accounts.Accounts
	secure   bool
	logger   *slog.Logger
	page     *template.Template
	guard    *http.CrossOriginProtection
	address  func(*http.Request) string // of whoever sends a request
	signIns  *quota.Attempts
	now      func() time.Time
}

func newDesk(s *server, signIns *quota.Attempts) (*desk, error) {
	page, err := template.New("sign-in").Parse(signInPage)
	if err != nil {
		return nil, err
	}
	d := &desk{
		accounts: s.accounts, secure: s.secure(), logger: s.logger, page: page,
		guard: http.NewCrossOriginProtection(), address: s.proxies.ClientAddress, signIns: signIns, now: time.Now,
	}
	d.guard.SetDenyHandler(http.HandlerFunc(d.deny))
	return d, d.guard.AddTrustedOrigin(s.url)
}

func (d *desk) mount(mux *http.ServeMux) {
	for path, methods := range map[string]map[string]http.HandlerFunc{
		"/sign-in":             {http.MethodGet: d.show, http.MethodPost: d.signIn},
		"/sign-in/once/{link}": {http.MethodGet: d.showLink, http.MethodPost: d.redeem},
		"/sign-out":            {http.MethodPost: d.signOut},
		"/sign-in/style.css":   {http.MethodGet: style},
	} {
		mux.Handle(path, headers(d.guard.Handler(only(methods))))
	}
}

// only takes the methods there are. The console, which has all other addresses, would
// otherwise be asked for the rest.
func only(methods map[string]http.HandlerFunc) http.Handler {
	var allowed []string
	for method := range methods {
		allowed = append(allowed, method)
		if method == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	slices.Sort(allowed)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		if handler, ok := methods[method]; ok {
			handler(w, r)
			return
		}
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		http.Error(w, "This is not possible here.", http.StatusMethodNotAllowed)
	})
}

// deny answers a form that another site has a browser send.
func (d *desk) deny(w http.ResponseWriter, _ *http.Request) {
	d.render(w, http.StatusForbidden, signInForm{Back: "/", Problem: "This came from another site, and nothing was done."})
}

// headers are as strict as the console's. A policy of "no-referrer" would have browsers
// post forms from the origin "null".
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
			"X-Content-Type-Options":  "nosniff", "Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			w.Header().Set(name, value)
		}
		next.ServeHTTP(w, r)
	})
}

func style(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	_, _ = w.Write(signInStyle)
}

// signInPath is where somebody signs in to come back to a path.
func signInPath(back string) string { return "/sign-in?" + url.Values{"back": {local(back)}}.Encode() }

// linkPath is what a link opens.
func linkPath(link string) string { return "/sign-in/once/" + link }

// signInForm is what the page shows.
type signInForm struct {
	Name, Back string
	Problem    string
	Holder     string // whom a link is for, "" for the form with name and password
	Spent      bool   // a link that does not open
}

func (d *desk) show(w http.ResponseWriter, r *http.Request) {
	d.render(w, http.StatusOK, signInForm{Back: local(r.URL.Query().Get("back"))})
}

func (d *desk) render(w http.ResponseWriter, status int, form signInForm) {
	var page bytes.Buffer
	if err := d.page.Execute(&page, form); err != nil {
		d.failed(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes())
}

// failed tells the log why, and a person only that.
func (d *desk) failed(w http.ResponseWriter, err error) {
	d.logger.Error("sign-in cannot answer", slog.Any("cause", err))
	w.Header().Set("Retry-After", "2")
	http.Error(w, "Signing in is not possible at the moment. Try again.", http.StatusServiceUnavailable)
}

func (d *desk) signIn(w http.ResponseWriter, r *http.Request) {
	form, password, status := readForm(w, r)
	if status != http.StatusOK {
		d.render(w, status, form)
		return
	}
	attempt, ok := d.mayTry(w, r, &form)
	if !ok {
		return
	}
	failed := true // also when something panics
	defer func() { attempt.End(failed, d.now()) }()
	session, err := d.accounts.SignIn(r.Context(), form.Name, password, d.session(r))
	failed = errors.Is(err, accounts.ErrRefused)
	switch {
	case errors.Is(err, accounts.ErrRefused):
		form.Problem = "The name or the password is not right."
		d.render(w, http.StatusUnauthorized, form)
	case err != nil:
		d.failed(w, err)
	default:
		d.begin(w, r, session, form.Back)
	}
}

// readForm reads what it can. A status other than 200 is what to answer with, and the
// form says why.
func readForm(w http.ResponseWriter, r *http.Request) (form signInForm, password string, status int) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSignIn))
	values, unreadable := url.ParseQuery(string(body)) // as much of it as makes sense
	form = signInForm{Name: oat.CleanText(values.Get("name")), Back: local(values.Get("back"))}
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		form.Problem = "This is too long for a name and a password."
		return form, "", http.StatusRequestEntityTooLarge
	case err != nil || unreadable != nil:
		form.Problem = "What was sent cannot be read. Try again."
		return form, "", http.StatusBadRequest
	}
	return form, strings.TrimSpace(values.Get("password")), http.StatusOK
}

// mayTry begins an attempt to sign in, and answers the request itself if too many failed.
func (d *desk) mayTry(w http.ResponseWriter, r *http.Request, form *signInForm) (*quota.Attempt, bool) {
	attempt, status, ok := d.signIns.Begin(r.Context(), d.address(r), form.Name, d.now())
	if !ok {
		wait := int(status.Reset.Sub(d.now())/time.Second) + 1
		w.Header().Set("Retry-After", fmt.Sprint(wait))
		form.Problem = fmt.Sprintf("There were too many tries to sign in. The next is possible in %d seconds.", wait)
		d.render(w, http.StatusTooManyRequests, *form)
	}
	return attempt, ok
}

// showLink asks before a link is used up: what only looks at links must not.
func (d *desk) showLink(w http.ResponseWriter, r *http.Request) {
	holder, ok, err := d.accounts.Holder(r.Context(), r.PathValue("link"))
	switch {
	case err != nil:
		d.failed(w, err)
	case !ok:
		d.spent(w)
	default:
		d.render(w, http.StatusOK, signInForm{Holder: holder})
	}
}

func (d *desk) redeem(w http.ResponseWriter, r *http.Request) {
	session, err := d.accounts.Redeem(r.Context(), r.PathValue("link"), d.session(r))
	switch {
	case errors.Is(err, accounts.ErrRefused):
		d.spent(w)
	case err != nil:
		d.failed(w, err)
	default:
		d.begin(w, r, session, "/")
	}
}

func (d *desk) spent(w http.ResponseWriter) {
	d.render(w, http.StatusGone, signInForm{Spent: true, Back: "/"})
}

// begin gives the browser its session and leads it on.
func (d *desk) begin(w http.ResponseWriter, r *http.Request, session, back string) {
	http.SetCookie(w, d.cookie(session, int(accounts.SessionTTL/time.Second)))
	http.Redirect(w, r, back, http.StatusSeeOther)
}

func (d *desk) signOut(w http.ResponseWriter, r *http.Request) {
	if err := d.accounts.SignOut(r.Context(), d.session(r)); err != nil {
		d.failed(w, err)
		return
	}
	http.SetCookie(w, d.cookie("", -1))
	w.Header().Set("Clear-Site-Data", `"cache", "storage"`)
	http.Redirect(w, r, "/sign-in", http.StatusSeeOther)
}

// user is who is signed in.
func (d *desk) user(r *http.Request) (string, bool) {
	session := d.session(r)
	if session == "" {
		return "", false
	}
	name, ok, err := d.accounts.User(r.Context(), session)
	if err != nil {
		d.logger.Error("cannot look for a session", slog.Any("cause", err))
	}
	return name, ok && err == nil
}

// cookieName is, under HTTPS, one that browsers accept from this host alone.
func (d *desk) cookieName() string {
	if d.secure {
		return "__Host-oatmill"
	}
	return "oatmill"
}

// session is what the browser calls its session, "" when it has none.
func (d *desk) session(r *http.Request) string {
	cookie, err := r.Cookie(d.cookieName())
	if err != nil {
		return ""
	}
	return cookie.Value
}

// cookie is kept from scripts, and from forms of other sites. It is Lax and not Strict so
// that a link to a page of the console, in a mail say, opens it.
func (d *desk) cookie(value string, age int) *http.Cookie {
	return &http.Cookie{Name: d.cookieName(), Value: value, Path: "/", MaxAge: age, HttpOnly: true, Secure: d.secure, SameSite: http.SameSiteLaxMode}
}

// local is a path to lead somebody back to, which must be one of this server: browsers
// take "//host" and "/\host" for others, and leave tabs and line breaks out. One too long
// for the form is not kept.
func local(back string) string {
	at, err := url.Parse(back)
	if err != nil || len(back) > maxBack || at.IsAbs() || at.Host != "" || !strings.HasPrefix(back, "/") || strings.HasPrefix(back, "//") || strings.ContainsAny(back, "\\\t\r\n") {
		return "/"
	}
	return back
}
