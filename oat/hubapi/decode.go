package hubapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/oatmill/oatmill/oat"
)

// MaxBody is the bytes that the body of a request may have. The largest sensible one,
// with 50 repositories of the longest names, has about 20,000.
const MaxBody = 64 << 10

// body reads the JSON object that a request must have, which may have the known fields
// and no others.
func (c *call) body(known ...string) (object, error) {
	kind, params, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	charset := strings.ToLower(params["charset"])
	if err != nil || kind != "application/json" || charset != "" && charset != "utf-8" {
		return nil, refuse(http.StatusUnsupportedMediaType, "want Content-Type: application/json")
	}
	if c.r.Header.Get("Content-Encoding") != "" {
		return nil, refuse(http.StatusUnsupportedMediaType, "want a body without Content-Encoding")
	}
	data, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, MaxBody))
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return nil, refuse(http.StatusRequestEntityTooLarge, "body has more than %d bytes", MaxBody)
	case err != nil:
		return nil, malformed("body could not be read to its end")
	case !utf8.Valid(data):
		return nil, malformed("body is not valid UTF-8")
	case !json.Valid(data):
		return nil, malformed("body is not valid JSON")
	case hasLoneSurrogate(data):
		return nil, malformed("body has a text that is not valid Unicode: half of a surrogate pair is missing")
	}
	found := problems{}
	o := readObject(data, "", found, known...)
	if o == nil {
		return nil, malformed("body is not a JSON object")
	}
	if len(found) > 0 {
		return nil, refuseFields(found)
	}
	return o, nil
}

// hasLoneSurrogate reports whether a text in valid JSON has an escape like \ud800 without
// its other half (RFC 8259, 8.2). encoding/json puts U+FFFD in its place.
func hasLoneSurrogate(data []byte) bool {
	for {
		i := bytes.IndexByte(data, '\\')
		if i < 0 {
			return false
		}
		data = data[i:]
		switch unit := escapedUnit(data); {
		case !utf16.IsSurrogate(unit):
			data = data[2:] // of an escaped backslash, both
		case utf16.DecodeRune(unit, escapedUnit(data[6:])) == unicode.ReplacementChar:
			return true
		default:
			data = data[12:]
		}
	}
}

// escapedUnit returns the UTF-16 code unit of an escape like \ud800 that data begins with, 0
// when it begins with something else.
func escapedUnit(data []byte) rune {
	if len(data) < 6 || data[0] != '\\' || data[1] != 'u' {
		return 0
	}
	unit, _ := strconv.ParseUint(string(data[2:6]), 16, 16) // the JSON is valid
	return rune(unit)
}

// malformed is a refusal of a body that has no fields to name.
func malformed(text string) *refusal {
	return &refusal{status: http.StatusBadRequest, text: text, fields: problems{}}
}

// object is the fields of a JSON object, each in the JSON it came in.
type object map[string]json.RawMessage

// readObject reads valid JSON, and is nil if that is no object. Names are taken as they
// are: encoding/json alone would also take "LABEL" for "label", and of a field that is
// given twice the last.
func readObject(data []byte, prefix string, found problems, known ...string) object {
	decoder := json.NewDecoder(bytes.NewReader(data))
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return nil
	}
	o := object{}
	for decoder.More() {
		token, err := decoder.Token()
		name, isName := token.(string)
		var value json.RawMessage
		if err != nil || !isName || decoder.Decode(&value) != nil {
			return nil // cannot be: the JSON is valid
		}
		_, given := o[name]
		switch {
		case !slices.Contains(known, name):
			found.add(prefix+name, "unknown field")
		case given:
			found.add(prefix+name, "is given twice")
		}
		o[name] = value
	}
	return o
}

// text reads a field that is a string, nil when it is not given.
func (o object) text(name string, found problems) *string {
	value, given := o[name]
	if !given {
		return nil
	}
	text, isText := asText(value)
	if !isText {
		found.add(name, "must be a string")
	}
	return &text
}

func asText(value json.RawMessage) (text string, isText bool) {
	if len(value) == 0 || value[0] != '"' || json.Unmarshal(value, &text) != nil {
		return "", false
	}
	return text, true
}

// flag reads a field that is true or false, nil when it is not given.
func (o object) flag(name string, found problems) *bool {
	value, given := o[name]
	if !given {
		return nil
	}
	flag := string(value) == "true"
	if !flag && string(value) != "false" {
		found.add(name, "must be true or false")
	}
	return &flag
}

// expiry reads when a token expires: never, unless it is said.
func (o object) expiry(name string, found problems) oat.Expiry {
	value, given := o[name]
	if !given || string(value) == "null" {
		return oat.Never()
	}
	text, isText := asText(value)
	if !isText {
		found.add(name, "must be a string or null")
		return oat.Expiry{}
	}
	expires, err := oat.ParseExpiry(text)
	if err != nil {
		found.add(name, "want an instant like 2027-01-31T00:00:00Z, or null for never")
	}
	return expires
}

// resources reads what a token is to reach, nil when it is not given.
func (o object) resources(name string, found problems) []oat.Resource {
	value, given := o[name]
	if !given {
		return nil
	}
	items, isList := asList(value)
	if !isList {
		found.add(name, "must be a list")
	}
	resources := make([]oat.Resource, len(items))
	for i, item := range items {
		resources[i] = readResource(item, fmt.Sprintf("%s[%d]", name, i), found)
	}
	return resources
}

func asList(value json.RawMessage) (items []json.RawMessage, isList bool) {
	if len(value) == 0 || value[0] != '[' || json.Unmarshal(value, &items) != nil {
		return nil, false
	}
	return items, true
}

func readResource(value json.RawMessage, name string, found problems) (r oat.Resource) {
	o := readObject(value, name+".", found, "type", "path", "scopes")
	if o == nil {
		found.add(name, "must be an object")
		return r
	}
	// What is missing stays empty, and the service says what it wants instead.
	for field, to := range map[string]*string{"type": &r.Type, "path": &r.Path} {
		if value, given := o[field]; given {
			text, isText := asText(value)
			if !isText {
				found.add(name+"."+field, "must be a string")
			}
			*to = text
		}
	}
	value, given := o["scopes"]
	if !given {
		return r
	}
	items, isList := asList(value)
	if !isList {
		found.add(name+".scopes", "must be a list")
	}
	for i, item := range items {
		scope, isText := asText(item)
		if !isText {
			found.add(fmt.Sprintf("%s.scopes[%d]", name, i), "must be a string")
		}
		r.Scopes = append(r.Scopes, scope)
	}
	return r
}
