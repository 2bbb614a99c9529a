package oat_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/oat"
)

func TestExpiry(t *testing.T) {
	for name, test := range map[string]struct {
		expiry oat.Expiry
		text   string
		at     time.Time
	}{
		"never":              {oat.Never(), "", time.Time{}},
		"the zero value":     {oat.Expiry{}, "", time.Time{}},
		"a parsed instant":   {parsed(t, "2027-01-31T00:00:00Z"), "2027-01-31T00:00:00Z", time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)},
		"an offset is kept":  {parsed(t, "2027-01-31T01:00:00.10+01:00"), "2027-01-31T01:00:00.10+01:00", time.Date(2027, 1, 31, 0, 0, 0, 100_000_000, time.UTC)},
		"nanoseconds too":    {parsed(t, "2027-01-31T00:00:00.123456789Z"), "2027-01-31T00:00:00.123456789Z", time.Date(2027, 1, 31, 0, 0, 0, 123456789, time.UTC)},
		"a time, cut short":  {oat.ExpiresAt(time.Date(2027, 1, 31, 0, 0, 0, 123456789, time.UTC)), "2027-01-31T00:00:00.123456Z", time.Date(2027, 1, 31, 0, 0, 0, 123456000, time.UTC)},
		"a time, made UTC":   {oat.ExpiresAt(time.Date(2027, 1, 31, 1, 0, 0, 0, time.FixedZone("", 3600))), "2027-01-31T00:00:00Z", time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)},
		"the end of the era": {parsed(t, "9999-12-31T23:59:59Z"), "9999-12-31T23:59:59Z", time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)},
	} {
		at, ok := test.expiry.Time()
		if test.expiry.String() != test.text || !at.Equal(test.at) || ok != (test.text != "") {
			t.Errorf("%s: %q, %s, %t; want %q, %s", name, test.expiry, at, ok, test.text, test.at)
		}
		for after, reached := range map[time.Duration]bool{-1: false, 0: ok, 1: ok, time.Hour: ok} {
			if got := test.expiry.Reached(test.at.Add(after)); got != reached {
				t.Errorf("%s: reached %s later: %t, want %t", name, after, got, reached)
			}
		}
	}
}

func TestParseExpiryRefuses(t *testing.T) {
	for _, text := range []string{
		"", "never", "0", "1767225600", "2027-01-31", "2027-01-31 00:00:00Z", "2027-01-31T00:00:00", "2027-02-30T00:00:00Z", "2027-01-31T24:00:00Z",
		"2027-01-31T00:00:00z ", " 2027-01-31T00:00:00Z", "0000-12-31T00:00:00Z", "10000-01-01T00:00:00Z", "-2027-01-31T00:00:00Z",
		"2027-01-31T00:00:00.1234567890123456Z", "2027-01-31T00:00:00Z" + strings.Repeat("0", 1000),
	} {
		if e, err := oat.ParseExpiry(text); err == nil || e != (oat.Expiry{}) || len(err.Error()) > 200 {
			t.Errorf("%q: %v, %v, want it refused in few words", text, e, err)
		}
	}
}

// What is parsed is given back to the letter, means the same instant again, and fits
// what the log takes.
func FuzzExpiry(f *testing.F) {
	for _, seed := range []string{"2027-01-31T00:00:00Z", "2027-01-31T01:02:03.456789012+14:00", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00Z", "", "x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := oat.ParseExpiry(text)
		if err != nil {
			if e != (oat.Expiry{}) {
				t.Fatalf("%q: refused with %v, and yet %v", text, err, e)
			}
			return
		}
		at, ok := e.Time()
		want, err := time.Parse(time.RFC3339Nano, text)
		if err != nil || !ok || !at.Equal(want) || e.String() != text {
			t.Fatalf("%q became %q at %s, %t", text, e, at, ok)
		}
		if e.Reached(at.Add(-1)) || !e.Reached(at) {
			t.Fatalf("%q is not reached at its instant", text)
		}
		again, err := oat.ParseExpiry(oat.ExpiresAt(at).String())
		if cut, _ := again.Time(); err == nil && !cut.Equal(at.Truncate(time.Microsecond)) {
			t.Fatalf("%q written anew is %s", text, cut)
		}
	})
}

func TestParseTokenID(t *testing.T) {
	const good = "0f8fad5b-d9cb-469f-a165-70867728950e"
	if id, err := oat.ParseTokenID(good); err != nil || id.String() != good {
		t.Errorf("%s, %v", id, err)
	}
	for _, text := range []string{
		"", "x", strings.ToUpper(good), "{" + good + "}", "urn:uuid:" + good, strings.ReplaceAll(good, "-", ""), good + " ", " " + good,
		good[:35], good + "0", good[:35] + "g", strings.Repeat(good, 1000),
	} {
		if id, err := oat.ParseTokenID(text); !errors.Is(err, oat.ErrInvalid) || id != uuid.Nil || len(err.Error()) > 300 {
			t.Errorf("%q: %s, %v, want it refused", text, id, err)
		}
	}
}

func FuzzParseTokenID(f *testing.F) {
	for _, seed := range []string{"0f8fad5b-d9cb-469f-a165-70867728950e", "00000000-0000-0000-0000-000000000000", "{0f8fad5b-d9cb-469f-a165-70867728950e}", "", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, err := oat.ParseTokenID(text)
		if err == nil && id.String() != text || err != nil && (id != uuid.Nil || !errors.Is(err, oat.ErrInvalid)) {
			t.Fatalf("%q: %s, %v", text, id, err)
		}
	})
}
