package console

import (
	"errors"
	"net/http"
	"slices"
	"strconv"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
)

// editToken shows the form of a token there is. One that can only be deleted is shown its
// own page instead.
func (v *visit) editToken() {
	token, ok := v.current()
	switch {
	case !ok:
		v.noToken()
	case token.State != projection.Active:
		v.redirect(v.at("tokens", token.ID.String()), string(token.State))
	default:
		v.showEdit(http.StatusOK, &token, formOf(v.org.Name, token.Label, token.Description, token.Resources), token.Version, nil)
	}
}

// current is the token in the path as the read models know it.
func (v *visit) current() (projection.Token, bool) {
	id, ok := v.tokenID()
	if !ok {
		return projection.Token{}, false
	}
	return v.cfg.Tokens.Get(v.org.Name, id, v.now)
}

func (v *visit) showEdit(status int, token *projection.Token, f form, version events.Version, more func(*formPage)) {
	p := v.newForm("Edit access token", f)
	p.Token, p.Name, p.Version, p.Ends = token.ID.String(), token.Label, version, v.expiry(token)
	if more != nil {
		more(p)
	}
	v.render(status, "edit", p)
}

// saveToken edits the token, on the version that the form was opened on.
func (v *visit) saveToken() {
	f := readForm(v.r.PostForm)
	token, ok := v.current()
	if !ok {
		v.lost(f)
		return
	}
	// A version that is none is the first one: every change since then is told.
	opened, err := strconv.ParseInt(v.r.PostForm.Get("version"), 10, 64)
	version := max(events.Version(opened), 1)
	if err != nil {
		version = 1
	}
	if f.rearrange(v.r.PostForm) {
		v.showEdit(http.StatusOK, &token, f, version, nil)
		return
	}
	cmd, own := v.edit(&token, &f, version)
	edited, err := v.cfg.Service.Edit(v.r.Context(), v.actor(), cmd)
	if err == nil && len(own) == 0 {
		v.settle()
		done := "saved"
		if edited.Version == version {
			done = "unchanged"
		}
		v.redirect(v.at("tokens", token.ID.String()), done)
		return
	}
	v.notSaved(&token, f, version, own, err)
}

// edit is what the form asks to change, with what the form alone finds wrong with it, in
// which case the command is one that is refused. What is as it was is left out, so that
// access that was written down by other means stays word for word.
func (v *visit) edit(token *projection.Token, f *form, version events.Version) (oat.Edit, problems) {
	cmd := oat.Edit{Organization: v.org.Name, Token: token.ID, Version: version}
	if f.Label != token.Label {
		cmd.Label = &f.Label
	}
	if f.Description != text(token.Description) {
		cmd.Description = &f.Description
	}
	own := f.check(v.org.Name)
	resources, _ := f.resources(v.org.Name)
	was := formOf(v.org.Name, "", "", token.Resources)
	before, _ := was.resources(v.org.Name)
	switch {
	case len(own) > 0:
		cmd.Resources = append(resources, refused())
	case !slices.EqualFunc(resources, before, sameResource):
		cmd.Resources = resources
	}
	return cmd, own
}

func sameResource(a, b oat.Resource) bool {
	return a.Type == b.Type && a.Path == b.Path && slices.Equal(a.Scopes, b.Scopes)
}

// notSaved shows the form again, with what was typed and why it was not saved.
func (v *visit) notSaved(token *projection.Token, f form, version events.Version, own problems, err error) {
	var invalid oat.ValidationErrors
	switch {
	case errors.As(err, &invalid):
		domain := f.understand(v.org.Name, invalid)
		v.showEdit(http.StatusUnprocessableEntity, token, f, version, func(p *formPage) { p.Problems = together(own, domain) })
	case errors.Is(err, oat.ErrChanged):
		v.settle()
		v.changed(f, version)
	case errors.Is(err, oat.ErrInactive):
		v.blocked(token, f, version, "Nothing was saved, because the token was deactivated meanwhile. An inactive token can only be deleted. What you typed is still here, if you want to copy it.")
	case errors.Is(err, oat.ErrExpired):
		v.blocked(token, f, version, "Nothing was saved, because the token has expired meanwhile. It can only be deleted. What you typed is still here, if you want to copy it.")
	case errors.Is(err, oat.ErrTokenNotFound):
		v.lost(f)
	default:
		status, trouble := v.trouble(err)
		v.showEdit(status, token, f, version, func(p *formPage) { p.Trouble = trouble })
	}
}

// blocked shows what was typed about a token that cannot be edited any more.
func (v *visit) blocked(token *projection.Token, f form, version events.Version, why string) {
	v.settle()
	v.showEdit(http.StatusConflict, token, f, version, func(p *formPage) {
		p.Blocked, p.Trouble = true, why
		p.Meanwhile, p.Earlier = v.since(token.ID, version)
	})
}

// lost shows what was typed about a token that is deleted, or never was.
func (v *visit) lost(f form) {
	v.settle()
	id, ok := v.tokenID()
	if !ok || v.cfg.History.Token(v.org.Name, id, projection.Span{PageSize: 1}).Total == 0 {
		v.noToken()
		return
	}
	v.showEdit(http.StatusConflict, &projection.Token{ID: id, Label: f.Label}, f, 1, func(p *formPage) {
		p.Blocked, p.Trouble = true, "Nothing was saved, because the token was deleted meanwhile. What you typed is still here, if you want to copy it."
		p.Meanwhile, _ = v.since(id, 0)
		p.Meanwhile = p.Meanwhile[:1]
	})
}

// changed tells the second of two owners who edited at once what the first one did. What
// the second one did not touch shows as it is now; what they typed stays. Sending the
// form again saves it over what it shows.
func (v *visit) changed(f form, version events.Version) {
	token, ok := v.current()
	if !ok {
		v.lost(f)
		return
	}
	meanwhile, earlier := v.since(token.ID, version)
	f.rebase(v.org.Name, &token, v.cfg.History.Token(v.org.Name, token.ID, projection.Span{}).Entries, version)
	v.showEdit(http.StatusConflict, &token, f, token.Version, func(p *formPage) {
		p.Meanwhile, p.Earlier = meanwhile, earlier
		p.Trouble = "Nothing was saved yet, because the token was changed while you were editing it. What you typed is kept; fields that you had not touched show what they are now. Look it through, and save again."
	})
}

// meanwhileSize is how many things are told beside a form. It is less than a token's own
// page tells, because the form with its repositories is below the same 100 KB.
const meanwhileSize = 6

// since is what happened to a token after a version, newest first and not more than there
// is room for, and how much that leaves out.
func (v *visit) since(id uuid.UUID, version events.Version) (told []happening, earlier int) {
	story := v.cfg.History.Token(v.org.Name, id, projection.Span{Descending: true})
	for i := range story.Entries {
		switch {
		case story.Entries[i].Version <= version:
		case len(told) < meanwhileSize:
			told = append(told, v.happening(&story.Entries[i]))
		default:
			earlier++
		}
	}
	return told, earlier
}

// rebase takes over the fields that others changed after a version and that the form
// still has as they were then.
func (f *form) rebase(organization string, now *projection.Token, story []projection.Entry, version events.Version) {
	before := make(map[string]string) // what the changed fields were
	for _, e := range story {
		for _, c := range e.Changes {
			if _, known := before[c.Field]; !known && e.Version > version {
				before[c.Field] = c.From
			}
		}
	}
	if was, ok := before["label"]; ok && oat.CleanText(f.Label) == was {
		f.Label = now.Label
	}
	if was, ok := before["description"]; ok && f.Description == text(was) {
		f.Description = text(now.Description)
	}
	if was, ok := before["resources"]; ok {
		old := form{AllLevel: levelRead}
		old.setAccess(organization, parseAccess(was))
		then, _ := old.resources(organization)
		if typed, _ := f.resources(organization); slices.EqualFunc(typed, then, sameResource) {
			f.setAccess(organization, now.Resources)
		}
	}
}
