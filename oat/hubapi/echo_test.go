package hubapi_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/oatmill/oatmill/oat"
)

// drawExpiry is an instant ahead, in any of the ways to write it, or JSON null.
func drawExpiry(t *rapid.T) *string {
	if rapid.Bool().Draw(t, "never") {
		return nil
	}
	zone := time.FixedZone("", 60*rapid.IntRange(-23*60, 23*60).Draw(t, "offset"))
	at := time.Unix(rapid.Int64Range(1_800_000_000, 253_402_200_000).Draw(t, "seconds"), 0).In(zone)
	text := at.Format("2006-01-02T15:04:05")
	if digits := rapid.StringMatching(`[0-9]{0,9}`).Draw(t, "fraction"); digits != "" {
		text += "." + digits
	}
	text += at.Format(rapid.SampledFrom([]string{"Z07:00", "-07:00"}).Draw(t, "zone"))
	return &text
}

// drawResources is any access a token of acme can have, with scopes in any order.
func drawResources(t *rapid.T) []oat.Resource {
	scopes := rapid.SampledFrom([][]string{
		{oat.ScopePull}, {oat.ScopePush}, {oat.ScopePull, oat.ScopePush}, {oat.ScopePush, oat.ScopePull},
	})
	switch rapid.IntRange(0, 3).Draw(t, "access") {
	case 0:
		return []oat.Resource{oat.Public()}
	case 1:
		return []oat.Resource{{Type: oat.TypeRepository, Path: "acme/*", Scopes: scopes.Draw(t, "scopes")}}
	}
	names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z0-9]{1,8}([._/-][a-z0-9]{1,8}){0,2}`), 1, 50, rapid.ID[string]).Draw(t, "names")
	resources := make([]oat.Resource, len(names))
	for i, name := range names {
		resources[i] = oat.Resource{Type: oat.TypeRepository, Path: "acme/" + name, Scopes: scopes.Draw(t, "scopes")}
	}
	return resources
}

// drawText is text that people may type, blanks around it included.
func drawText(t *rapid.T, most int, name string) string {
	return rapid.StringOfN(rapid.SampledFrom([]rune(" aZ0\"\\/<>&'{}\u00fc\u00a0\u4e2d\U0001d11e")), 0, most, -1).Draw(t, name)
}

// What was sent comes back string for string and in the order in which it was sent: from
// create, get, update and list, and from a process that starts later. Breaks when an
// expiry is formatted anew, or resources or scopes are sorted or kept in a set.
func TestEcho(t *testing.T) {
	d := newDesk(t)
	rapid.Check(t, func(rt *rapid.T) {
		label := "x" + drawText(rt, 90, "label")
		sent := map[string]any{
			"label": label, "description": drawText(rt, 200, "description"),
			"expires_at": drawExpiry(rt), "resources": drawResources(rt),
		}
		text, err := json.Marshal(sent)
		must(t, err)
		if rapid.Bool().Draw(rt, "escaped") {
			text = escapeAll(text)
		}
		var created token
		d.ask(http.MethodPost, tokensOfAcme, "alice", string(text)).as(201, &created)
		defer d.ask(http.MethodDelete, tokensOfAcme+"/"+created.ID, "alice", nil)
		want := created
		want.Label, want.Description = strings.TrimSpace(label), strings.TrimSpace(sent["description"].(string))
		want.ExpiresAt, want.Resources = sent["expires_at"].(*string), sent["resources"].([]oat.Resource)
		if diff := cmp.Diff(want, created); diff != "" {
			rt.Fatalf("created: %s", diff)
		}
		want.Token = ""
		if diff := cmp.Diff(want, d.get(created.ID)); diff != "" {
			rt.Fatalf("got: %s", diff)
		}
		want.Resources = drawResources(rt)
		var edited token
		d.ask(http.MethodPatch, tokensOfAcme+"/"+created.ID, "alice", map[string]any{"resources": want.Resources}).as(200, &edited)
		if diff := cmp.Diff(want, edited); diff != "" {
			rt.Fatalf("edited: %s", diff)
		}
		var page tokenPage
		d.ask(http.MethodGet, tokensOfAcme, "alice", nil).as(200, &page)
		want.Resources = nil
		if diff := cmp.Diff([]token{want}, page.Results); diff != "" {
			rt.Fatalf("listed: %s", diff)
		}
	})
}

// escapeAll writes every solidus, and the characters that JSON need not escape, as
// escapes: the text is the same.
func escapeAll(text []byte) []byte {
	text = bytes.ReplaceAll(text, []byte("/"), []byte(`\/`))
	return bytes.ReplaceAll(text, []byte("-"), []byte(`\u002d`))
}

// A process that starts later echoes the same.
func TestEchoAfterRestart(t *testing.T) {
	d := newDesk(t)
	created, _ := d.create("expires_at", "2030-06-01T12:00:00.000+02:30", "resources", []oat.Resource{
		{Type: oat.TypeRepository, Path: "acme/z", Scopes: []string{oat.ScopePush, oat.ScopePull}},
		{Type: oat.TypeRepository, Path: "acme/a", Scopes: []string{oat.ScopePull}},
	})
	created.Token = ""
	if diff := cmp.Diff(created, d.restarted().get(created.ID)); diff != "" {
		t.Error(diff)
	}
}
