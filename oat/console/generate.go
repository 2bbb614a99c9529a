package console

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

// formPage is the form for a token: a new one, or one there is.
type formPage struct {
	frame
	form
	Room        room
	Request     string         // names this form, for generating
	Version     events.Version // of the token that is edited
	Token       string         // its id, "" for generating
	Name        string         // its label as it is recorded
	Ends        instant        // when it expires
	Terms       []choice
	Problems    problems
	Trouble     string      // why nothing was done, beside problems of fields
	Meanwhile   []happening // what others did to the token since the form was opened
	Earlier     int         // how many things they did before those
	Blocked     bool        // nothing can be done any more, and what was typed is shown
	Elsewhere   string      // the token that this form generated before, ""
	Suggestions []string
	Suggest     string // where suggestions are asked for, "" for nowhere
	Max         int
	Today       string
}

// newForm is the page with what both uses of the form show.
func (v *visit) newForm(title string, f form) *formPage {
	p := &formPage{frame: v.frame(title, "tokens"), form: f, Terms: terms(f.Expires), Max: quota.MaxRepositories, Today: v.now.UTC().Format(time.DateOnly)}
	if v.cfg.Repositories != nil {
		p.Suggestions, p.Suggest = v.suggest(""), v.at("repositories")
	}
	return p
}

// Full tells whether no repository can be added.
func (p *formPage) Full() bool { return len(p.Rows) >= p.Max }

// newToken shows the form for generating a token.
func (v *visit) newToken() {
	v.showGenerate(http.StatusOK, emptyForm(), func(*formPage) {})
}

func (v *visit) showGenerate(status int, f form, more func(*formPage)) {
	p := v.newForm("Generate access token", f)
	p.Room = v.room()
	request, err := v.newRequest()
	if err != nil {
		v.unavailable(v.w, v.r, err)
		return
	}
	p.Request = request
	more(p)
	v.render(status, "generate", p)
}

// newRequest names a form, with 128 random bits.
func (v *visit) newRequest() (string, error) {
	var random [16]byte
	if _, err := io.ReadFull(v.cfg.Rand, random[:]); err != nil {
		return "", fmt.Errorf("name a form: %w", err)
	}
	return hex.EncodeToString(random[:]), nil
}

// isRequest tells whether a text is a name of a form, as newRequest gives them.
func isRequest(s string) bool {
	random, err := hex.DecodeString(s)
	return err == nil && len(random) == 16
}

// secretPage shows a secret, once.
type secretPage struct {
	frame
	Token  string
	Name   string
	Secret string
	Login  string
	Ends   instant
	Access access
}

// generate makes the token and answers the post itself with the secret, so that the
// secret is in this answer and nowhere else: not in an address, not in a store between
// two requests. What a browser sends again, by reloading or going back, names the same
// request and makes nothing.
func (v *visit) generate() {
	f, request := readForm(v.r.PostForm), v.r.PostForm.Get("request")
	same := func(p *formPage) { p.Request = request }
	rearranged := f.rearrange(v.r.PostForm)
	switch {
	case !isRequest(request):
		v.showGenerate(http.StatusConflict, f, func(p *formPage) {
			p.Trouble = "No token was generated, because this form was not complete. Look it through, and send it again."
		})
		return
	case rearranged:
		v.showGenerate(http.StatusOK, f, same)
		return
	}
	command, own := v.command(&f)
	token, secret, err := v.cfg.Service.Generate(v.r.Context(), oat.Actor{User: v.user, Correlation: request}, command)
	if err != nil {
		v.notGenerated(f, own, request, err)
		return
	}
	v.settle()
	v.showSecret(&token, secret)
}

func (v *visit) showSecret(token *oat.Token, secret oat.Secret) {
	login := "docker login --username " + v.org.Name
	if v.cfg.Registry != "" {
		login += " " + v.cfg.Registry
	}
	ends := instant{Words: "Never"}
	if at, expires := token.Expires.Time(); expires {
		ends = v.instant(at, "")
	}
	v.render(http.StatusOK, "secret", secretPage{
		frame: v.frame("Token generated", "tokens"), Token: token.ID.String(), Name: token.Label,
		Secret: secret.Reveal(), Login: login, Ends: ends, Access: accessOf(v.org.Name, token.Resources),
	})
}

// command is what the form asks for, with what the form alone finds wrong with it. If
// there is anything the command is one that the service refuses, too, so that it tells
// everything else that is wrong at the same time.
func (v *visit) command(f *form) (oat.Generate, problems) {
	asked := oat.Generate{Organization: v.org.Name, Label: f.Label, Description: f.Description, Once: true}
	var own problems
	var wrong string
	if asked.Expires, wrong = f.expiry(v.now); wrong != "" {
		asked.Expires = oat.Expiry{}
		own.add(expiryField(f), wrong)
	}
	access := f.check(v.org.Name)
	asked.Resources, _ = f.resources(v.org.Name)
	if len(access) > 0 {
		asked.Resources = append(asked.Resources, refused())
	}
	return asked, append(own, access...)
}

// refused is a resource that no command is accepted with. It comes after all others.
func refused() oat.Resource { return oat.Resource{} }

func expiryField(f *form) string {
	if f.Expires == termDate {
		return "date"
	}
	return "expires"
}

// together are the problems in the order of the fields, one of each field. What the form
// said of access or expiry as a whole makes void what the service says of it.
func together(own, domain problems) (all problems) {
	order := []string{"label", "description", "expires", "date", "access", "all-level", "repositories", rowID(0)}
	rank := func(p problem) int {
		if i := slices.Index(order, p.ID); i >= 0 {
			return i
		}
		return len(order)
	}
	all = slices.Clone(own)
	for _, p := range domain {
		void := p.ID == "expires" && all.Of("date") != "" ||
			p.ID == "access" && slices.ContainsFunc(own, func(p problem) bool { return rank(p) >= slices.Index(order, "access") })
		if !void && all.Of(p.ID) == "" {
			all = append(all, p)
		}
	}
	slices.SortStableFunc(all, func(a, b problem) int {
		return cmp.Or(rank(a)-rank(b), len(a.ID)-len(b.ID), strings.Compare(a.ID, b.ID))
	})
	return all
}

// notGenerated shows the form again, with what was typed and why there is no token.
func (v *visit) notGenerated(f form, own problems, request string, err error) {
	var invalid oat.ValidationErrors
	var repeated *oat.RepeatedError
	switch {
	case errors.As(err, &repeated):
		v.showRepeated(f, repeated.Token)
	case errors.As(err, &invalid):
		domain := f.understand(v.org.Name, invalid)
		v.showGenerate(http.StatusUnprocessableEntity, f, func(p *formPage) { p.Request, p.Problems = request, together(own, domain) })
	case errors.Is(err, oat.ErrNoTokens), errors.Is(err, quota.ErrExceeded):
		v.settle()
		full := cmp.Or(v.room().Full, "The limit of the plan was reached meanwhile, and there is room again now. Send the form again.")
		v.showGenerate(http.StatusConflict, f, func(p *formPage) { p.Request, p.Trouble = request, full })
	default:
		status, trouble := v.trouble(err)
		v.showGenerate(status, f, func(p *formPage) { p.Request, p.Trouble = request, trouble })
	}
}

// showRepeated shows the form that was sent a second time, ready to be sent for another
// token.
func (v *visit) showRepeated(f form, token uuid.UUID) {
	v.showGenerate(http.StatusConflict, f, func(p *formPage) { p.Elsewhere = token.String() })
}

// trouble is why a command failed, for reasons that no field is to blame for. The form is
// shown with it, to be sent again: it names its request or its version, so that nothing is
// done twice.
func (v *visit) trouble(err error) (status int, text string) {
	defer func() {
		if status == http.StatusServiceUnavailable {
			retryLater(v.w)
		}
	}()
	switch {
	case errors.Is(err, oat.ErrBusy):
		return http.StatusServiceUnavailable, "Nothing was changed, because others are changing the organization right now. Send the form again."
	case errors.Is(err, oat.ErrNotOwner), errors.Is(err, oat.ErrOrganizationNotFound):
		return http.StatusForbidden, "Nothing was changed, because you do not own the organization any more."
	case errors.Is(err, events.ErrUnknownOutcome):
		v.log(v.r, slog.LevelError, "command has an unknown outcome", err)
		return http.StatusServiceUnavailable, "The connection to the log broke, and it is not known whether the change was made. Send the form again: what was done already is not done twice, and you are told."
	}
	v.log(v.r, slog.LevelError, "command failed", err)
	return http.StatusServiceUnavailable, "Nothing was changed, because the organization's data cannot be written now. What you typed is kept here. Send it again in a moment."
}
