package console

import (
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
)

// route is one path. Every method that is not named is answered with 405.
type route struct {
	path string // below the prefix, as [http.ServeMux] writes patterns
	get  page
	post page
	// open routes are for anyone who is signed in; all others are for owners of the
	// organization in the path.
	open bool
}

// page answers one request of somebody who may make it.
type page func(*visit)

// visit is one request of a person who is signed in and, except on open routes, owns the
// organization.
type visit struct {
	*Console
	w    http.ResponseWriter
	r    *http.Request
	now  time.Time
	user string
	// org is what is known of the organization in the path.
	org projection.Organization
}

// table is every route that needs somebody to be signed in.
func (c *Console) table() []route {
	const org, token = "/orgs/{org}", "/orgs/{org}/tokens/{token}"
	return []route{
		{path: "/{$}", get: (*visit).start, open: true},
		{path: org, get: (*visit).toTokens},
		{path: org + "/tokens", get: (*visit).tokens},
		{path: org + "/tokens/new", get: (*visit).newToken, post: (*visit).generate},
		{path: token, get: (*visit).token},
		{path: token + "/edit", get: (*visit).editToken, post: (*visit).saveToken},
		{path: token + "/deactivate", get: (*visit).confirmDeactivate, post: (*visit).deactivate},
		{path: token + "/delete", get: (*visit).confirmDelete, post: (*visit).delete},
		{path: org + "/activity", get: (*visit).activity},
		{path: org + "/activity.csv", get: (*visit).activityCSV},
		{path: org + "/organization", get: (*visit).organization},
		{path: org + "/repositories", get: (*visit).repositories},
	}
}

func (c *Console) mux() *http.ServeMux {
	mux := http.NewServeMux()
	for _, route := range c.routes {
		mux.HandleFunc(c.cfg.Prefix+route.path, func(w http.ResponseWriter, r *http.Request) { c.serve(w, r, route) })
	}
	mux.HandleFunc(c.cfg.Prefix+"/assets/{name}", c.serveAsset)
	mux.HandleFunc("/", c.notFound)
	return mux
}

// maxForm bounds the body of a request. Fifty repositories with the longest names and
// every character escaped need less.
const maxForm = 128 << 10

// serve is the way of every request: the method, the person, the form, the ownership,
// and only then the page. The form is read before the ownership is asked, and never
// looked at, so that it can be given back to a person whose session has ended.
func (c *Console) serve(w http.ResponseWriter, r *http.Request, to route) {
	do := to.get
	switch {
	case r.Method == http.MethodPost && to.post != nil:
		do = to.post
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		c.wrongMethod(w, r, to)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if !c.readForm(w, r) {
		return
	}
	user, ok := c.cfg.User(r)
	if !ok {
		c.signedOut(w, r)
		return
	}
	v := &visit{Console: c, w: w, r: r, now: c.cfg.Now(), user: oat.CleanText(user)}
	if to.open || v.owns(oat.CleanText(r.PathValue("org"))) {
		do(v)
	}
}

// owns is the one place where it is decided who may see and do what: the service tells,
// as of what the log holds now. Who does not own the organization cannot tell whether
// there is one.
func (v *visit) owns(organization string) bool {
	err := v.cfg.Service.Authorize(v.r.Context(), v.actor(), organization)
	known := false
	if err == nil {
		v.org, known = v.cfg.Tokens.Organization(organization)
	}
	switch {
	case err == nil && !known:
		// The log has it and the read models do not yet.
		v.Console.settle(v.r.Context())
		if v.org, known = v.cfg.Tokens.Organization(organization); !known {
			v.unavailable(v.w, v.r, errors.New("the organization is not in the read models yet"))
		}
		return known
	case errors.Is(err, oat.ErrNotOwner), errors.Is(err, oat.ErrNotFound), errors.Is(err, oat.ErrInvalid):
		v.notFound(v.w, v.r)
	case errors.Is(err, events.ErrDamaged):
		v.damaged(organization, err)
	case err != nil:
		v.unavailable(v.w, v.r, err)
	}
	return err == nil
}

// damaged tells an owner that the organization's records are not the ones that were
// appended. Who owns it cannot be asked of such records; what was read before they were
// damaged tells, or the host. Everybody else is answered as if there were no organization.
func (v *visit) damaged(organization string, err error) {
	v.log(v.r, slog.LevelError, "organization is damaged", err)
	owned, failed := v.owned()
	if failed != nil || !slices.Contains(owned, organization) {
		v.notFound(v.w, v.r)
		return
	}
	problem := "The operator finds the cause in the log of the server."
	if closed := v.cfg.Tokens.Closed(organization); closed != nil {
		problem = "The cause, for the operator: " + closed.Error()
	}
	v.fail(v.w, v.r, http.StatusServiceUnavailable, "This organization is closed",
		"The records of "+organization+" are not the ones that were written. All of its tokens are refused and nothing can be changed until the records are repaired. "+problem)
}

// settle waits for the read models, and takes over what they say of the organization by
// then.
func (v *visit) settle() {
	v.Console.settle(v.r.Context())
	v.org, _ = v.cfg.Tokens.Organization(v.org.Name)
}

func (v *visit) actor() oat.Actor { return oat.Actor{User: v.user} }

// readForm reads the body of a form. It answers the request itself when it cannot.
func (c *Console) readForm(w http.ResponseWriter, r *http.Request) bool {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if r.Method == http.MethodPost && !strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded") {
		c.fail(w, r, http.StatusUnsupportedMediaType, "This is not a form", "The console takes what its own forms send.")
		return false
	}
	err := r.ParseForm()
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		c.fail(w, r, http.StatusRequestEntityTooLarge, "The form is too large", "What was sent is larger than any form of the console. Nothing was changed.")
		return false
	}
	if err != nil && r.Method == http.MethodPost {
		c.fail(w, r, http.StatusBadRequest, "The form cannot be read", "What was sent is damaged. Nothing was changed. Go back and send it again.")
		return false
	}
	return true // a damaged query is read as far as it goes
}

// tokenID is the token in the path. There is no token with an id that does not parse.
func (v *visit) tokenID() (uuid.UUID, bool) {
	id, err := oat.ParseTokenID(v.r.PathValue("token"))
	return id, err == nil
}

// link is a path of the console.
func (c *Console) link(parts ...string) string {
	var b strings.Builder
	b.WriteString(c.cfg.Prefix)
	for _, part := range parts {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(part))
	}
	return b.String()
}

// at is a path within the organization.
func (v *visit) at(parts ...string) string {
	return v.link(append([]string{"orgs", v.org.Name}, parts...)...)
}

// redirect leads the browser on with a GET, so that reloading the page it comes to
// repeats nothing.
func (v *visit) redirect(to, notice string) {
	if notice != "" {
		to += "?notice=" + notice
	}
	http.Redirect(v.w, v.r, to, http.StatusSeeOther)
}

func (v *visit) toTokens() { v.redirect(v.at("tokens"), "") }

// log names the route and not the path, into which somebody may have pasted a secret.
func (c *Console) log(r *http.Request, level slog.Level, what string, err error) {
	c.cfg.Logger.LogAttrs(r.Context(), level, what, slog.String("method", r.Method), slog.String("route", r.Pattern), slog.Any("cause", err))
}
