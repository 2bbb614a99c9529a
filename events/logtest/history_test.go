package logtest

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// explain decides as a search through all orders does, for every small history.
//
// Leaving `|| !holes && o.from != end+1` out of explain makes this fail, and so do
// looking at o.call instead of latest.call, and sorting observations before the append
// they saw.
func TestExplainAgreesWithSearch(t *testing.T) {
	explained := 0
	rapid.Check(t, func(t *rapid.T) {
		holes := rapid.Bool().Draw(t, "holes")
		history := drawHistory(t)
		want := searchOrder(history, 0, holes)
		if got := explain(history, holes) == nil; got != want {
			t.Fatalf("explain says %v of %v, a search through all orders says %v", got, history, want)
		}
		if want {
			explained++
		}
	})
	if explained == 0 {
		t.Error("no history could be explained, which tests half of the question")
	}
}

// drawHistory is a history of up to six calls which began and ended at any times, with
// answers that are mostly, and not always, possible.
func drawHistory(t *rapid.T) (history []op) {
	n := rapid.IntRange(1, 6).Draw(t, "calls")
	times := rapid.Permutation(upTo(2*n)).Draw(t, "times")
	if rapid.Bool().Draw(t, "one after the other") {
		slices.Sort(times)
	}
	var end int64
	for i := range n {
		o := op{call: min(times[2*i], times[2*i+1]), ret: max(times[2*i], times[2*i+1]), to: end}
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0: // saw an end, of whatever time
			o.to = rapid.Int64Range(0, end+1).Draw(t, "end")
		case 1: // appended, with a gap or again
			o.from = end + rapid.Int64Range(0, 2).Draw(t, "from")
			o.from, o.to = max(1, o.from), max(1, o.from)+1
			end = max(end, o.to)
		case 2, 3: // appended behind what is there
			o.from, o.to = end+1, end+rapid.Int64Range(1, 2).Draw(t, "size")
			end = o.to
		}
		history = append(history, o)
	}
	return history
}

func upTo(n int) (numbers []int64) {
	for i := range n {
		numbers = append(numbers, int64(i+1))
	}
	return numbers
}

// searchOrder tries every call that could come next, as
// the sequence itself would carry it out.
func searchOrder(left []op, end int64, holes bool) bool {
	if len(left) == 0 {
		return true
	}
	for i, o := range left {
		possible := o.to == end
		if o.appended() {
			possible = o.from == end+1 || holes && o.from > end
		}
		for _, other := range left {
			possible = possible && other.ret >= o.call // it had not ended when this one began
		}
		rest := slices.Delete(slices.Clone(left), i, i+1)
		if possible && searchOrder(rest, o.to, holes) {
			return true
		}
	}
	return false
}

// What the checker says of histories that a reader can follow.
func TestExplain(t *testing.T) {
	for name, c := range map[string]struct {
		history  []op
		possible bool
	}{
		"nothing":                           {nil, true},
		"two appends in turn":               {[]op{{1, 2, 1, 1}, {3, 4, 2, 3}}, true},
		"two appends at once":               {[]op{{1, 4, 2, 2}, {2, 3, 1, 1}}, true},
		"the later append numbered first":   {[]op{{1, 2, 2, 2}, {3, 4, 1, 1}}, false},
		"a number given twice":              {[]op{{1, 4, 1, 1}, {2, 3, 1, 1}}, false},
		"a number left out":                 {[]op{{1, 2, 1, 1}, {3, 4, 3, 3}}, false},
		"a look before and one after":       {[]op{{1, 2, 0, 0}, {3, 4, 1, 1}, {5, 6, 0, 1}}, true},
		"a stale look":                      {[]op{{1, 2, 1, 1}, {3, 4, 0, 0}}, false},
		"a look during an append":           {[]op{{1, 4, 1, 1}, {2, 3, 0, 0}}, true},
		"a look into the middle of a batch": {[]op{{1, 2, 1, 2}, {3, 4, 0, 1}}, false},
		"seen, and then not seen":           {[]op{{1, 6, 1, 1}, {2, 3, 0, 1}, {4, 5, 0, 0}}, false},
		"seen before it was there":          {[]op{{1, 2, 0, 1}, {3, 4, 1, 1}}, false},
	} {
		if err := explain(c.history, false); (err == nil) != c.possible {
			t.Errorf("%s: explain says %v, want an order: %v", name, err, c.possible)
		}
	}
}
