package hubapi

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/go-jose/go-jose/v4"
)

// MinSecret is how many bytes a key for [HMAC] must have.
const MinSecret = 32

// Key signs and verifies the JWTs of people who signed in. It comes with its algorithm,
// which no JWT can change. Make one with [HMAC], [Ed25519] or [ECDSA]; [New] refuses one
// that is empty or short. A Key prints as "[redacted]".
type Key struct {
	algorithm jose.SignatureAlgorithm
	private   any
	public    any
	err       error // why the key cannot be used
}

// HMAC is a key for HS256: at least [MinSecret] random bytes, known to every process
// that serves the API and to nobody else.
func HMAC(secret []byte) Key {
	key := Key{algorithm: jose.HS256, private: bytes.Clone(secret), public: bytes.Clone(secret)}
	switch {
	case len(secret) < MinSecret:
		key.err = fmt.Errorf("has %d bytes, want at least %d", len(secret), MinSecret)
	case len(bytes.Trim(secret, string(secret[:1]))) == 0:
		key.err = errors.New("is one byte over and over, want random ones")
	}
	return key
}

// Ed25519 is a key for EdDSA.
func Ed25519(private ed25519.PrivateKey) Key {
	if len(private) != ed25519.PrivateKeySize {
		return Key{err: fmt.Errorf("has %d bytes, want %d", len(private), ed25519.PrivateKeySize)}
	}
	return Key{algorithm: jose.EdDSA, private: private, public: private.Public()}
}

// ECDSA is a key for ES256, on the curve P-256.
func ECDSA(private *ecdsa.PrivateKey) Key {
	if private == nil || private.Curve != elliptic.P256() || private.D == nil {
		return Key{err: errors.New("is not one on the curve P-256")}
	}
	return Key{algorithm: jose.ES256, private: private, public: &private.PublicKey}
}

const redacted = "[redacted]"

// Format writes "[redacted]" for every verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue is "[redacted]".
func (Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText is "[redacted]".
func (Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }
