package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
)

// Whatever people typed, and clients sent of themselves, is shown isolated, so that its
// direction of writing does not reorder the page around it: text in Hebrew, and text with an
// override from a time when there was no rule against it (W3C, Inline markup and bidirectional
// text). Fails if a <bdi> is missing in a template.
func TestTypedTextIsIsolated(t *testing.T) {
	const typed, override = "שלום", "\u202eאב"
	d := newDesk(t)
	must(t, d.Service.AddOwner(t.Context(), oat.Actor{User: "alice"}, oat.AddOwner{Organization: "acme", Owner: typed}))
	d.user = typed
	token, _ := d.generate("ci", oat.Never())
	label, description := typed, typed
	by := oat.Actor{User: typed, Reason: typed}
	_, err := d.Service.Edit(t.Context(), by, oat.Edit{Organization: "acme", Token: token.ID, Label: &label, Description: &description})
	must(t, err)
	for _, cause := range []string{"", typed} {
		d.Recorder.Record(oat.Use{Organization: "acme", Token: token.ID, At: d.Clock.Now(), Cause: cause, Address: typed, UserAgent: typed})
	}
	must(t, d.Recorder.Flush(t.Context()))
	old := &events.TokenGenerated{Token: "0f8fad5b-d9cb-469f-a165-70867728950e", Label: override, Description: override, Digest: events.Hash{1}, Resources: []oat.Resource{oat.Public()}}
	envelope, err := events.NewEnvelope([16]byte{15: 1}, d.Clock.Now(), override, old)
	must(t, err)
	envelope.Reason = override
	_, err = d.Log.Append(t.Context(), "organization/acme", events.Any, envelope)
	must(t, err)
	d.catchUp()

	pages := d.crawl()
	form := d.get(newPath).filled("label", typed, "access", "selected", "repository", "acme/"+typed, "level", "read")
	form["repository"], form["level"] = []string{"acme/" + typed, "acme/" + typed}, []string{"read", "read"}
	pages["problems"] = d.post(newPath, form).is(http.StatusUnprocessableEntity)
	stale := d.get(tokenPath(token, "/edit")).filled("label", "mine")
	label = typed + typed
	_, err = d.Service.Edit(t.Context(), by, oat.Edit{Organization: "acme", Token: token.ID, Label: &label})
	must(t, err)
	pages["stale"] = d.post(tokenPath(token, "/edit"), stale).is(http.StatusConflict)
	pages["secret"] = d.post(newPath, d.get(newPath).filled("label", typed, "access", "all")).is(http.StatusOK)
	found := 0
	for name, a := range pages {
		if !strings.HasPrefix(a.Header().Get("Content-Type"), "text/html") {
			continue
		}
		page := a.page()
		for _, n := range page.all(func(n *node) bool { return n.name == "" && strings.ContainsAny(n.text, typed+override) }) {
			found++
			if !within(n, "bdi", "textarea") && !(within(n, "title") && strings.HasPrefix(n.text, "\u2068") && strings.Contains(n.text, "\u2069")) {
				t.Errorf("%s shows %+q in <%s>", name, n.text, n.parent.name)
			}
		}
		for _, n := range page.all(func(n *node) bool { return strings.ContainsAny(n.attrs["value"], typed) && n.attrs["type"] != "hidden" }) {
			if n.attrs["dir"] != "auto" && n.attrs["name"] != "repository" { // which is in Latin letters, if it is right
				t.Errorf("%s: <%s name=%q> has another direction than its text", name, n.name, n.attrs["name"])
			}
		}
	}
	if found < 30 {
		t.Errorf("typed text was found %d times", found)
	}
}

func within(n *node, names ...string) bool {
	for ; n != nil; n = n.parent {
		for _, name := range names {
			if n.name == name {
				return true
			}
		}
	}
	return false
}

// A person is who they are and finds what there is by every spelling, in an address, a form
// and a search (Unicode Standard Annex #15). Fails if Console.serve or clip uses what it was
// given.
func TestOneNameHasOneSpelling(t *testing.T) {
	const composed, decomposed = "Jos\u00e9", "Jose\u0301"
	d := newDesk(t)
	must(t, d.Service.AddOwner(t.Context(), oat.Actor{User: "alice"}, oat.AddOwner{Organization: "acme", Owner: decomposed}))
	d.catchUp()
	for _, user := range []string{composed, decomposed, " " + composed} {
		d.user = user
		d.get("/orgs/%20acme/organization").is(http.StatusOK).says("<bdi>"+composed+"</bdi> <span class=\"sub inline\">you</span>", prefix+"/orgs/acme/tokens")
	}
	d.post(newPath, d.get(newPath).filled("label", " "+decomposed, "access", "all")).is(http.StatusOK)
	if token := d.stored(composed); token.CreatedBy != composed {
		t.Errorf("stored %+v", token)
	}
	query := url.Values{"q": {decomposed}, "actor": {decomposed}, "token": {decomposed}}.Encode()
	if d.get("/orgs/acme/tokens?"+query).page().id("tokens") == nil || d.get("/orgs/acme/activity?"+query).page().id("timeline") == nil {
		t.Error("nothing is found by the other spelling")
	}
}

// What is no text is refused and not replaced, and so is text that cannot be seen; what was
// typed is shown again. Fails if text leaves invalid bytes out.
func TestTextThatIsNone(t *testing.T) {
	d := newDesk(t)
	for _, typed := range []string{"a\xffb", "\xed\xa0\x80", "\u200b", "a\u202eb", "\ufffd"} {
		form := d.get(newPath).filled("label", typed, "access", "all")
		d.post(newPath, form).is(http.StatusUnprocessableEntity).says("The label ")
		form = d.get(newPath).filled("label", "a", "description", typed, "access", "all")
		d.post(newPath, form).is(http.StatusUnprocessableEntity).says("The description ")
	}
	if d.count() != 0 {
		t.Errorf("%d tokens", d.count())
	}
}

// A token whose label was recorded before there was a rule for it can be edited as long as
// the label stays. Fails if visit.edit sends a label that was not changed.
func TestOldLabelStays(t *testing.T) {
	d := newDesk(t)
	old := &events.TokenGenerated{Token: "0f8fad5b-d9cb-469f-a165-70867728950e", Label: "a\u202eb", Digest: events.Hash{1}, Resources: []oat.Resource{oat.Public()}}
	envelope, err := events.NewEnvelope([16]byte{15: 1}, d.Clock.Now(), "alice", old)
	must(t, err)
	_, err = d.Log.Append(t.Context(), "organization/acme", events.Any, envelope)
	must(t, err)
	d.catchUp()
	const edit = "/orgs/acme/tokens/0f8fad5b-d9cb-469f-a165-70867728950e/edit"
	d.post(edit, d.get(edit).filled("description", "new")).is(http.StatusSeeOther)
	if token := d.stored("a\u202eb"); token.Description != "new" {
		t.Errorf("stored %+v", token)
	}
	d.post(edit, d.get(edit).filled("label", "a\u202ec")).is(http.StatusUnprocessableEntity)
}
