package oat_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/oatmill/oatmill/oat"
)

// Ways in which a secret lies in a program.
type (
	inTheOpen struct {
		Name   string
		Secret oat.Secret
	}
	hidden struct {
		name   string
		secret oat.Secret
	}
	deep struct {
		Any     any
		pointer *hidden
		slice   []oat.Secret
		byName  map[string]oat.Secret
		array   [1]hidden
		again   *deep
	}
)

// holding is a secret in every such way.
func holding(s oat.Secret) map[string]any {
	h := hidden{"x", s}
	return map[string]any{
		"itself":             s,
		"a pointer":          &s,
		"a slice":            []oat.Secret{s},
		"a map":              map[string]oat.Secret{"x": s},
		"an exported field":  inTheOpen{"x", s},
		"its pointer":        &inTheOpen{"x", s},
		"an unexported one":  h,
		"its own pointer":    &h,
		"everything at once": deep{Any: h, pointer: &h, slice: []oat.Secret{s}, byName: map[string]oat.Secret{"x": s}, array: [1]hidden{h}, again: &deep{Any: s}},
		"an attempt":         oat.Attempt{Organization: "acme", Secret: s},
		"a method":           s.Reveal, // only its address may show
	}
}

// needle is what must not be found: every part of a secret that could not be there by
// chance, as text, as bytes and in hexadecimal.
type needle []string

func partsOf(s oat.Secret) (n needle) {
	text := s.Reveal()
	for i := range len(text) - 5 {
		part := []byte(text[i : i+6])
		decimal := fmt.Sprint(part)
		hexadecimal := fmt.Sprintf("%#v", part)
		n = append(n, string(part), decimal[1:len(decimal)-1], hexadecimal[len("[]byte{"):len(hexadecimal)-1],
			fmt.Sprintf("%x", part), fmt.Sprintf("%X", part), fmt.Sprintf("% x", part))
	}
	return n
}

func (n needle) in(output string) bool {
	return slices.ContainsFunc(n, func(part string) bool { return strings.Contains(output, part) })
}

// Break it by making Secret a struct{ text string }: fmt does not ask the methods of
// an unexported field.
func TestNoVerbPrintsASecret(t *testing.T) {
	_, secret := newDesk(t).generate()
	parts := partsOf(secret)
	if !parts.in(fmt.Sprintf("%v", []byte(secret.Reveal()))) || !parts.in(fmt.Sprintf("%x", secret.Reveal())) {
		t.Fatal("the test does not see what it looks for")
	}
	for name, value := range holding(secret) {
		for verb := 'A'; verb <= 'z'; verb++ {
			for _, flags := range []string{"", "+", "#", " ", "0", "-60.2", "+#", "[1]"} {
				format := "%" + flags + string(verb)
				if output := fmt.Sprintf(format, value); parts.in(output) {
					t.Errorf("%s of %s printed %s", format, name, output)
				}
				// fmt keeps p, T and w to itself, and asks no Formatter.
				if output := fmt.Sprintf(format, secret); output != "[redacted]" && isLetter(verb) && !strings.ContainsRune("pTw", verb) {
					t.Errorf("%s printed %q, want [redacted]", format, output)
				}
			}
		}
		for _, output := range []string{fmt.Sprint(value), fmt.Sprintln(value, value), fmt.Errorf("%w: %v", oat.ErrRefused, value).Error()} {
			if parts.in(output) {
				t.Errorf("%s printed %s", name, output)
			}
		}
	}
	if secret.String() != "[redacted]" || secret.GoString() != "[redacted]" {
		t.Errorf("%s, %#v", secret.String(), secret)
	}
}

func isLetter(c rune) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

func TestNoEncoderWritesASecret(t *testing.T) {
	_, secret := newDesk(t).generate()
	parts := partsOf(secret)
	for name, value := range holding(secret) {
		var out bytes.Buffer
		// That something cannot be encoded at all is fine, too.
		if data, err := json.Marshal(value); err == nil {
			out.Write(data)
		}
		if data, err := xml.Marshal(value); err == nil {
			out.Write(data)
		}
		_ = gob.NewEncoder(&out).Encode(value)
		_ = template.Must(template.New("").Parse("{{.}}")).Execute(&out, value)
		if parts.in(out.String()) {
			t.Errorf("%s was written as %s", name, out.String())
		}
	}
	for name, want := range map[string]string{
		"itself": `"[redacted]"`, "an exported field": `{"Name":"x","Secret":"[redacted]"}`, "a map": `{"x":"[redacted]"}`,
	} {
		if data, err := json.Marshal(holding(secret)[name]); err != nil || string(data) != want {
			t.Errorf("%s is %s, %v, want %s", name, data, err, want)
		}
	}
}

func TestNoLoggerWritesASecret(t *testing.T) {
	_, secret := newDesk(t).generate()
	parts := partsOf(secret)
	for name, value := range holding(secret) {
		var out bytes.Buffer
		for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			logger := slog.New(handler).With("held", value).WithGroup("g")
			logger.Info("message", "value", value, slog.Group("inner", slog.Any("value", value)), "error", fmt.Errorf("wrapped: %v", value))
		}
		if parts.in(out.String()) {
			t.Errorf("%s was logged as %s", name, out.String())
		}
	}
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("message", "secret", secret)
	if !strings.Contains(out.String(), "secret=[redacted]") {
		t.Errorf("logged %s", out.String())
	}
}

// A secret that was put where something else belongs does not come back in the error.
func TestErrorsDoNotRepeatASecret(t *testing.T) {
	d := newDesk(t)
	_, secret := d.generate()
	text, parts := secret.Reveal(), partsOf(secret)
	_, parsing := oat.ParseSecret(text + "x")
	_, verifying := d.Verifier.Verify(t.Context(), oat.Attempt{Organization: text, Secret: secret})
	_, editing := d.Service.Edit(t.Context(), alice, oat.Edit{Organization: text})
	for _, err := range []error{parsing, verifying, editing, errors.Join(parsing, verifying)} {
		if err == nil || parts.in(err.Error()) {
			t.Errorf("error %v", err)
		}
	}
}
