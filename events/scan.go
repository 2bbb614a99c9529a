package events

import (
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"time"
	"unicode/utf8"
)

// string reads a string into a part of the cursor's text.
func (c *cursor) string(into *string) bool {
	start, end, ok := c.quoted()
	*into = c.text[start:end]
	return ok
}

// bytes reads a string into a part of the data.
func (c *cursor) bytes(into *[]byte) bool {
	start, end, ok := c.quoted()
	*into = c.data[start:end]
	return ok
}

// quoted is where the string that comes next begins and ends, if it has no escapes. One
// with escapes is none for the cursor, and neither is one that is not UTF-8, which
// encoding/json would mend.
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

func (c *cursor) optional(into **string) bool {
	*into = new(string)
	return c.string(*into)
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
	var s []byte
	if !c.bytes(&s) || len(s) < len("2006-01-02T15:04:05Z") || len(s) > len("2006-01-02T15:04:05.999999999Z") ||
		s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' || s[len(s)-1] != 'Z' {
		return false
	}
	nanos, ok := fraction(s[19 : len(s)-1])
	year, month, day := 100*pair(s[0:])+pair(s[2:]), pair(s[5:]), pair(s[8:])
	hour, minute, second := pair(s[11:]), pair(s[14:]), pair(s[17:])
	if !ok || pair(s[0:])|pair(s[2:])|month|day|hour|minute|second < 0 || month < 1 || month > 12 || day < 1 || day > daysOf(year, month) ||
		hour > 23 || minute > 59 || second > 59 {
		return false
	}
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

// fraction is the nanoseconds in a point and up to nine digits, or in nothing.
func fraction(s []byte) (nanos int, ok bool) {
	if len(s) == 0 {
		return 0, true
	}
	if s[0] != '.' || len(s) < 2 {
		return 0, false
	}
	for i := 1; i < len(s); i++ {
		digit := s[i] - '0'
		if digit > 9 {
			return 0, false
		}
		nanos = 10*nanos + int(digit)
	}
	for i := len(s); i < len(".999999999"); i++ {
		nanos *= 10
	}
	return nanos, true
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
