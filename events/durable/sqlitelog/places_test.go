package sqlitelog

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/oatmill/oatmill/events"
)

// TestPlaces writes lists and reads them.
//
// What breaks it: distances that are written as positions are, or that count from the
// first position.
func TestPlaces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		steps := rapid.SliceOfN(rapid.Int64Range(1, 1<<40), 0, blockSize).Draw(t, "steps")
		list, last, want := []byte(noPlaces), events.Position(0), []events.Position(nil)
		for _, step := range steps {
			p := last + events.Position(step)
			list, last, want = appendPlace(list, last, p), p, append(want, p)
		}
		for name, list := range map[string]string{"places": string(list), "positions only": string(asJSON(want))} {
			if got, ok := positions(list); !ok || !slices.Equal(got, want) {
				t.Errorf("%s %s are %v, %v, want %v", name, list, got, ok, want)
			}
		}
	})
	// A program of layout 1 that has the file open adds positions.
	if got, ok := positions("[7,-1,20,-2]"); !ok || !slices.Equal(got, []events.Position{7, 8, 20, 22}) {
		t.Errorf("a mixed list is %v, %v", got, ok)
	}
	if list := appendPlace([]byte("[1000000]"), 1000000, 1000007); string(list) != "[1000000,-7]" {
		t.Errorf("a list is written as %s", list)
	}
}

// TestPlacesRefused reads what is no list of places.
//
// What breaks it: a positions that does not ask whether they increase.
func TestPlacesRefused(t *testing.T) {
	for _, list := range []string{
		"", "[", "7", "{}", "[1,]", `["1"]`, "[1.5]", "[1e3]", "[0]", "[-1]", "[1,0]", "[7,7]", "[7,6]", "[7,-1,8]",
		"[9223372036854775808]", "[9223372036854775807,-1]", "[1,-9223372036854775808]",
	} {
		if got, ok := positions(list); ok {
			t.Errorf("%q is %v", list, got)
		}
	}
}

// TestLayout1BeforeCreate has another process lay the file out in layout 1 after this one
// found it empty, and before it has the lock. The file must not stay one that programs of
// layout 1 open, because lists they cannot read come next.
//
// What breaks it: a layOut that is content with any layout that is there.
func TestLayout1BeforeCreate(t *testing.T) {
	b, err := os.ReadFile("testdata/layout1.db")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "events.db")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	c := dialFor(t, file, 0)
	for range 2 {
		if err := c.create(t.Context()); err != nil {
			t.Fatal(err)
		}
		if layout, err := c.identify(t.Context()); layout != schemaVersion || err != nil {
			t.Errorf("the layout is %d, %v", layout, err)
		}
	}
}
