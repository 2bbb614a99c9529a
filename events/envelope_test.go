package events_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
)

func TestParseStreamID(t *testing.T) {
	for _, s := range []string{
		"organization/acme", "usage/acme", "a/b", "0/0", "k1/N", "organization/A.b_c-D", "organization/_", "organization/-", "organization/a.",
		"organization/" + strings.Repeat("n", events.MaxStreamID-len("organization/")),
	} {
		id, err := events.ParseStreamID(s)
		if err != nil || string(id) != s {
			t.Errorf("ParseStreamID(%q) is %q, %v", s, id, err)
		}
		if got := id.Kind() + "/" + id.Name(); got != s {
			t.Errorf("kind and name of %q are %q", s, got)
		}
	}
	for _, s := range []string{
		"", "/", "acme", "organization/", "/acme", "organization//acme", "organization/acme/", "organization/a/b", "Organization/acme",
		"organi_zation/acme", "organization.x/acme", "organization/.acme", "organization/..", "organization/a b", " organization/acme",
		"organization/acme\n", "organization/a\x00", "organization/é", "organization/*", "organization/>", "organization/%", "organization/a:b",
		"organization/" + strings.Repeat("n", events.MaxStreamID-len("organization/")+1), strings.Repeat("/", 1000),
	} {
		id, err := events.ParseStreamID(s)
		if !errors.Is(err, events.ErrInvalid) || id != "" {
			t.Errorf("ParseStreamID(%q) is %q, %v, want %q", s, id, err, events.ErrInvalid)
		}
		if err != nil && len(err.Error()) > 300 {
			t.Errorf("ParseStreamID of %d bytes: a message of %d bytes", len(s), len(err.Error()))
		}
	}
	if got := events.OrganizationStream("acme"); got != "organization/acme" {
		t.Errorf("OrganizationStream is %q", got)
	}
	if got := events.UsageStream("acme"); got != "usage/acme" {
		t.Errorf("UsageStream is %q", got)
	}
}

// What ParseStreamID takes is what the expression in its documentation's words takes.
func FuzzParseStreamID(f *testing.F) {
	for _, s := range []string{"organization/acme", "a/.", "a/b/c", "A/b", "a/b\xff", "/", ""} {
		f.Add(s)
	}
	form := regexp.MustCompile(`\A[a-z0-9]+/[A-Za-z0-9_-][A-Za-z0-9._-]*\z`)
	f.Fuzz(func(t *testing.T, s string) {
		id, err := events.ParseStreamID(s)
		if want := form.MatchString(s) && len(s) <= events.MaxStreamID; (err == nil) != want {
			t.Fatalf("ParseStreamID(%q) is %q, %v; it has the form: %v", s, id, err, want)
		}
		if err != nil {
			if id != "" || !errors.Is(err, events.ErrInvalid) {
				t.Fatalf("ParseStreamID(%q) is %q, %v", s, id, err)
			}
			return
		}
		if string(id) != s || id.Kind()+"/"+id.Name() != s {
			t.Fatalf("ParseStreamID(%q) is %q of kind %q, named %q", s, id, id.Kind(), id.Name())
		}
	})
}

func TestParseHash(t *testing.T) {
	digits := strings.Repeat("0123456789abcdef", 4)
	want, _ := hex.DecodeString(digits)
	for _, s := range []string{digits, strings.ToUpper(digits)} {
		h, err := events.ParseHash(s)
		if err != nil || h != events.Hash(want) || h.String() != digits {
			t.Errorf("ParseHash(%q) is %v, %v", s, h, err)
		}
	}
	for _, s := range []string{"", "00", digits[1:], digits + "0", digits + "00", digits[:63] + "g", " " + digits[1:], digits[:62] + "é", "0x" + digits[2:], strings.Repeat("z", 5000)} {
		h, err := events.ParseHash(s)
		if !errors.Is(err, events.ErrInvalid) || h != (events.Hash{}) {
			t.Errorf("ParseHash(%q) is %v, %v, want %q", s, h, err, events.ErrInvalid)
		}
		if err != nil && len(err.Error()) > 300 {
			t.Errorf("ParseHash of %d bytes: a message of %d bytes", len(s), len(err.Error()))
		}
	}
}

func TestHashInJSON(t *testing.T) {
	head := events.Head{Version: 3, Hash: events.Hash{0: 0xab, 31: 1}}
	data, err := json.Marshal(head)
	want := `{"version":3,"hash":"ab` + strings.Repeat("0", 60) + `01"}`
	if err != nil || string(data) != want {
		t.Errorf("a head in JSON is %s, %v, want %s", data, err, want)
	}
	var back events.Head
	if err := json.Unmarshal(data, &back); err != nil || back != head {
		t.Errorf("read back it is %+v, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`{"hash":"ab"}`), &back); err == nil {
		t.Error("a short hash in JSON was taken")
	}
}

// ParseHash and String undo each other, whatever the case of the digits.
func FuzzParseHash(f *testing.F) {
	for _, s := range []string{strings.Repeat("0", 64), strings.Repeat("aF", 32), strings.Repeat("g", 64), "", "00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, hexErr := hex.DecodeString(s)
		h, err := events.ParseHash(s)
		if ok := hexErr == nil && len(want) == len(h); (err == nil) != ok {
			t.Fatalf("ParseHash(%q): %v, hexadecimal digits of the right number: %v", s, err, ok)
		}
		if err != nil {
			if h != (events.Hash{}) || !errors.Is(err, events.ErrInvalid) {
				t.Fatalf("ParseHash(%q) is %v, %v", s, h, err)
			}
			return
		}
		if h != events.Hash(want) || h.String() != strings.ToLower(s) {
			t.Fatalf("ParseHash(%q) is %v", s, h)
		}
	})
}

func TestInstant(t *testing.T) {
	zone := time.FixedZone("", 2*3600)
	got := events.Instant(time.Date(2026, 1, 2, 3, 4, 5, 678901999, zone))
	if want := time.Date(2026, 1, 2, 1, 4, 5, 678901000, time.UTC); got != want {
		t.Errorf("Instant is %v, want %v", got, want)
	}
	if got := events.Instant(time.Now()); got != got.Round(0) {
		t.Error("Instant keeps the monotonic reading")
	}
	if before, want := events.Instant(time.Unix(0, -1)), time.Unix(0, -1000).UTC(); before != want {
		t.Errorf("Instant before 1970 is %v, want %v", before, want)
	}
}
