package sqlitelog

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/oatmill/oatmill/events"
)

// A list of places, which a stream's tail and each of its blocks is, says where consecutive
// records of the stream stand. It is a JSON array. A number above zero is a position, and
// -n is the position n after the one before it. All but the first are such distances, since
// they are shorter, and each commit writes the pages of all tails that it changes. Only in
// a file that began with layout 1 may other places be positions, too.

// noPlaces is the empty list.
const noPlaces = "[]"

// appendPlace adds a position to a list that ends with last, or is empty.
func appendPlace(list []byte, last, p events.Position) []byte {
	list = bytes.TrimSuffix(list, []byte("]"))
	if len(list) > 1 {
		list, p = append(list, ','), last-p
	}
	return append(strconv.AppendInt(list, int64(p), 10), ']')
}

// positions are what a list says, in order. It is no list if they do not increase.
func positions(list string) (all []events.Position, ok bool) {
	if err := json.Unmarshal([]byte(list), &all); err != nil {
		return nil, false
	}
	last := events.Position(0)
	for i, p := range all {
		if p < 0 && i > 0 {
			p = last - p
		}
		if p <= last {
			return nil, false
		}
		all[i], last = p, p
	}
	return all, true
}

// asJSON is the positions as json_each reads them.
func asJSON(positions []events.Position) text {
	list := []byte{'['}
	for i, p := range positions {
		if i > 0 {
			list = append(list, ',')
		}
		list = strconv.AppendInt(list, int64(p), 10)
	}
	return append(list, ']')
}
