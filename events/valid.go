package events

import (
	"encoding/json"
	"unicode/utf8"
)

// maxDepth is how deep data may be nested to be checked without encoding/json.
const maxDepth = 16

// isObject tells whether data is one JSON object in valid UTF-8. The layout that Encode
// writes, and whatever else has neither white space nor escapes, is recognized at a glance;
// everything else is left to encoding/json.
func isObject(data []byte) bool {
	c := cursor{data: data}
	if len(data) == 0 || data[0] != '{' {
		return false
	}
	return c.value(maxDepth) && c.i == len(data) || json.Valid(data) && utf8.Valid(data)
}

// value moves past a value in such a layout.
func (c *cursor) value(depth int) bool {
	if depth == 0 || c.i >= len(c.data) {
		return false
	}
	switch c.data[c.i] {
	case '{':
		return c.elements('}', func() bool {
			_, _, ok := c.quoted()
			return ok && c.next(':') && c.value(depth-1)
		})
	case '[':
		return c.elements(']', func() bool { return c.value(depth - 1) })
	case '"':
		_, _, ok := c.quoted()
		return ok
	case 't':
		return c.skip("true")
	case 'f':
		return c.skip("false")
	case 'n':
		return c.skip("null")
	case '0':
		return c.next('0')
	}
	return c.digits()
}

// elements moves past an object or an array: the byte it begins with, elements with commas
// between them, and the byte it ends with.
func (c *cursor) elements(end byte, element func() bool) bool {
	c.i++
	for n := 0; c.i < len(c.data) && c.data[c.i] != end; n++ {
		if n > 0 && !c.next(',') || !element() {
			return false
		}
	}
	return c.next(end)
}

// digits moves past some digits.
func (c *cursor) digits() bool {
	begin := c.i
	for c.i < len(c.data) && '0' <= c.data[c.i] && c.data[c.i] <= '9' {
		c.i++
	}
	return c.i > begin
}
