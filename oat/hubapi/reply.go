package hubapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

// reply is an answer before it is written.
type reply struct {
	status int
	header http.Header // may be nil
	body   any         // nil for none
}

func ok(body any) *reply { return &reply{status: http.StatusOK, body: body} }

// with adds a header to the reply.
func (a *reply) with(name, value string) *reply {
	if a.header == nil {
		a.header = make(http.Header)
	}
	a.header.Set(name, value)
	return a
}

// failure is the body of every refusal whose fields do not matter.
type failure struct {
	Detail  string `json:"detail"`
	Message string `json:"message"`
}

// invalid is the body of a refusal that names fields.
type invalid struct {
	Fields problems `json:"fields"`
	Text   string   `json:"text"`
}

// refusal is an answer other than what was asked for.
type refusal struct {
	status int
	text   string
	fields problems // of a refusal that names fields, not nil then
	header map[string]string
}

func (r *refusal) Error() string { return r.text }

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status: status, text: fmt.Sprintf(format, args...)}
}

// refuseFields is a refusal for what is wrong with fields of the request.
func refuseFields(found problems) *refusal {
	return &refusal{status: http.StatusBadRequest, text: "invalid request", fields: found}
}

// refuseField is a refusal for one field, whose problem is all there is to say.
func refuseField(status int, field, problem string) *refusal {
	return &refusal{status: status, text: problem, fields: problems{field: {problem}}}
}

func (r *refusal) reply() *reply {
	a := &reply{status: r.status, body: failure{r.text, r.text}}
	if r.fields != nil {
		a.body = invalid{r.fields, r.text}
	}
	if r.status == http.StatusUnauthorized {
		a.with("WWW-Authenticate", "Bearer")
	}
	for name, value := range r.header {
		a.with(name, value)
	}
	return a
}

// The refusals that are the same wherever they come from.
func (c *call) unauthorized() *refusal {
	return refuse(http.StatusUnauthorized, "sign in and send the JWT as bearer token")
}

// forbidden is the one answer to everybody who is not an owner: whether there is such
// an organization, or such a token, is not for them to know.
func forbidden() *refusal { return refuse(http.StatusForbidden, "access denied") }

func notFound(what string) *refusal { return refuse(http.StatusNotFound, "%s not found", what) }

func unavailable(text string) *refusal {
	return &refusal{status: http.StatusServiceUnavailable, text: text, header: map[string]string{"Retry-After": "1"}}
}

// refusalOf returns how an error is answered, and whether it is the caller's. One that is
// not is logged.
func refusalOf(err error) (*refusal, bool) {
	var known *refusal
	var invalid oat.ValidationErrors
	switch {
	case errors.As(err, &known):
		return known, true
	case errors.Is(err, oat.ErrNotOwner), errors.Is(err, oat.ErrOrganizationNotFound):
		return forbidden(), true
	case errors.Is(err, oat.ErrTokenNotFound):
		return notFound("access token"), true
	case errors.Is(err, oat.ErrChanged):
		return refuse(http.StatusPreconditionFailed, "access token was changed meanwhile"), true
	case errors.Is(err, oat.ErrInactive):
		return refuseField(http.StatusBadRequest, "is_active", oat.ErrInactive.Error()), true
	case errors.Is(err, oat.ErrExpired):
		return refuseField(http.StatusBadRequest, "expires_at", oat.ErrExpired.Error()), true
	case errors.Is(err, oat.ErrActive):
		return refuse(http.StatusConflict, "%s", oat.ErrActive), true
	case errors.Is(err, oat.ErrNoTokens), errors.Is(err, quota.ErrExceeded):
		return &refusal{status: http.StatusBadRequest, text: limitText(err), fields: problems{}}, true
	case errors.As(err, &invalid):
		return refusalOfFields(invalid)
	}
	return refusalOfTrouble(err)
}

// refusalOfTrouble returns how an error is answered that the next try may not meet. It is
// the one place that maps the errors of the log.
func refusalOfTrouble(err error) (*refusal, bool) {
	switch {
	case errors.Is(err, oat.ErrBusy):
		return unavailable("the organization is being changed by others, try again"), true
	case errors.Is(err, events.ErrUnknownOutcome):
		return unavailable("it is not known whether the request was carried out; look before it is repeated, or repeat it with the same Idempotency-Key"), true
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return unavailable("temporarily unavailable, try again"), true
	case errors.Is(err, events.ErrFull), errors.Is(err, events.ErrBusy), errors.Is(err, events.ErrReadOnly),
		errors.Is(err, events.ErrDenied), errors.Is(err, events.ErrUnavailable):
		return unavailable("temporarily unavailable, try again"), false // an operator has to know the cause
	}
	return refuse(http.StatusInternalServerError, "internal error"), false
}

func limitText(err error) string {
	var exceeded *quota.ExceededError
	if errors.As(err, &exceeded) {
		return fmt.Sprintf("the organization has %d of the %d access tokens that its plan allows", exceeded.Count, exceeded.Limit)
	}
	return oat.ErrNoTokens.Error()
}

// refusalOfFields passes on what is wrong with a command. Fields that the request does
// not have are filled in on this side, and so are the problems with them.
func refusalOfFields(found oat.ValidationErrors) (*refusal, bool) {
	named := problems{}
	for _, problem := range found {
		if field := problem.Field; field == "actor" || field == "correlation" || field == "reason" {
			return refuse(http.StatusInternalServerError, "internal error"), false
		}
		named.add(problem.Field, problem.Problem)
	}
	return refuseFields(named), true
}

// write sends the reply. A client that went away cannot be told anything.
func (a *reply) write(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	for name, values := range a.header {
		header[name] = values
	}
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	if a.body == nil {
		w.WriteHeader(a.status)
		return
	}
	text, done := a.body.([]byte)
	if !done {
		text = encode(a.body)
	}
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(text)
	}
}

// encode is the JSON of a body, with texts as they are: nothing here is put into HTML.
func encode(body any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(body) // structs of texts and numbers
	return b.Bytes()
}

// problems is what is wrong with which field.
type problems map[string][]string

// maxProblems is how many fields one answer names, and maxOfOne how much it says of each.
const (
	maxProblems = 100
	maxOfOne    = 10
)

func (p problems) add(field, problem string) {
	field = clip(field)
	said, named := p[field]
	if (named || len(p) < maxProblems) && len(said) < maxOfOne && !slices.Contains(said, problem) {
		p[field] = append(said, problem)
	}
}

// clip keeps what a client sent short and printable, and secrets out of it.
func clip(s string) string {
	s = oat.MaskSecrets(strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}
