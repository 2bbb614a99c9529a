package oat_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/oattest"
	"github.com/oatmill/oatmill/quota"
)

// invisible are characters that show nothing, by where they come from.
func invisible() map[string]string {
	return map[string]string{
		// Unicode Standard Annex #9, 2.1 to 2.6: what reorders the text after it.
		"left-to-right mark": "\u200e", "right-to-left mark": "\u200f", "arabic letter mark": "\u061c",
		"left-to-right embedding": "\u202a", "right-to-left embedding": "\u202b", "pop directional formatting": "\u202c",
		"left-to-right override": "\u202d", "right-to-left override": "\u202e",
		"left-to-right isolate": "\u2066", "right-to-left isolate": "\u2067", "first strong isolate": "\u2068", "pop directional isolate": "\u2069",
		// DerivedCoreProperties.txt, Default_Ignorable_Code_Point.
		"zero width space": "\u200b", "word joiner": "\u2060", "invisible times": "\u2062", "byte order mark": "\ufeff", "soft hyphen": "\u00ad",
		"combining grapheme joiner": "\u034f", "mongolian vowel separator": "\u180e", "hangul choseong filler": "\u115f",
		"hangul jungseong filler": "\u1160", "hangul filler": "\u3164", "halfwidth hangul filler": "\uffa0", "khmer inherent vowel": "\u17b4",
		"variation selector 16": "\ufe0f", "variation selector 17": "\U000e0100", "mongolian selector": "\u180b",
		"tag": "\U000e0041", "language tag": "\U000e0001", "musical begin beam": "\U0001d173",
		// UnicodeData.txt: blank, and yet So or Lo.
		"braille blank": "\u2800", "null notehead": "\U0001d159",
		// UnicodeData.txt: Zl, Zp, Co, Cn and noncharacters.
		"line separator": "\u2028", "paragraph separator": "\u2029", "private": "\ue000", "private, plane 16": "\U0010fffd",
		"noncharacter": "\ufdd0", "last of the plane": "\U0001ffff", "unassigned": "\u0378", "interlinear": "\ufff9",
		"text that was lost": "\ufffd",
		// Neither joins anything in Latin text (Unicode Standard Annex #31, 2.3).
		"zero width joiner": "\u200d", "zero width non-joiner": "\u200c",
	}
}

// fields gives a text by every command in every field that people type, and returns what
// the commands are refused with, by the field that should be named.
func (d *desk) fields(text string) map[string]error {
	d.t.Helper()
	token, _ := d.generate()
	ctx, s := d.t.Context(), d.Service
	generate := func(change func(*oat.Generate)) error {
		_, _, err := s.Generate(ctx, alice, wellFormed(change))
		return err
	}
	edit := func(cmd oat.Edit) error {
		cmd.Organization, cmd.Token = "acme", token.ID
		_, err := s.Edit(ctx, alice, cmd)
		return err
	}
	register := func(by oat.Actor, name string, owners ...string) error {
		return s.Register(ctx, by, oat.Register{Organization: name, Plan: quota.Team, Owners: owners})
	}
	return map[string]error{
		"label, generated":       generate(func(cmd *oat.Generate) { cmd.Label = text }),
		"description, generated": generate(func(cmd *oat.Generate) { cmd.Description = text }),
		"label, edited":          edit(oat.Edit{Label: &text}),
		"description, edited":    edit(oat.Edit{Description: &text}),
		"actor":                  register(oat.Actor{User: text}, "new", "alice"),
		"actor, the host":        register(oat.Actor{Host: text}, "new", "alice"),
		"correlation":            register(oat.Actor{User: "alice", Correlation: text}, "new", "alice"),
		"reason":                 register(oat.Actor{User: "alice", Reason: text}, "new", "alice"),
		"organization":           register(alice, text, "alice"),
		"owners[1]":              register(alice, "new", "alice", text),
		"owner":                  s.AddOwner(ctx, alice, oat.AddOwner{Organization: "acme", Owner: text}),
	}
}

// Invisible text is refused by the name of its field, whatever the command, between letters
// and alone. Fails if characterProblem asks unicode.IsControl only, as it did; if
// isInvisible leaves out one of its tables or a blank; or if joins returns true for all.
func TestInvisibleTextIsRefused(t *testing.T) {
	for name, character := range invisible() {
		texts := []string{"a" + character + "b"}
		if oat.CleanText(character) != "" { // separators are white space, and trimmed
			texts = append(texts, character, "a"+character, character+"b")
		}
		for _, text := range texts {
			d := newDesk(t)
			before := len(d.records())
			for field, err := range d.fields(text) {
				if field == "organization" && err == nil {
					t.Errorf("%s %+q: is an organization", name, text)
				}
				wantField(t, fmt.Sprintf("%s %+q", name, text), field, err)
			}
			if got := len(d.records()); got != before+1 { // the token of fields
				t.Errorf("%s: %d records", name, got-before)
			}
		}
	}
}

// wantField demands a refusal that names the field, which may have a remark after a comma.
func wantField(t *testing.T, what, field string, err error) {
	t.Helper()
	var problems oat.ValidationErrors
	if !errors.As(err, &problems) || len(problems) != 1 {
		t.Errorf("%s as %s: refused with %v", what, field, err)
		return
	}
	if name, _, _ := strings.Cut(field, ","); problems[0].Field != name {
		t.Errorf("%s as %s: refused for %s", what, field, problems[0].Field)
	}
}

// What people write, in any script, is a label. The joiners of Persian (ISIRI 6219), Bengali,
// Malayalam and Sinhala (The Unicode Standard, chapter 12), and the sequences of emoji (Unicode
// Technical Standard #51) are part of it. Fails if joins returns false, or does not look
// behind marks.
func TestWrittenTextIsALabel(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate()
	for _, text := range []string{
		"CI für das Büro", "構築", "빌드", "بناء", "בנייה", "می\u200cخواهم", "خانه\u200cها", "ശില്\u200d", "র\u200d্যাব", "ක්\u200dෂ",
		"❤️", "☺\ufe0e", "👩\u200d💻", "👨\u200d👩\u200d👧", "👩🏽\u200d🚀", "🏳️\u200d🌈", "1️⃣ first", "🇩🇪", "⚠️ do not use", "®️", "a\u00a0b", "山田\u3000太郎", "e\u0301",
	} {
		for _, cmd := range []oat.Edit{{Label: &text}, {Description: &text}} {
			cmd.Organization, cmd.Token = "acme", token.ID
			edited, err := d.Service.Edit(t.Context(), oat.Actor{User: "alice", Reason: text}, cmd)
			want := oat.CleanText(text)
			if err != nil || cmd.Label != nil && edited.Label != want || cmd.Description != nil && edited.Description != want {
				t.Errorf("%+q: %v, %+q and %+q", text, err, edited.Label, edited.Description)
			}
		}
	}
}

// In a name there is nothing that cannot be seen, joiners neither: two owners must not look
// the same. Fails if nameProblem allows what textProblem does.
func TestNameHasNoJoiners(t *testing.T) {
	for _, name := range []string{"می\u200cخواهم", "❤️", "👩\u200d💻", "al\u00a0ice", "al\u2009ice", "山田\u3000太郎"} {
		if problem := oat.UserProblem(oat.CleanText(name)); problem == "" {
			t.Errorf("%+q is a user's name", name)
		}
	}
	for _, name := range []string{"山田 太郎", "José", "علی", "o'neill", "al@example.com", "𝔲"} {
		if problem := oat.UserProblem(oat.CleanText(name)); problem != "" {
			t.Errorf("%+q %s", name, problem)
		}
	}
}

// Letters with very many marks on them ("Zalgo text") reach over other lines. Normalization
// limits them (Unicode Standard Annex #15, Stream-Safe Text Format), and the rule refuses
// what exceeds the limit.
func TestTooManyMarks(t *testing.T) {
	d := newDesk(t)
	label := "a"
	for range 31 {
		label += "\u0316"
	}
	d.wantInvalid(wellFormed(func(cmd *oat.Generate) { cmd.Label = label }), "label")
}

// Two spellings of one name are one name, by whichever command and door it comes, and one
// label is one label (Unicode Standard Annex #15: é is U+00E9, or e and U+0301). Fails if
// Actor.clean, AddOwner.decide, RemoveOwner.decide, Register.decide or Service.manage uses
// what it was given.
func TestOneNameHasOneSpelling(t *testing.T) {
	const composed, decomposed = "Jos\u00e9", " Jose\u0301\t"
	d := newDesk(t)
	register := oat.Register{Organization: " new\n", Plan: quota.Team, Owners: []string{decomposed}}
	must(t, d.Service.Register(t.Context(), oat.Actor{Host: " sign-up ", Reason: " e\u0301 "}, register))
	want := &events.OrganizationRegistered{Plan: quota.Team, Owners: []string{composed}}
	if diff := cmp.Diff(events.Payload(want), d.last()); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
	all := d.records()
	if r := all[len(all)-1]; r.Stream != "organization/new" || r.Actor != "host:sign-up" || r.Reason != "\u00e9" {
		t.Errorf("recorded %+v", r)
	}
	d.refuses(oat.ErrExists, func() error {
		return d.Service.Register(t.Context(), alice, oat.Register{Organization: "new", Owners: []string{"x"}})
	})
	wantProblems(t, d.refuses(oat.ErrInvalid, func() error {
		return d.Service.Register(t.Context(), alice, oat.Register{Organization: "newer", Owners: []string{composed, decomposed}})
	}), "owners[1]")
	for _, name := range []string{composed, decomposed} {
		by := oat.Actor{User: name}
		d.changesNothing(func() error {
			return d.Service.AddOwner(t.Context(), by, oat.AddOwner{Organization: "new ", Owner: composed})
		})
		d.changesNothing(func() error {
			return d.Service.AddOwner(t.Context(), by, oat.AddOwner{Organization: "new", Owner: decomposed})
		})
		cmd := wellFormed(func(cmd *oat.Generate) {
			cmd.Organization, cmd.Label, cmd.Resources = "\tnew", decomposed, []oat.Resource{oat.All("new", oat.Read)}
		})
		token, _, err := d.Service.Generate(t.Context(), by, cmd)
		must(t, err)
		if token.CreatedBy != composed || token.Label != composed || token.Organization != "new" {
			t.Errorf("generated %+v", token)
		}
		d.changesNothing(func() error {
			label := composed
			_, err := d.Service.Edit(t.Context(), by, oat.Edit{Organization: " new ", Token: token.ID, Label: &label})
			return err
		})
	}
	must(t, d.Service.AddOwner(t.Context(), oat.Actor{User: composed}, oat.AddOwner{Organization: "new", Owner: "bob"}))
	must(t, d.Service.RemoveOwner(t.Context(), oat.Actor{User: "bob"}, oat.RemoveOwner{Organization: "new", Owner: decomposed}))
	d.refuses(oat.ErrNotOwner, func() error { return d.Service.Authorize(t.Context(), oat.Actor{User: composed}, "new") })
}

// A token that is generated once is so for every spelling of its organization's name. Fails
// if Service.tokenID uses what it was given.
func TestGeneratedOnceWhateverTheSpelling(t *testing.T) {
	d := newDesk(t)
	by := oat.Actor{User: "alice", Correlation: "request 1"}
	cmd := wellFormed(func(cmd *oat.Generate) { cmd.Once = true })
	_, _, err := d.Service.Generate(t.Context(), by, cmd)
	must(t, err)
	cmd.Organization = " acme"
	d.refuses(oat.ErrRepeated, func() error {
		_, _, err := d.Service.Generate(t.Context(), by, cmd)
		return err
	})
}

// A host that knows the owners itself is asked for the cleaned name, and never for one that
// cannot be a name. Fails if Service.manage asks before it looks at the actor.
func TestHostIsAskedForCleanNames(t *testing.T) {
	var asked []string
	d := &desk{oattest.New(t, func(cfg *oat.Config) {
		cfg.Owners = hostOwners(func(organization, user string) (bool, error) {
			asked = append(asked, organization+" "+user)
			return true, nil
		})
	}), t}
	must(t, d.Service.Register(t.Context(), billing, oat.Register{Organization: "acme", Plan: quota.Team}))
	must(t, d.Service.Authorize(t.Context(), oat.Actor{User: " Jose\u0301 "}, " acme "))
	d.refuses(oat.ErrInvalid, func() error { return d.Service.Authorize(t.Context(), oat.Actor{User: "a\u202eb"}, "acme") })
	if diff := cmp.Diff([]string{"acme Jos\u00e9"}, asked); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
}

// What was recorded before there was a rule stays readable: its owners act and are removed
// by any spelling, its tokens are edited. Fails if organization.owner compares what is
// recorded, or RemoveOwner.decide records what it was given.
func TestOldNamesStayReadable(t *testing.T) {
	d := newDesk(t)
	stream := events.OrganizationStream("old")
	d.write(stream, &events.OrganizationRegistered{Plan: quota.Team, Owners: []string{"Jose\u0301", "al\u200bice"}})
	d.write(stream, &events.TokenGenerated{
		Token: "0f8fad5b-d9cb-469f-a165-70867728950e", Label: "\u202egnp", Description: "\u200b",
		Digest: events.Hash{1}, Resources: []oat.Resource{oat.Public()},
	})
	id, err := oat.ParseTokenID("0f8fad5b-d9cb-469f-a165-70867728950e")
	must(t, err)
	by := oat.Actor{User: "Jos\u00e9"}
	edited, err := d.Service.Edit(t.Context(), by, oat.Edit{Organization: "old", Token: id, Description: pointer("new")})
	must(t, err)
	if edited.Label != "\u202egnp" || edited.Description != "new" {
		t.Errorf("edited %+v", edited)
	}
	must(t, d.Service.RemoveOwner(t.Context(), by, oat.RemoveOwner{Organization: "old", Owner: "Jos\u00e9"}))
	if diff := cmp.Diff(events.Payload(&events.OrganizationOwnerRemoved{Owner: "Jose\u0301"}), d.last()); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
	d.refuses(oat.ErrNotOwner, func() error { return d.Service.Authorize(t.Context(), by, "old") })
}

// To clean a text twice changes nothing, and all spellings that Unicode says are one are
// one. Fails if CleanText trims and does not normalize.
func TestCleanText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "text")
		cleaned := oat.CleanText(s)
		for _, form := range []norm.Form{norm.NFC, norm.NFD} {
			if got := oat.CleanText(" " + form.String(cleaned) + "\u2003\n"); got != cleaned {
				t.Fatalf("%+q is cleaned to %+q, and then to %+q", s, cleaned, got)
			}
		}
	})
}
