package hubapi

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/oatmill/oatmill/oat"
)

// What a sign-in is refused with, whatever the cause, and what it is refused with when
// the secret has the form of an organization access token. That is told by the form
// alone, so that it says nothing about who and what there is.
const (
	textRefused = "incorrect username or password"
	textNoToken = "organization access tokens cannot be used to sign in; use a password or a personal access token"
	textNoLogin = "Cannot log into an organization account"
)

// authenticate answers POST /v2/auth/token.
func (c *call) authenticate() (*reply, error) {
	token, err := c.signedIn("identifier", "secret", textNoToken)
	if err != nil {
		return nil, err
	}
	return ok(struct {
		AccessToken string `json:"access_token"`
	}{token}), nil
}

// login answers POST /v2/users/login, the older one of the two.
func (c *call) login() (*reply, error) {
	token, err := c.signedIn("username", "password", textNoLogin)
	if err != nil {
		return nil, err
	}
	return ok(struct {
		Token string `json:"token"`
	}{token}), nil
}

// signedIn returns a JWT for the person whose credentials are in the body. What the caller
// did wrong counts against the limit of failed sign-ins; a sign-in that succeeds does not,
// and neither does a failure of this side.
func (c *call) signedIn(name, password, noToken string) (string, error) {
	identifier, secret, wrong := c.credentials(name, password, noToken)
	attempt, status, within := c.cfg.SignIns.Begin(c.r.Context(), c.cfg.ClientAddress(c.r), identifier, c.now)
	if !within {
		setRate(c.w.Header(), status)
		return "", c.tooMany(status)
	}
	failed := true // also when SignIn panics
	defer func() { setRate(c.w.Header(), attempt.End(failed, c.now)) }()
	if wrong != nil {
		return "", wrong
	}
	jwt, err := c.checked(identifier, secret)
	answer, theirs := refusalOf(err)
	failed = err != nil && theirs && answer.status < http.StatusInternalServerError
	return jwt, err
}

// credentials reads the body of a sign-in.
func (c *call) credentials(name, password, noToken string) (identifier string, secret oat.Secret, err error) {
	o, err := c.body(name, password)
	if err != nil {
		return "", secret, err
	}
	found := problems{}
	identifier, secret = oat.CleanText(o.required(name, found)), oat.NewSecret(o.required(password, found))
	if len(found) > 0 {
		return "", secret, refuseFields(found)
	}
	if _, err := oat.ParseSecret(secret.Reveal()); err == nil {
		return identifier, secret, refuse(http.StatusUnauthorized, "%s", noToken)
	}
	return identifier, secret, nil
}

// checked returns a JWT for a person whose credentials the host confirms.
func (c *call) checked(identifier string, secret oat.Secret) (string, error) {
	user, err := c.cfg.SignIn(c.r.Context(), identifier, secret)
	switch {
	case errors.Is(err, oat.ErrRefused):
		// Who it was meant to be is left out: people type passwords into either field.
		c.cfg.Logger.InfoContext(c.r.Context(), "management api: sign-in refused", slog.String("address", c.cfg.ClientAddress(c.r)))
		return "", refuse(http.StatusUnauthorized, "%s", textRefused)
	case err != nil:
		return "", err
	case user == "":
		return "", errors.New("Config.SignIn returned neither a user nor an error")
	}
	user = oat.CleanText(user)
	if problem := oat.UserProblem(user); problem != "" {
		return "", fmt.Errorf("Config.SignIn returned a name that cannot be a user's: it %s", problem)
	}
	return c.mint(user, c.now)
}

// required reads a field that must be a string and not empty.
func (o object) required(name string, found problems) string {
	text := o.text(name, found)
	if text == nil || *text == "" && found[name] == nil {
		found.add(name, "is required")
		return ""
	}
	return *text
}
