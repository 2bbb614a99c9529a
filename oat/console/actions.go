package console

import (
	"errors"
	"net/http"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
)

// confirmPage asks once whether to do what cannot be undone.
type confirmPage struct {
	frame
	Token   string
	Name    string
	Status  status
	Used    instant
	Delete  bool // otherwise deactivate
	Trouble string
}

func (v *visit) confirmDeactivate() { v.confirm(http.StatusOK, false, "") }

func (v *visit) confirmDelete() { v.confirm(http.StatusOK, true, "") }

func (v *visit) confirm(code int, remove bool, trouble string) {
	token, ok := v.current()
	switch {
	case !ok:
		v.noToken()
		return
	case !remove && token.State != projection.Active:
		v.redirect(v.at("tokens", token.ID.String()), string(token.State))
		return
	}
	title := "Deactivate access token"
	if remove {
		title = "Delete access token"
	}
	usage, _ := v.cfg.LastUsed.Of(v.org.Name, token.ID)
	v.render(code, "confirm", confirmPage{
		frame: v.frame(title, "tokens"), Token: token.ID.String(), Name: token.Label, Status: statusOf(&token, v.now),
		Used: v.instant(usage.Accepted.Last, ""), Delete: remove, Trouble: trouble,
	})
}

func (v *visit) deactivate() {
	v.end(false, func(id uuid.UUID) error {
		return v.cfg.Service.Deactivate(v.r.Context(), v.actor(), oat.Deactivate{Organization: v.org.Name, Token: id})
	})
}

func (v *visit) delete() {
	v.end(true, func(id uuid.UUID) error {
		return v.cfg.Service.Delete(v.r.Context(), v.actor(), oat.Delete{Organization: v.org.Name, Token: id})
	})
}

// end gives a command that ends a token. What has come about already, because the form
// was sent twice or somebody else was quicker, is told and is no failure.
func (v *visit) end(remove bool, give func(uuid.UUID) error) {
	id, ok := v.tokenID()
	if !ok {
		v.noToken()
		return
	}
	err := give(id)
	v.settle()
	token := v.at("tokens", id.String())
	switch {
	case err == nil && remove:
		v.redirect(v.at("tokens"), "deleted")
	case err == nil:
		v.redirect(token, "deactivated")
	case errors.Is(err, oat.ErrTokenNotFound) && v.cfg.History.Token(v.org.Name, id, projection.Span{PageSize: 1}).Total == 0:
		v.noToken()
	case errors.Is(err, oat.ErrTokenNotFound):
		v.redirect(v.at("tokens"), "gone")
	case errors.Is(err, oat.ErrInactive):
		v.redirect(token, "inactive")
	case errors.Is(err, oat.ErrExpired):
		v.redirect(token, "expired")
	case errors.Is(err, oat.ErrActive):
		v.redirect(token, "active")
	default:
		code, trouble := v.trouble(err)
		v.confirm(code, remove, trouble)
	}
}
