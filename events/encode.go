package events

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"unicode/utf8"
)

// writer writes JSON as encoding/json does, HTML left as it is, which a fuzz test holds
// it to.
type writer struct{ data []byte }

// payload writes p. It returns false for a type that has no quick path, as uses have none:
// they are written once a minute.
func (w *writer) payload(p Payload) bool {
	switch p := p.(type) {
	case *OrganizationRegistered:
		w.field(`{"plan":`, p.Plan)
		w.raw(`,"owners":`)
		w.strings(p.Owners)
	case *OrganizationPlanChanged:
		w.field(`{"plan":`, p.Plan)
	case *OrganizationOwnerAdded:
		w.field(`{"owner":`, p.Owner)
	case *OrganizationOwnerRemoved:
		w.field(`{"owner":`, p.Owner)
	case *TokenGenerated:
		w.generated(p)
	case *TokenEdited:
		w.edited(p)
	case *TokenDeactivated:
		w.field(`{"token":`, p.Token)
	case *TokenDeleted:
		w.field(`{"token":`, p.Token)
	default:
		return false
	}
	w.raw("}")
	return true
}

func (w *writer) generated(p *TokenGenerated) {
	w.field(`{"token":`, p.Token)
	w.field(`,"label":`, p.Label)
	if p.Description != "" {
		w.field(`,"description":`, p.Description)
	}
	w.raw(`,"digest":"`)
	w.data = hex.AppendEncode(w.data, p.Digest[:])
	w.raw(`"`)
	if p.ExpiresAt != "" {
		w.field(`,"expires_at":`, p.ExpiresAt)
	}
	w.raw(`,"resources":`)
	w.resources(p.Resources)
}

func (w *writer) edited(p *TokenEdited) {
	w.field(`{"token":`, p.Token)
	if p.Label != nil {
		w.field(`,"label":`, *p.Label)
	}
	if p.Description != nil {
		w.field(`,"description":`, *p.Description)
	}
	if p.Resources != nil {
		w.raw(`,"resources":`)
		w.resources(p.Resources)
	}
}

func (w *writer) resources(list []Resource) {
	if list == nil {
		w.raw("null")
		return
	}
	w.raw("[")
	for i := range list {
		if i > 0 {
			w.raw(",")
		}
		w.field(`{"type":`, list[i].Type)
		w.field(`,"path":`, list[i].Path)
		w.raw(`,"scopes":`)
		w.strings(list[i].Scopes)
		w.raw("}")
	}
	w.raw("]")
}

func (w *writer) strings(list []string) {
	if list == nil {
		w.raw("null")
		return
	}
	w.raw("[")
	for i, s := range list {
		if i > 0 {
			w.raw(",")
		}
		w.string(s)
	}
	w.raw("]")
}

func (w *writer) raw(text string) { w.data = append(w.data, text...) }

func (w *writer) field(name, value string) {
	w.raw(name)
	w.string(value)
}

// string writes s as it is where JSON can say it so, which is nearly always.
func (w *writer) string(s string) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			w.escaped(s)
			return
		}
	}
	w.data = append(append(append(w.data, '"'), s...), '"')
}

func (w *writer) escaped(s string) {
	w.data, _ = encode(w.data, s) // of a string there is no error
}

// encode appends v as encoding/json writes it.
func encode(to []byte, v any) ([]byte, error) {
	b := bytes.NewBuffer(to)
	encoder := json.NewEncoder(b)
	encoder.SetEscapeHTML(false) // the log is read by people, not by browsers
	err := encoder.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), err
}
