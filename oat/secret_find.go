package oat

import (
	"encoding/base64"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ContainsSecret reports whether anything in s has the form of a token's secret, with any
// prefix: 26 characters of base 62 and their checksum. White space and invisible characters
// between them do not count, and base64, in which HTTP and Docker's configuration write
// passwords, is looked into.
//
// Text that fits by chance is one in 2^32.
func ContainsSecret(s string) bool {
	for range secretsIn(s) {
		return true
	}
	return false
}

// MaskSecrets returns s with everything in it that [ContainsSecret] finds replaced by
// "[redacted]". The prefix of a secret stays.
func MaskSecrets(s string) string {
	var masked strings.Builder
	end := 0
	for from, to := range secretsIn(s) {
		masked.WriteString(s[end:from])
		masked.WriteString(redacted)
		end = to
	}
	if end == 0 {
		return s
	}
	masked.WriteString(s[end:])
	return masked.String()
}

// maxMasked is how many bytes of a text are looked at where a part of it is shown.
const maxMasked = 1 << 10

// maskBeginning is MaskSecrets for the beginning of a text. If the rest was cut off, the
// beginning may end within a secret, and as much as could belong to one is left out.
func maskBeginning(s string, cut bool) string {
	s = MaskSecrets(s)
	if !cut {
		return s
	}
	left := 0
	return strings.TrimRightFunc(s, func(r rune) bool {
		if isSkipped(r) {
			return true
		}
		left++
		return left < encodedLength+4 && r < utf8.RuneSelf && isBase64(byte(r))
	})
}

const (
	secretLength  = randomLength + checksumLength
	encodedLength = (secretLength*8 + 5) / 6 // of a secret in base64, without padding
)

// secretsIn yields where in s something has the form of a secret, from and to in bytes, in
// order and without overlaps.
func secretsIn(s string) func(yield func(from, to int) bool) {
	return func(yield func(int, int) bool) {
		if len(s) < secretLength {
			return
		}
		var found [][2]int
		for r := range runs(s, func(c byte) bool { return base62Values[c] >= 0 }) {
			found = append(found, r.secrets()...)
		}
		for r := range runs(s, isBase64) {
			if r.encodesSecret() {
				found = append(found, [2]int{r.at[0], r.at[len(r.at)-1] + 1})
			}
		}
		slices.SortFunc(found, func(a, b [2]int) int { return a[0] - b[0] })
		end := 0
		for _, f := range found {
			from := max(f[0], end)
			if end = max(end, f[1]); from < end && !yield(from, end) {
				return
			}
		}
	}
}

// run is characters of an alphabet that follow each other in a text, and where in the text
// each of them is.
type run struct {
	characters []byte
	at         []int
}

// runs yields the runs of s. White space and invisible characters do not end one.
func runs(s string, in func(byte) bool) func(yield func(run) bool) {
	return func(yield func(run) bool) {
		var r run
		for i, c := range s {
			switch {
			case c < utf8.RuneSelf && in(byte(c)):
				r.characters, r.at = append(r.characters, byte(c)), append(r.at, i)
			case isSkipped(c):
			default:
				if len(r.at) >= secretLength && !yield(r) {
					return
				}
				r = run{r.characters[:0], r.at[:0]}
			}
		}
		if len(r.at) >= secretLength {
			yield(r)
		}
	}
}

// secrets returns where the run's secrets are in the text.
func (r run) secrets() (found [][2]int) {
	for i := 0; i+secretLength <= len(r.at); i++ {
		if checksumFits(r.characters[i : i+secretLength]) {
			found = append(found, [2]int{r.at[i], r.at[i+secretLength-1] + 1})
			i += secretLength - 1
		}
	}
	return found
}

// encodesSecret reports whether a secret is in what the run is the base64 of, from any of
// its first characters on.
func (r run) encodesSecret() bool {
	text := make([]byte, base64.RawStdEncoding.DecodedLen(len(r.characters)))
	for from := 0; from < 4 && len(r.characters)-from >= encodedLength; from++ {
		encoded := slices.Clone(r.characters[from:])
		for i, c := range encoded {
			switch c {
			case '-':
				encoded[i] = '+'
			case '_':
				encoded[i] = '/'
			}
		}
		if len(encoded)%4 == 1 {
			encoded = encoded[:len(encoded)-1]
		}
		n, err := base64.RawStdEncoding.Decode(text, encoded)
		if err != nil {
			continue
		}
		for decoded := range runs(string(text[:n]), func(c byte) bool { return base62Values[c] >= 0 }) {
			if len(decoded.secrets()) > 0 {
				return true
			}
		}
	}
	return false
}

// isSkipped reports whether a character within a secret does not make it another text.
func isSkipped(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || isInvisible(r) }

func isBase64(c byte) bool {
	return base62Values[c] >= 0 || strings.IndexByte("+/-_", c) >= 0
}
