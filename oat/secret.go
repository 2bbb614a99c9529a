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
// A token's secret is a prefix, 26 random characters of base 62 (0-9A-Za-z), and the
// CRC-32 (IEEE) of these 26 in 6 characters of base 62, most significant first. The
// checksum keeps no secret. It tells a mistyped or made-up string from a token without
// looking anything up.
type Secret struct {
	// A function, because nothing that walks a value by reflection looks into one:
	// not even fmt on a struct with a Secret in an unexported field. Bytes, because
	// that is what is digested.
	open func() []byte
}

// NewSecret wraps what somebody presented. It need not have the form of a token.
func NewSecret(text string) Secret { return secretOf([]byte(text)) }

// secretOf wraps a text that nobody else has.
func secretOf(text []byte) Secret { return Secret{func() []byte { return text }} }

// ParseSecret wraps a text that has the form of a token, and refuses every other.
// The error does not repeat the text.
func ParseSecret(text string) (Secret, error) {
	s := NewSecret(text)
	body := len(text) - randomLength - checksumLength
	if !checksumFits(s.bytes()) || prefixProblem(text[:body]) != "" || !isBase62(text[body:]) {
		return Secret{}, fmt.Errorf("%w: not an organization access token", ErrInvalid)
	}
	return s, nil
}

// Reveal is the secret itself. Whoever calls it is responsible for where it goes.
func (s Secret) Reveal() string { return string(s.bytes()) }

func (s Secret) bytes() []byte {
	if s.open == nil {
		return nil
	}
	return s.open()
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
func (s Secret) digest() events.Hash { return sha256.Sum256(s.bytes()) }

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
	return secretOf(appendChecksum(text, text[len(prefix):])), nil
}

func appendChecksum(text, random []byte) []byte {
	var digits [checksumLength]byte
	sum := crc32.ChecksumIEEE(random)
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = base62[sum%62]
		sum /= 62
	}
	return append(text, digits[:]...)
}

// checksumFits tells whether text has the length of a token and ends in the checksum
// of its random part. It is the first thing a verifier asks, and costs less than a
// digest.
func checksumFits(text []byte) bool {
	body := len(text) - checksumLength
	if body < randomLength || body > maxPrefix+randomLength {
		return false
	}
	var claimed, invalid int64
	for _, c := range text[body:] {
		digit := int64(base62Values[c])
		invalid |= digit // negative as soon as one is
		claimed = claimed*62 + digit
	}
	return invalid >= 0 && claimed == int64(crc32.ChecksumIEEE(text[body-randomLength:body]))
}

func isBase62(s string) bool {
	for i := range len(s) {
		if base62Values[s[i]] < 0 {
			return false
		}
	}
	return true
}

// base62Values is the value of every byte as a digit, -1 for those that are none. A
// table, since branches on random letters are guessed wrong.
var base62Values = func() (values [256]int8) {
	for i := range values {
		values[i] = -1
	}
	for i := range len(base62) {
		values[base62[i]] = int8(i)
	}
	return values
}()

// prefixProblem says what keeps prefix from beginning a secret.
func prefixProblem(prefix string) string {
	if len(prefix) > maxPrefix {
		return fmt.Sprintf("has %d characters, at most %d are allowed", len(prefix), maxPrefix)
	}
	for i := range len(prefix) {
		if base62Values[prefix[i]] < 0 && prefix[i] != '_' && prefix[i] != '-' {
			return "want letters, digits, _ and - only"
		}
	}
	return ""
}
