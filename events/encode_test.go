package events

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"
)

// asJSON is p as encoding/json writes it, HTML left as it is.
func asJSON(t testing.TB, p Payload) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(p); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// drawn are payloads of every type made of the same few values, with lists that are nil,
// empty and long.
func drawn(a, b string, digest []byte, shape uint8) []Payload {
	var hash Hash
	copy(hash[:], digest)
	lists := [][]string{nil, {}, {a}, {a, b, ""}}
	list := lists[shape%4]
	resources := [][]Resource{nil, {}, {{Type: a, Path: b, Scopes: list}}, {{Path: a, Scopes: list}, {Type: b}}}[shape/4%4]
	var label, description *string
	if shape&16 != 0 {
		label = &a
	}
	if shape&32 != 0 {
		description = &b
	}
	return []Payload{
		&OrganizationRegistered{Plan: a, Owners: list},
		&OrganizationPlanChanged{Plan: a},
		&OrganizationOwnerAdded{Owner: a},
		&OrganizationOwnerRemoved{Owner: b},
		&TokenGenerated{Token: a, Label: b, Description: a, Digest: hash, ExpiresAt: b, Resources: resources},
		&TokenEdited{Token: a, Label: label, Description: description, Resources: resources},
		&TokenDeactivated{Token: a},
		&TokenDeleted{Token: b},
		&UsageRecorded{Uses: []Use{{Token: a, Refused: &UseSpan{First: time.Unix(int64(shape), 0).UTC(), Cause: b}}}},
	}
}

// Encode writes every payload byte for byte as encoding/json does.
//
// Changing the name or the order of any field in encode.go makes this fail, and so does
// taking a quote, a control character or a byte above ASCII for a plain one, or writing an
// empty list where there is none.
func FuzzEncode(f *testing.F) {
	for shape := range uint8(64) {
		f.Add("alice", `<a href="x">&\`, []byte("digest"), shape)
	}
	for _, s := range []string{"", "\x00", "\x1f \x7f", "\b\f\n\r\t", "é😀", "\u2028\u2029", "\xff", "a\xc3", "\xed\xa0\x80", `"`, `\`} {
		f.Add(s, "x"+s+"y", []byte{0, 255}, uint8(63))
	}
	f.Fuzz(func(t *testing.T, a, b string, digest []byte, shape uint8) {
		for _, p := range drawn(a, b, digest, shape) {
			name, got, err := Encode(p)
			if want := asJSON(t, p); err != nil || name != p.EventType() || !bytes.Equal(got, want) {
				t.Errorf("Encode(%+v) is %s, %s, %v, encoding/json says %s", p, name, got, err, want)
			}
		}
	})
}

// Every type but the one of uses has a quick path, and none of its payloads with plain
// text allocates anything but what it returns.
func TestEncodeAllocates(t *testing.T) {
	for _, p := range drawn("alice", "acme/api", nil, 63) {
		if p.EventType() == TypeUsageRecorded {
			continue
		}
		if n := testing.AllocsPerRun(100, func() { _, _, _ = Encode(p) }); n > 1 {
			t.Errorf("Encode of %s allocates %v times", p.EventType(), n)
		}
	}
}
