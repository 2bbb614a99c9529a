package hubapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
)

// call is one request on its way to a reply.
type call struct {
	*Handler
	w    http.ResponseWriter // only for reading the body
	r    *http.Request
	now  time.Time
	user string // who signed in, "" for nobody
	org  string // as the path names it
	id   string // of a token, as the path names it
}

// action answers a request.
type action func(*call) (*reply, error)

// resource is what an address stands for.
type resource struct {
	methods []method
	guarded bool // for owners of the organization
	org, id string
}

type method struct {
	name string
	do   action
}

// find is the resource at a path, and false when there is none.
func find(path string) (resource, bool) {
	switch path {
	case "/v2/auth/token":
		return resource{methods: []method{{http.MethodPost, (*call).authenticate}}}, true
	case "/v2/users/login", "/v2/users/login/":
		return resource{methods: []method{{http.MethodPost, (*call).login}}}, true
	case "/v2/openapi.json":
		return resource{methods: []method{{http.MethodGet, (*call).describe}}}, true
	}
	segments := strings.Split(path, "/")
	if len(segments) < 4 || segments[0] != "" || segments[1] != "v2" || slices.Contains(segments[3:], "") {
		return resource{}, false
	}
	found := resource{guarded: true, org: segments[3]}
	switch rest := segments[4:]; {
	case segments[2] == "auditlogs" && len(rest) == 0:
		found.methods = []method{{http.MethodGet, (*call).audit}}
	case segments[2] != "orgs" || len(rest) == 0 || rest[0] != "access-tokens":
		return resource{}, false
	case len(rest) == 1:
		found.methods = []method{{http.MethodGet, (*call).list}, {http.MethodPost, (*call).create}}
	case len(rest) == 2:
		found.id = rest[1]
		found.methods = []method{{http.MethodGet, (*call).get}, {http.MethodPatch, (*call).edit}, {http.MethodDelete, (*call).delete}}
	default:
		return resource{}, false
	}
	return found, true
}

// allow is the methods of a resource as the Allow header names them.
func (r *resource) allow() string {
	var names []string
	for _, m := range r.methods {
		names = append(names, m.name)
		if m.name == http.MethodGet {
			names = append(names, http.MethodHead)
		}
	}
	return strings.Join(append(names, http.MethodOptions), ", ")
}

// action is what the method does with the resource, nil when it does nothing.
func (r *resource) action(name string) action {
	if name == http.MethodHead {
		name = http.MethodGet
	}
	for _, m := range r.methods {
		if m.name == name {
			return m.do
		}
	}
	return nil
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{Handler: h, w: w, r: r, now: h.cfg.Now()}
	c.answer(w.Header()).write(w, r)
}

// answer limits the request and then carries it out. A panic on the way, of the host's
// functions for example, is answered like any other error on this side.
func (c *call) answer(header http.Header) (a *reply) {
	defer func() {
		if p := recover(); p != nil {
			// What was panicked with may hold anything, and stays out of the log.
			c.cfg.Logger.ErrorContext(c.r.Context(), "management api: panic", slog.String("stack", string(debug.Stack())))
			a = refuse(http.StatusInternalServerError, "internal error").reply()
		}
	}()
	found, known := find(c.r.URL.Path)
	c.org, c.id = oat.CleanText(found.org), found.id
	var unauthorized error
	c.user, unauthorized = c.session(c.r, c.now)
	status, within := c.limit()
	setRate(header, status)
	if !within {
		return c.tooMany(status).reply()
	}
	if !known {
		return notFound("page").reply()
	}
	a, err := c.perform(&found, unauthorized)
	if err != nil {
		return c.refusal(err)
	}
	return a
}

// perform does what the method says, for who may have it done.
func (c *call) perform(found *resource, unauthorized error) (*reply, error) {
	do := found.action(c.r.Method)
	switch {
	case c.r.Method == http.MethodOptions:
		return (&reply{status: http.StatusNoContent}).with("Allow", found.allow()), nil
	case do == nil:
		wrong := refuse(http.StatusMethodNotAllowed, "method not allowed")
		wrong.header = map[string]string{"Allow": found.allow()}
		return nil, wrong
	case !found.guarded:
		return do(c)
	case unauthorized != nil || c.user == "":
		return nil, c.unauthorized()
	}
	if err := c.authorize(); err != nil {
		return nil, err
	}
	return do(c)
}

// refusal is the reply to an error, which is logged where it is one of this side.
func (c *call) refusal(err error) *reply {
	answer, theirs := refusalOf(err)
	if !theirs {
		c.cfg.Logger.ErrorContext(c.r.Context(), "management api", slog.String("method", c.r.Method), slog.Any("cause", err))
	}
	return answer.reply()
}

// by is who gives the commands of this request.
func (c *call) by() oat.Actor { return oat.Actor{User: c.user} }

// authorize is the one place that tells owners from others, for what is shown as for
// what is changed: it asks the service, which asks the log. It comes before anything
// else is looked at, so that to others all requests about all organizations look alike.
func (c *call) authorize() error {
	return c.cfg.Service.Authorize(c.r.Context(), c.by(), c.org)
}

// settle waits until the read models show everything that is in the organization's
// stream by now: what this client did before, here or in another process, and what it
// was authorized by.
func (c *call) settle() error {
	ctx, stop := context.WithTimeout(c.r.Context(), c.cfg.MaxWait)
	defer stop()
	// The last record that the history has is read again: its position, or that of one
	// after it, is the one to wait for.
	var end events.Position
	for r, err := range c.cfg.Log.ReadStream(ctx, events.OrganizationStream(c.org), max(0, c.known()-1)) {
		if err != nil {
			return err
		}
		end = r.Position
	}
	if err := c.cfg.Runner.WaitFor(ctx, end); err != nil {
		if ctx.Err() != nil && c.r.Context().Err() == nil {
			c.cfg.Logger.WarnContext(ctx, "management api: the read models are behind", slog.Int64("position", int64(end)), slog.Duration("waited", c.cfg.MaxWait))
		}
		return err
	}
	if min(c.cfg.Tokens.Position(), c.cfg.History.Position(), c.cfg.LastUsed.Position()) < end {
		return errors.New("Config.Runner does not lead all of Config.Tokens, Config.History and Config.LastUsed")
	}
	return nil
}

// describe serves the description of the API.
func (c *call) describe() (*reply, error) { return ok(description), nil }
