package linear

import (
	"fmt"
	"strings"

	"github.com/anishathalye/porcupine"
	"github.com/oklog/ulid/v2"

	"github.com/oatmill/oatmill/events"
)

// call is one operation on one stream: an append, or a read when id is empty.
type call struct {
	stream   events.StreamID
	id       string
	expected events.Version
}

// answer is what came of it. An append has a version, of the record or, in a conflict,
// of the stream; a read has the IDs in order, one behind the other.
type answer struct {
	version  events.Version
	conflict bool
	ids      string
}

// model is a stream as it would be if everything happened one after the other. Its
// state are the IDs in order, one behind the other.
func model() porcupine.Model {
	return porcupine.Model{
		Partition: byStream,
		Init:      func() any { return "" },
		Step: func(state, input, output any) (bool, any) {
			return step(state.(string), input.(call), output.(answer))
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) },
	}
}

func step(ids string, c call, a answer) (bool, string) {
	version := events.Version(len(ids) / ulid.EncodedSize)
	if c.id == "" {
		return a.ids == ids, ids
	}
	if at := strings.Index(ids, c.id); at >= 0 { // appended before
		return !a.conflict && a.version == events.Version(at/ulid.EncodedSize+1), ids
	}
	if c.expected != events.Any && c.expected != version {
		return a.conflict && a.version == version, ids
	}
	return !a.conflict && a.version == version+1, ids + c.id
}

func byStream(history []porcupine.Operation) (parts [][]porcupine.Operation) {
	index := make(map[events.StreamID]int)
	for _, o := range history {
		stream := o.Input.(call).stream
		i, ok := index[stream]
		if !ok {
			i = len(parts)
			index[stream] = i
			parts = append(parts, nil)
		}
		parts[i] = append(parts[i], o)
	}
	return parts
}
