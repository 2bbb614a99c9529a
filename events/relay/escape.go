package relay

import (
	"errors"
	"strings"
)

// escape writes s so that it survives as the value of a header line: control
// characters, the percent sign, and blanks at either end become "%" and two
// hexadecimal digits.
func escape(s string) string {
	if !fragile(s) {
		return s
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if !fragileAt(s, i) {
			b.WriteByte(s[i])
			continue
		}
		b.WriteByte('%')
		b.WriteByte(digits[s[i]>>4])
		b.WriteByte(digits[s[i]&15])
	}
	return b.String()
}

func fragile(s string) bool {
	for i := range len(s) {
		if fragileAt(s, i) {
			return true
		}
	}
	return false
}

func fragileAt(s string, i int) bool {
	c := s[i]
	return c < ' ' || c == 0x7f || c == '%' || c == ' ' && (i == 0 || i == len(s)-1)
}

// unescape undoes escape. It is lenient about what was escaped; its caller compares.
func unescape(s string) (string, error) {
	if strings.IndexByte(s, '%') < 0 {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) || nibble(s[i+1]) < 0 || nibble(s[i+2]) < 0 {
			return "", errors.New(`want "%" and two upper-case hexadecimal digits`)
		}
		b.WriteByte(byte(nibble(s[i+1])<<4 | nibble(s[i+2])))
		i += 2
	}
	return b.String(), nil
}

func nibble(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
