package registryauth

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/oatmill/oatmill/oat"
)

// Limits of a request.
const (
	MaxHeader = 16 << 10 // bytes of all headers together
	MaxQuery  = 32 << 10 // bytes of all parameters together, in the address or in a form
)

// request is what a client asks for, and on whose behalf.
type request struct {
	service      string
	scopes       []access
	form         bool // the client sent a form, and is answered as such
	anonymous    bool
	organization string
	secret       oat.Secret
}

// read takes a request in. It looks at form and size only, and asks nobody about
// anything.
func read(w http.ResponseWriter, r *http.Request) (request, error) {
	if headerSize(r.Header) > MaxHeader {
		return request{}, refuse(http.StatusRequestHeaderFieldsTooLarge, "headers have more than %d bytes", MaxHeader)
	}
	if len(r.URL.RawQuery) > MaxQuery {
		return request{}, refuse(http.StatusRequestURITooLong, "parameters have more than %d bytes", MaxQuery)
	}
	switch r.Method {
	case http.MethodGet:
		return readQuery(r)
	case http.MethodPost:
		return readForm(w, r)
	}
	w.Header().Set("Allow", "GET, POST")
	return request{}, refuse(http.StatusMethodNotAllowed, "method not allowed, use GET or POST")
}

func readQuery(r *http.Request) (request, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return request{}, refuse(http.StatusBadRequest, "malformed parameters")
	}
	req, err := readCommon(values)
	if err != nil {
		return request{}, err
	}
	switch given := r.Header.Values("Authorization"); len(given) {
	case 0:
		req.anonymous = true
	case 1:
		organization, password, ok := r.BasicAuth()
		if !ok {
			// Somebody meant to be somebody, and must not become anonymous by that.
			return request{}, refused()
		}
		req.organization, req.secret = organization, oat.NewSecret(password)
	default:
		return request{}, refuse(http.StatusBadRequest, "more than one Authorization header")
	}
	return req, nil
}

func readForm(w http.ResponseWriter, r *http.Request) (request, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return request{}, refuse(http.StatusUnsupportedMediaType, "want application/x-www-form-urlencoded")
	}
	if r.Header.Values("Authorization") != nil {
		return request{}, refuse(http.StatusBadRequest, "a form beside an Authorization header")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxQuery))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return request{}, refuse(http.StatusRequestEntityTooLarge, "parameters have more than %d bytes", MaxQuery)
	}
	values, parseErr := url.ParseQuery(string(body))
	if err != nil || parseErr != nil {
		return request{}, refuse(http.StatusBadRequest, "malformed form")
	}
	for _, name := range []string{"grant_type", "username", "password"} {
		if len(values[name]) > 1 {
			return request{}, refuse(http.StatusBadRequest, "%s is given more than once", name)
		}
	}
	switch values.Get("grant_type") {
	case "password":
	case "":
		return request{}, refuse(http.StatusBadRequest, "want a grant type, use password")
	default:
		return request{}, &refusal{http.StatusBadRequest, "grant type not supported, use password", "unsupported_grant_type"}
	}
	req, err := readCommon(values)
	req.form = true
	req.organization, req.secret = values.Get("username"), oat.NewSecret(values.Get("password"))
	return req, err
}

// readCommon reads the parameters that both ways of asking have.
func readCommon(values url.Values) (request, error) {
	if len(values["service"]) != 1 {
		return request{}, refuse(http.StatusBadRequest, "want one service")
	}
	scopes, err := parseScopes(values["scope"])
	if err != nil {
		return request{}, &refusal{http.StatusBadRequest, err.Error(), "invalid_scope"}
	}
	return request{service: values.Get("service"), scopes: scopes}, nil
}

// headerSize is the bytes of all names and values.
func headerSize(header http.Header) (size int) {
	for name, values := range header {
		for _, value := range values {
			size += len(name) + len(value)
		}
	}
	return size
}

// refusal is an answer other than a token.
type refusal struct {
	status int
	text   string
	oauth  string // its code in OAuth, "" for the usual one of the status
}

func (r *refusal) Error() string { return r.text }

func refuse(status int, format string, args ...any) error {
	return &refusal{status: status, text: fmt.Sprintf(format, args...)}
}

// oauthCode returns what RFC 6749 calls the refusal in 5.2, "" for a failure of this side, which has
// no name there.
func (r *refusal) oauthCode() string {
	switch {
	case r.oauth != "":
		return r.oauth
	case r.status == http.StatusUnauthorized:
		return "invalid_client"
	case r.status < http.StatusInternalServerError:
		return "invalid_request"
	}
	return ""
}

// refused is the one answer to credentials that do not open.
func refused() error { return refuse(http.StatusUnauthorized, "%s", oat.ErrRefused) }

// code is the refusal in the words of the distribution specification, as far as it
// has any.
func (r *refusal) code() string {
	switch r.status {
	case http.StatusUnauthorized:
		return "UNAUTHORIZED"
	case http.StatusServiceUnavailable:
		return "UNAVAILABLE"
	case http.StatusInternalServerError:
		return "UNKNOWN"
	}
	return strings.ReplaceAll(strings.ToUpper(http.StatusText(r.status)), " ", "_")
}
