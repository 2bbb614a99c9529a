package main

import (
	"fmt"
	"strings"
	"testing"
)

// The tour checks itself; here it is held to going all the way.
func TestTheTourGoesAllTheWay(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out); err != nil {
		t.Fatalf("%v, after:\n%s", err, &out)
	}
	for step := 1; step <= 12; step++ {
		if !strings.Contains("\n"+out.String(), fmt.Sprintf("\n%2d. ", step)) {
			t.Errorf("step %d is missing:\n%s", step, &out)
		}
	}
}
