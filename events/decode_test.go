package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// types are the names of all payloads, by way of the golden files.
func types(t testing.TB) (names []string) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".json"))
	}
	return names
}

// lines are the golden payloads of a type.
func lines(t testing.TB, eventType string) []string {
	content, err := os.ReadFile(filepath.Join("testdata", eventType+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.Collect(strings.Lines(string(content)))
}

// The quick path takes everything that Encode writes.
//
// Changing any field name in decode.go makes this fail, and so does leaving one of their
// escapes out of unescape; nothing but speed would be lost otherwise, since encoding/json stands
// behind it.
func TestQuickPathIsTaken(t *testing.T) {
	for _, eventType := range types(t) {
		for _, line := range lines(t, eventType) {
			line = strings.TrimSuffix(line, "\n")
			c := cursor{data: []byte(line)}
			if _, took := c.payload(eventType); !took {
				t.Errorf("%s: the quick path does not take %s", eventType, line)
			}
		}
	}
}

// Wherever in a string a byte stands that is not plain, the quick path stops there.
//
// Leaving any of the three subtractions out of notPlain makes this fail.
func TestPlainStopsAtEveryByte(t *testing.T) {
	for b := range 256 {
		for at := range 20 {
			data := []byte("abcdefghijklmnopqrst")
			data[at] = byte(b)
			want := at
			if b >= ' ' && b != '"' && b != '\\' && b < 0x80 {
				want = len(data)
			}
			for from := range at + 1 {
				c := cursor{data: data}
				if got := c.plain(from); got != want {
					t.Fatalf("the run of plain bytes in %q from %d ends at %d, want %d", data, from, got, want)
				}
			}
		}
	}
}

// manyResources have scopes that no two neighbours share, some of them too many for the room
// that most find enough.
const manyResources = `{"type":"a","path":"a","scopes":["scope-image-pull"]},{"type":"b","path":"b","scopes":["scope-image-push","c"]},` +
	`{"type":"c","path":"c","scopes":[]},{"type":"d","path":"d","scopes":["1","2","3","4","5","6","7"]},{"type":"e","path":"e","scopes":["8"]},` +
	`{"type":"f","path":"f","scopes":["9","10"]}`

// seeds are inputs at the borders of what the quick path takes.
func seeds() []string {
	const span = `{"uses":[{"token":"t","accepted":{"first":"2026-01-02T03:04:05.678901Z","last":"2026-01-02T03:04:05Z","count":12}}]}`
	var all []string
	for _, first := range []string{
		"2026-01-02T03:04:05Z", "2026-01-02T03:04:05.1Z", "2026-01-02T03:04:05.123456789Z", "2026-01-02T03:04:05.1234567891Z",
		"2026-01-02T03:04:05.Z", "2026-01-02T03:04:05,5Z", "2026-01-02T03:04:05+00:00", "2026-01-02T03:04:05z", "2026-01-02t03:04:05Z",
		"2026-02-29T00:00:00Z", "2024-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2000-02-29T00:00:00Z", "0000-01-01T00:00:00Z",
		"2026-00-01T00:00:00Z", "2026-13-01T00:00:00Z", "2026-04-31T00:00:00Z", "2026-01-00T00:00:00Z", "2026-01-01T24:00:00Z",
		"2026-01-01T00:60:00Z", "2026-01-01T00:00:60Z", "2026-01-01T3:04:05Z", "20260-1-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "",
	} {
		all = append(all, strings.Replace(span, "2026-01-02T03:04:05.678901Z", first, 1))
	}
	for _, count := range []string{"0", "-1", "01", "1.0", "1e3", "999999999999999999", "9223372036854775807", "9223372036854775808", `"1"`, "null", ""} {
		all = append(all, strings.Replace(span, ":12", ":"+count, 1))
	}
	return append(all, `{}`, `null`, `[]`, ``, `{"owner":"a","owner":"b"}`, `{"Owner":"a"}`, `{"owner":null}`, `{"owner":"a","extra":1}`,
		"{\"owner\":\"\xff\"}", "{\"owner\":\"\x7f\u2028é😀\"}", `{"owner":"\ud800"}`, `{"owner":"\ud83d\ude00"}`, `{"owner":"\u00E9\"\\\/\b\f\n\r\tx"}`, `{"owner":"\u00g0"}`, `{"owner":"\u00"}`,
		`{"owner":"\x"}`, `{"owner":"\`, `{"owner":"a\`, "{\"owner\":\"\\n\xff\"}", "{\"owner\":\"\\n\n\"}", "{\"owner\":\"\xc3\\u00a9\"}", `{"owner":"a"} `, `{"owner":"a"}}`, "{\"owner\":\"a\nb\"}",
		`{"plan":"team","owners":null}`, `{"plan":"team","owners":[]}`, `{"plan":"team","owners":["a",]}`, `{"plan":"team","owners":[null]}`,
		`{"plan":"team","owners":["a","b","c","d","e"]}`, `{"token":"t","label":"l","digest":"`+strings.Repeat("aF", 32)+`","resources":[]}`,
		`{"token":"t","label":"l","digest":"","resources":[]}`, `{"token":"t","label":"l","digest":"`+strings.Repeat("é", 32)+`","resources":[]}`,
		`{"token":"t","resources":[{"type":"TYPE_REPO","path":"a/b","scopes":["scope-image-pull","scope-image-push","scope-image-pulls"]}]}`,
		`{"token":"t","resources":[`+manyResources+`]}`, `{"token":"t","label":"l","digest":"`+strings.Repeat("aF", 32)+`","resources":[`+manyResources+`]}`,
		`{"token":"t","describtion":"x"}`, `{"token":"t","label":"l","descriptios":"x","resources":[]}`,
		`{"token":"t","resources":[{"type":"TYPE_REPOS","path":"a/b","scopes":null}]}`, `{"token":"t","label":null}`, `{"uses":[{"token":"t","refused":null}]}`)
}

// Decode reads every input as encoding/json does, for every type of payload: the same
// value, or an error where there is one.
//
// Leaving out a check for valid UTF-8 makes this fail, and so does taking a count that begins
// with 0, comparing but the beginning of a field's name, or giving two resources the same
// room for their scopes.
func FuzzDecode(f *testing.F) {
	names := types(f)
	for i, name := range names {
		for _, line := range lines(f, name) {
			f.Add(uint8(i), []byte(line))
			f.Add(uint8(i), []byte(strings.TrimSuffix(line, "\n")))
		}
		for _, seed := range seeds() {
			f.Add(uint8(i), []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, index uint8, data []byte) {
		name := names[int(index)%len(names)]
		want := newPayload(name)
		wantErr := json.Unmarshal(data, want)
		if name == TypeUsageRecorded {
			sameUses(t, data)
		}
		original := bytes.Clone(data)
		got, err := Decode(name, data)
		if !bytes.Equal(data, original) {
			t.Fatalf("Decode(%s, %q) changed its input", name, original)
		}
		if wantErr != nil {
			if !errors.Is(err, ErrDamaged) || got != nil {
				t.Fatalf("Decode(%s, %q) is %+v, %v, encoding/json says %v", name, data, got, err, wantErr)
			}
			return
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("Decode(%s, %q) is\n%+v, %v, encoding/json says\n%+v", name, data, got, err, want)
		}
		clear(data) // the payload has its own
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("the payload of %q changed with its input", original)
		}
		checkFixedPoint(t, got)
	})
}

// checkFixedPoint demands that what Encode writes is read and written the same.
func checkFixedPoint(t *testing.T, p Payload) {
	name, first, err := Encode(p)
	if err != nil {
		t.Skip("a time or number that JSON cannot say")
	}
	back, err := Decode(name, first)
	if err != nil {
		t.Fatalf("Decode of what Encode wrote, %s: %v", first, err)
	}
	if _, second, err := Encode(back); err != nil || !bytes.Equal(first, second) {
		t.Fatalf("Encode writes %s, and once read %s, %v", first, second, err)
	}
}
