package sqlitelog

import (
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
