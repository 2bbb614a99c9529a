package linear

import (
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"

	"github.com/oatmill/oatmill/events"
)

var (
	first  = strings.Repeat("1", 26)
	second = strings.Repeat("2", 26)
)

// entry is a call on one stream between two moments.
type entry struct {
	from, to int64
	call
	answer
}

func write(from, to int64, id string, expected, got events.Version) entry {
	return entry{from, to, call{id: id, expected: expected}, answer{version: got}}
}

func refused(from, to int64, id string, expected, actual events.Version) entry {
	return entry{from, to, call{id: id, expected: expected}, answer{version: actual, conflict: true}}
}

func read(from, to int64, ids string) entry { return entry{from, to, call{}, answer{ids: ids}} }

// TestModel holds short histories against the model, right ones and one for every
// way in which a log can be wrong.
func TestModel(t *testing.T) {
	for _, c := range []struct {
		name    string
		want    porcupine.CheckResult
		history []entry
	}{
		{"one after the other", porcupine.Ok, []entry{write(1, 2, first, 0, 1), write(3, 4, second, 1, 2), read(5, 6, first+second)}},
		{"overlapping calls in the other order", porcupine.Ok, []entry{write(1, 9, first, events.Any, 2), write(2, 8, second, 0, 1)}},
		{"a repetition", porcupine.Ok, []entry{write(1, 2, first, 0, 1), write(3, 4, second, 1, 2), write(5, 6, first, 0, 1)}},
		{"a conflict", porcupine.Ok, []entry{write(1, 2, first, 0, 1), refused(3, 4, second, 0, 1)}},
		{"two win one version", porcupine.Illegal, []entry{write(1, 9, first, 0, 1), write(1, 9, second, 0, 1)}},
		{"a lost append", porcupine.Illegal, []entry{write(1, 2, first, 0, 1), read(3, 4, "")}},
		{"a stale read", porcupine.Illegal, []entry{write(1, 2, first, 0, 1), write(3, 4, second, 1, 2), read(5, 6, first)}},
		{"a refused append is there", porcupine.Illegal, []entry{write(1, 2, first, 0, 1), refused(3, 4, second, 0, 1), read(5, 6, first+second)}},
		{"a conflict with a wrong version", porcupine.Illegal, []entry{write(1, 2, first, 0, 1), refused(3, 4, second, 0, 7)}},
		{"a conflict without a cause", porcupine.Illegal, []entry{write(1, 2, first, 0, 1), refused(3, 4, second, 1, 1)}},
		{"a repetition appends again", porcupine.Illegal, []entry{write(1, 2, first, 0, 1), write(3, 4, first, events.Any, 2)}},
		{"a read sees what is not there yet", porcupine.Illegal, []entry{read(1, 2, first), write(3, 4, first, 0, 1)}},
	} {
		var operations []porcupine.Operation
		for i, e := range c.history {
			e.stream = "organization/linear0"
			operations = append(operations, porcupine.Operation{ClientId: i, Input: e.call, Output: e.answer, Call: e.from, Return: e.to})
		}
		if got := porcupine.CheckOperationsTimeout(model(), operations, patience); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
