package events

import (
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// string reads a string into a text of its own.
func (c *cursor) string(into *string) bool {
	var b []byte
	ok := c.bytes(&b)
	*into = text(b)
	return ok
}

// text is a copy of b, or a text that is there already: most of what tokens may do is said
// in a few words.
func text(b []byte) string {
	switch string(b) {
	case "TYPE_REPO":
		return "TYPE_REPO"
	case "scope-image-pull":
		return "scope-image-pull"
	case "scope-image-push":
		return "scope-image-push"
	}
	return string(b)
}

// escaped reads a string with escapes, those of UTF-16 surrogates left out.
func (c *cursor) escaped(into *[]byte) bool {
	if c.i >= len(c.data) || c.data[c.i] != '"' {
		return false
	}
	var said []byte
	for i := c.i + 1; ; {
		end := c.plain(i)
		for end < len(c.data) && c.data[end] >= utf8.RuneSelf {
			end = c.plain(end + 1)
		}
		said = append(said, c.data[i:end]...)
		if end >= len(c.data) || c.data[end] < ' ' {
			return false
		}
		if c.data[end] == '"' {
			c.i = end + 1
			*into = said
			return utf8.Valid(said)
		}
		r, length := unescape(c.data[end:])
		if length == 0 {
			return false
		}
		said = utf8.AppendRune(said, r)
		i = end + length
	}
}

// unescape is the character that an escape stands for, and the length of the escape; 0
// when it is not one of a whole character.
func unescape(b []byte) (r rune, length int) {
	if len(b) < 2 {
		return 0, 0
	}
	switch b[1] {
	case '"', '\\', '/':
		return rune(b[1]), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		var two [2]byte
		if len(b) < 6 {
			return 0, 0
		}
		if _, err := hex.Decode(two[:], b[2:6]); err != nil {
			return 0, 0
		}
		if r = rune(two[0])<<8 | rune(two[1]); utf16.IsSurrogate(r) {
			return 0, 0
		}
		return r, 6
	}
	return 0, 0
}

// bytes reads a string into a part of the data, or elsewhere if it has escapes. Its
// capacity ends with it, so that appending to it does not write into the record.
func (c *cursor) bytes(into *[]byte) bool {
	if start, end, ok := c.quoted(); ok {
		*into = c.data[start:end:end]
		return true
	}
	return c.escaped(into)
}

// quoted is where the string that comes next begins and ends, if it has no escapes and is
// UTF-8. What is not is left to encoding/json, which mends it.
func (c *cursor) quoted() (start, end int, ok bool) {
	if c.i >= len(c.data) || c.data[c.i] != '"' {
		return 0, 0, false
	}
	start = c.i + 1
	end = c.plain(start)
	if wide := end < len(c.data) && c.data[end] >= utf8.RuneSelf; wide {
		for end < len(c.data) && (c.data[end] >= utf8.RuneSelf || isPlain(c.data[end])) {
			end++
		}
		if !utf8.Valid(c.data[start:end]) {
			return 0, 0, false
		}
	}
	if end >= len(c.data) || c.data[end] != '"' {
		return 0, 0, false
	}
	c.i = end + 1
	return start, end, true
}

// plain is where the run of plain bytes that begins at i ends. Eight bytes are looked at in
// one step.
func (c *cursor) plain(i int) int {
	for ; i+8 <= len(c.data); i += 8 {
		if special := notPlain(binary.LittleEndian.Uint64(c.data[i:])); special != 0 {
			return i + bits.TrailingZeros64(special)/8
		}
	}
	for i < len(c.data) && isPlain(c.data[i]) {
		i++
	}
	return i
}

// isPlain tells bytes that stand for themselves in a JSON string, on their own.
func isPlain(b byte) bool { return b >= ' ' && b != '"' && b != '\\' && b < utf8.RuneSelf }

// notPlain has the top bit set of the first byte in eight that is not plain. What it
// says of later bytes is not to be trusted: a subtraction borrows from them.
func notPlain(eight uint64) uint64 {
	const each, top = 0x0101010101010101, 0x8080808080808080
	quote, backslash := eight^each*'"', eight^each*'\\'
	below := (eight - each*' ') | (quote - each) | (backslash - each) // borrows where a byte is too small, or zero
	return (below | eight) & top
}

func (c *cursor) optional(into **string, room *string) bool {
	*into = room
	return c.string(room)
}

// hash reads the 64 hexadecimal digits of a hash.
func (c *cursor) hash(into *Hash) bool {
	const digits = 2 * len(Hash{})
	if len(c.data)-c.i < digits+2 || c.data[c.i] != '"' || c.data[c.i+digits+1] != '"' {
		return false
	}
	_, err := hex.Decode(into[:], c.data[c.i+1:c.i+1+digits])
	c.i += digits + 2
	return err == nil
}

// instant reads a time in UTC, as Encode writes all of them: 2006-01-02T15:04:05Z,
// with up to nine digits of a fraction.
func (c *cursor) instant(into *time.Time) bool {
	const seconds = len(`"2006-01-02T15:04:05`)
	s := c.data[min(c.i, len(c.data)):]
	if len(s) < seconds+len(`Z"`) || s[0] != '"' || s[5] != '-' || s[8] != '-' || s[11] != 'T' || s[14] != ':' || s[17] != ':' {
		return false
	}
	century, year, month, day := pair(s[1:]), pair(s[3:]), pair(s[6:]), pair(s[9:])
	hour, minute, second := pair(s[12:]), pair(s[15:]), pair(s[18:])
	nanos, n := fraction(s[seconds:])
	if n < 0 || len(s) < seconds+n+len(`Z"`) || s[seconds+n] != 'Z' || s[seconds+n+1] != '"' ||
		century|year|month|day|hour|minute|second < 0 || hour > 23 || minute > 59 || second > 59 {
		return false
	}
	year += 100 * century
	if month < 1 || month > 12 || day < 1 || day > daysOf(year, month) {
		return false
	}
	c.i += seconds + n + len(`Z"`)
	*into = time.Unix(int64(((daysBefore(year, month)+day-1)*24+hour)*60+minute)*60+int64(second), int64(nanos)).UTC()
	return true
}

// pair is the number in the first two digits of s, negative if they are none.
func pair(s []byte) int {
	tens, ones := s[0]-'0', s[1]-'0'
	if tens > 9 || ones > 9 {
		return -1
	}
	return int(tens)*10 + int(ones)
}

// daysOf is how many days a month has.
func daysOf(year, month int) int {
	if month == 2 && (year%4 != 0 || year%100 == 0 && year%400 != 0) {
		return 28
	}
	return [...]int{31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}[month-1]
}

// daysBefore is how many days lie between the beginning of 1970 and that of a month from
// the year 0 on. time.Date knows too, and takes ten times as long because it puts up with
// any number for a month or a day; most of what a record of use holds is instants.
func daysBefore(year, month int) int {
	// A year that begins in March has its leap day at the end. Of its months the first
	// five have 153 days, and so have the second.
	march := (month + 9) % 12
	if month < 3 {
		year--
	}
	const before1970 = 719468 // from the first of March of the year 0
	return 365*year + floor(year, 4) - floor(year, 100) + floor(year, 400) + (153*march+2)/5 - before1970
}

func floor(a, b int) int {
	if a < 0 {
		return -((b - 1 - a) / b)
	}
	return a / b
}

// fraction is the nanoseconds that s begins with, a point and up to nine digits, and how
// long they are; negative when they are not that.
func fraction(s []byte) (nanos, length int) {
	if len(s) == 0 || s[0] != '.' {
		return 0, 0
	}
	length = 1
	for length < len(s) && s[length]-'0' <= 9 {
		if length++; length > len(".999999999") {
			return 0, -1
		}
		nanos = 10*nanos + int(s[length-1]-'0')
	}
	if length == 1 {
		return 0, -1
	}
	for range len(".999999999") - length {
		nanos *= 10
	}
	return nanos, length
}

// count reads a whole number of at most 18 digits without a sign.
func (c *cursor) count(into *int64) bool {
	start, n := c.i, int64(0)
	for ; c.i < len(c.data) && c.i < start+18 && c.data[c.i]-'0' <= 9; c.i++ {
		n = 10*n + int64(c.data[c.i]-'0')
	}
	*into = n
	return c.i > start && (c.data[start] != '0' || c.i == start+1)
}
