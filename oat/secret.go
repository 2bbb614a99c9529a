package oat

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"

	"github.com/oatmill/oatmill/events"
)

// DefaultPrefix begins a secret unless the host chose another prefix. A prefix
// lets scanners for leaked credentials recognize a token.
const DefaultPrefix = "oat_"

const (
	randomLength   = 26 // 62^26 is a little more than 2^154
	checksumLength = 6  // 62^6 is more than 2^32
	maxPrefix      = 20
	base62         = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	redacted       = "[redacted]"
)

// Secret is what opens: a token's secret, or whatever somebody presented as one.
// It cannot be printed by accident. Every verb of fmt, log/slog and every encoder
// yields "[redacted]"; only [Secret.Reveal] gives the text.
//
// A token's secret is a prefix, 26 random characters of base 62, and 6 characters
// that are the CRC-32 (IEEE) of all before them in base 62, most significant first.
// The checksum keeps no secret. It tells a mistyped or made-up string from a token
// without looking anything up.
type Secret struct {
	// A function, because nothing that walks a value by reflection looks into one:
	// not even fmt on a struct with a Secret in an unexported field.
	reveal func() string
}

// NewSecret wraps what somebody presented. It need not have the form of a token.
func NewSecret(text string) Secret { return Secret{func() string { return text }} }

// ParseSecret wraps a text that has the form of a token, and refuses every other.
// The error does not repeat the text.
func ParseSecret(text string) (Secret, error) {
	if !wellFormed(text) {
		return Secret{}, fmt.Errorf("%w: not an organization access token", ErrInvalid)
	}
	return NewSecret(text), nil
}

// Reveal is the secret itself. Whoever calls it is responsible for where it goes.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// Format writes "[redacted]" for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String is "[redacted]".
func (Secret) String() string { return redacted }

// GoString is "[redacted]".
func (Secret) GoString() string { return redacted }

// LogValue is "[redacted]".
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText is "[redacted]".
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON is "[redacted]", as a JSON string.
func (Secret) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }

// digest is what the log and the verifier know of a secret.
func (s Secret) digest() events.Hash { return digestOf(s.Reveal()) }

func digestOf(secret string) events.Hash { return sha256.Sum256([]byte(secret)) }

// generateSecret makes a new secret of the randomness.
func generateSecret(random io.Reader, prefix string) (Secret, error) {
	text := make([]byte, 0, len(prefix)+randomLength+checksumLength)
	text = append(text, prefix...)
	var pool [2 * randomLength]byte
	for len(text) < len(prefix)+randomLength {
		if _, err := io.ReadFull(random, pool[:]); err != nil {
			return Secret{}, fmt.Errorf("generate secret: %w", err)
		}
		for _, b := range pool {
			// 248 is 4 × 62: bytes above would make the first letters likelier.
			if b < 248 && len(text) < len(prefix)+randomLength {
				text = append(text, base62[b%62])
			}
		}
	}
	return NewSecret(string(appendChecksum(text))), nil
}

func appendChecksum(text []byte) []byte {
	var digits [checksumLength]byte
	sum := crc32.ChecksumIEEE(text)
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = base62[sum%62]
		sum /= 62
	}
	return append(text, digits[:]...)
}

// wellFormed tells whether text has the form of a token. It is the first thing a
// verifier asks, and costs less than a digest.
func wellFormed(text string) bool {
	body := len(text) - checksumLength
	if body < randomLength || body > maxPrefix+randomLength {
		return false
	}
	var claimed uint64
	for i := body; i < len(text); i++ {
		digit := base62Digit(text[i])
		if digit < 0 {
			return false
		}
		claimed = claimed*62 + uint64(digit)
	}
	return claimed == uint64(checksum(text[:body])) && isBase62(text[body-randomLength:body]) && prefixProblem(text[:body-randomLength]) == ""
}

// checksum is crc32.ChecksumIEEE without an allocation for the conversion.
func checksum(text string) uint32 {
	var b [maxPrefix + randomLength]byte
	return crc32.ChecksumIEEE(b[:copy(b[:], text)])
}

func isBase62(s string) bool {
	for i := range len(s) {
		if base62Digit(s[i]) < 0 {
			return false
		}
	}
	return true
}

// base62Digit is the value of a digit, -1 when it is none.
func base62Digit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'Z':
		return int(c-'A') + 10
	case 'a' <= c && c <= 'z':
		return int(c-'a') + 36
	}
	return -1
}

// prefixProblem says what keeps prefix from beginning a secret.
func prefixProblem(prefix string) string {
	if len(prefix) > maxPrefix {
		return fmt.Sprintf("has %d characters, at most %d are allowed", len(prefix), maxPrefix)
	}
	for i := range len(prefix) {
		if base62Digit(prefix[i]) < 0 && prefix[i] != '_' && prefix[i] != '-' {
			return "want letters, digits, _ and - only"
		}
	}
	return ""
}
