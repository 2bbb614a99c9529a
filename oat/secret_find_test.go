package oat_test

import (
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/oatmill/oatmill/oat"
)

// disguises are ways in which a secret comes in a text. Each has it once.
func disguises() map[string]func(string) string {
	within := func(before, after string) func(string) string {
		return func(secret string) string { return before + secret + after }
	}
	spread := func(between string) func(string) string {
		return func(secret string) string { return secret[:20] + between + secret[20:] }
	}
	return map[string]func(string) string{
		"alone":               within("", ""),
		"in words":            within("the token is ", ", keep it"),
		"in an assignment":    within("PASSWORD=", ";"),
		"with letters around": within("xyz", "XYZ"),
		"without its prefix":  func(secret string) string { return strings.TrimPrefix(secret, "oat_") },
		// A terminal that wraps a line.
		"on two lines":            spread("\n  "),
		"with a zero width space": spread("\u200b"),
		// RFC 7617, and "auth" in Docker's config.json.
		"as basic credentials": func(secret string) string {
			return "Basic " + base64.StdEncoding.EncodeToString([]byte("acme:"+secret))
		},
		"in a URL's base64": func(secret string) string {
			return base64.RawURLEncoding.EncodeToString([]byte("\xff\xfeacme:" + secret))
		},
	}
}

// A secret is found in a text, and masked, in every disguise; a text without one stays as
// it is. Fails if the window of run.secrets has another length, if runs ends at white
// space, or if encodesSecret tries one alignment only.
func TestSecretsAreFound(t *testing.T) {
	d := newDesk(t)
	_, secret := d.generate()
	parts := partsOf(secret)
	for name, disguise := range disguises() {
		text := disguise(secret.Reveal())
		masked := oat.MaskSecrets(text)
		if !oat.ContainsSecret(text) || oat.ContainsSecret(masked) || parts.in(masked) || strings.Count(masked, "[redacted]") != 1 {
			t.Errorf("%s: %q is masked to %q", name, text, masked)
		}
	}
	if got, want := oat.MaskSecrets("a "+secret.Reveal()+" b "+secret.Reveal()+" c"), "a oat_[redacted] b oat_[redacted] c"; got != want {
		t.Errorf("masked %q, want %q", got, want)
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[0-9A-Za-z_ -]{0,300}`)).Draw(t, "text")
		if oat.ContainsSecret(text) || oat.MaskSecrets(text) != text {
			t.Fatalf("%q is masked to %q", text, oat.MaskSecrets(text))
		}
	})
}

// A secret is refused in everything that people type, by the name of the field, and the
// refusal does not repeat it. Fails if characterProblem, OrganizationProblem or pathProblem
// does not ask ContainsSecret.
func TestSecretsAreRefusedInText(t *testing.T) {
	d := newDesk(t)
	_, secret := d.generate()
	parts := partsOf(secret)
	for name, disguise := range disguises() {
		text := disguise(secret.Reveal())
		before := len(d.records())
		for field, err := range d.fields(text) {
			wantField(t, name, field, err)
			if parts.in(err.Error()) {
				t.Errorf("%s as %s: %v", name, field, err)
			}
		}
		if got := len(d.records()); got != before+1 { // the token of fields
			t.Errorf("%s: %d records", name, got-before)
		}
		for _, cmd := range []oat.Generate{
			wellFormed(func(cmd *oat.Generate) {
				cmd.Resources = []oat.Resource{{Type: text, Path: "acme/api", Scopes: []string{oat.ScopePull}}}
			}),
			wellFormed(func(cmd *oat.Generate) { cmd.Resources = []oat.Resource{oat.Repository("acme/"+text, oat.Read)} }),
			wellFormed(func(cmd *oat.Generate) {
				cmd.Resources = []oat.Resource{{Type: oat.TypeRepository, Path: "acme/api", Scopes: []string{text}}}
			}),
		} {
			_, _, err := d.Service.Generate(t.Context(), alice, cmd)
			if err == nil || parts.in(err.Error()) {
				t.Errorf("%s: %+v is refused with %v", name, cmd.Resources, err)
			}
		}
		_, expiry := oat.ParseExpiry(text)
		for _, err := range []error{d.Service.ChangePlan(t.Context(), alice, oat.ChangePlan{Organization: "acme", Plan: text}), expiry} {
			if err == nil || parts.in(err.Error()) {
				t.Errorf("%s: refused with %v", name, err)
			}
		}
	}
}

// A name that is written in lower case alone can be a repository's and an organization's,
// and still have the form of a secret.
func TestSecretAsAName(t *testing.T) {
	d := newDesk(t)
	name := lowerCaseSecret()
	wantProblems(t, d.refuses(oat.ErrInvalid, func() error {
		return d.Service.Register(t.Context(), alice, oat.Register{Organization: name, Owners: []string{"alice"}})
	}), "organization")
	d.wantInvalid(wellFormed(func(cmd *oat.Generate) { cmd.Resources = []oat.Resource{oat.Repository("acme/"+name, oat.Read)} }), "resources[0].path")
}

// What is recorded of a request has no secret and no part of one, wherever in the text it
// stands: also where the text is cut, and where what hides it is removed. Fails if useText
// masks before it removes characters or after it cuts, if bounded cuts at maxUseText, or if
// maskBeginning leaves the end of what was cut.
func TestSecretsAreMaskedInUses(t *testing.T) {
	d := newDesk(t)
	_, secret := d.generate()
	parts := partsOf(secret)
	texts := make(map[string]bool)
	for _, disguise := range disguises() {
		texts[disguise(secret.Reveal())] = true
	}
	for _, filler := range []string{"x", " ", ".", "\x01", "\u200b", "\xff", secret.Reveal()} {
		for _, length := range []int{200, 230, 250, 255, 256, 980, 1000, 1010, 1023, 1024, 1025} {
			texts[strings.Repeat(filler, length/len(filler))+"."+secret.Reveal()] = true
			texts[strings.Repeat(filler, length/len(filler))+"."+secret.Reveal()[:20]+"\xff\x00"+secret.Reveal()[20:]] = true
		}
	}
	inBubble(t, func(t *testing.T, b *book) {
		for text := range texts {
			b.use(token(1), func(u *oat.Use) { u.UserAgent, u.Address, u.Cause = text, text, text })
			must(t, b.Flush(t.Context()))
		}
		b.events(len(texts))
		for _, r := range records(t, b.log) {
			if parts.in(string(r.Data)) {
				t.Errorf("recorded %s", r.Data)
			}
		}
	})
}

// lowerCaseSecret is a text that has the form of a secret and no capital letter.
func lowerCaseSecret() string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	for n := 0; ; n++ {
		body := fmt.Sprintf("%026d", n)
		sum, checksum := crc32.ChecksumIEEE([]byte(body)), ""
		for range 6 {
			checksum, sum = digits[sum%62:sum%62+1]+checksum, sum/62
		}
		if checksum == strings.ToLower(checksum) {
			return "oat_" + body + checksum
		}
	}
}
