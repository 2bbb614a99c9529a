package registryauth

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Algorithm is a way to sign.
type Algorithm string

// The algorithms that registries verify.
const (
	ES256 Algorithm = "ES256" // ECDSA with P-256 and SHA-256
	EdDSA Algorithm = "EdDSA" // Ed25519
)

// KeysConfig is how keys are made and kept. The zero config works.
type KeysConfig struct {
	// Algorithm is that of the keys to be made. Keys that are in the file already
	// keep theirs; two rotations bring a file to another algorithm. "" means ES256.
	Algorithm Algorithm
	// Now is the clock. Nil means [time.Now].
	Now func() time.Time
	// Logger hears of a file that changed into one that cannot be used. Nil means
	// silence.
	Logger *slog.Logger
}

// Keys are the keys that sign registry tokens: current, next and previous ones. They
// are safe for concurrent use.
type Keys struct {
	path string
	cfg  KeysConfig

	mu   sync.Mutex
	seen os.FileInfo // of the file that ring was read from, or was tried to
	ring *ring
}

// ring is the keys of a file at one time. It is never changed.
type ring struct {
	current, next key
	previous      []retired
}

// retired is a key that does not sign any more.
type retired struct {
	key key
	at  time.Time
}

// expired tells whether every JWT the key signed has expired.
func (r retired) expired(now time.Time) bool { return now.After(r.at.Add(MaxTokenTTL + leeway)) }

// OpenKeys reads the keys from the file at path, or makes the file if there is none.
// Several processes may open the same path, also for the first time at once.
//
// The file is refused if anybody but its owner may read or write it, and if it holds
// anything but whole keys of the known algorithms.
func OpenKeys(path string, cfg KeysConfig) (*Keys, error) {
	if cfg.Algorithm == "" {
		cfg.Algorithm = ES256
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Algorithm != ES256 && cfg.Algorithm != EdDSA {
		return nil, fmt.Errorf("registry keys: algorithm is %q, want %s or %s", cfg.Algorithm, ES256, EdDSA)
	}
	k := &Keys{path: path, cfg: cfg}
	err := k.read()
	if errors.Is(err, os.ErrNotExist) {
		if err = k.create(); err == nil {
			err = k.read()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("registry keys: %w", err)
	}
	return k, nil
}

// create makes the file, unless another process was quicker.
func (k *Keys) create() error {
	var fresh ring
	var err error
	if fresh.current, err = generateKey(k.cfg.Algorithm); err != nil {
		return err
	}
	if fresh.next, err = generateKey(k.cfg.Algorithm); err != nil {
		return err
	}
	data, err := fresh.encode()
	if err != nil {
		return err
	}
	if err := writeFile(k.path, data, 0o600, os.Link); !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// read replaces the ring by what the file holds. The caller holds k.mu, or is the
// only one to know k.
func (k *Keys) read() error {
	data, info, err := readPrivateFile(k.path)
	if err != nil {
		return err
	}
	k.seen = info
	read, err := decodeRing(data)
	if err != nil {
		return fmt.Errorf("%s: %w: restore it from a backup, or remove it and new keys are made, whose JWKS every registry must read", k.path, err)
	}
	k.ring = read
	return nil
}

// now is the keys as the file holds them at this moment. A file that was damaged or
// taken away in the meantime leaves the keys as they were.
func (k *Keys) now() *ring {
	info, err := os.Stat(k.path)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil && !sameFile(info, k.seen) {
		k.seen = info
		if err := k.read(); err != nil {
			k.cfg.Logger.Warn("registry keys stay as they were", slog.Any("cause", err))
		}
	}
	return k.ring
}

// sameFile tells whether nothing happened to a file since it was looked at.
func sameFile(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && a.Mode() == b.Mode()
}

// Rotate makes the next key the current one, at once and in every process that
// shares the file, and makes a new next key. The package comment says what becomes of
// the one that was current, and which registries must be told.
//
// Of several that rotate at once, one does and the others get an error. So does
// everyone after a crash in the middle of a rotation, until the lock file that the
// error names is removed; the keys themselves are whole.
func (k *Keys) Rotate() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	unlock, err := lockFile(k.path + ".lock")
	if err != nil {
		return fmt.Errorf("rotate registry keys: %w", err)
	}
	defer unlock()
	if err := k.rotate(); err != nil {
		return fmt.Errorf("rotate registry keys: %w", err)
	}
	return nil
}

func (k *Keys) rotate() error {
	if err := k.read(); err != nil {
		return err
	}
	now := k.cfg.Now()
	next, err := generateKey(k.cfg.Algorithm)
	if err != nil {
		return err
	}
	rotated := &ring{current: k.ring.next, next: next, previous: []retired{{k.ring.current, now}}}
	for _, r := range k.ring.previous {
		if !r.expired(now) {
			rotated.previous = append(rotated.previous, r)
		}
	}
	data, err := rotated.encode()
	if err != nil {
		return err
	}
	if err := writeFile(k.path, data, 0o600, os.Rename); err != nil {
		return err
	}
	return k.read()
}

// trusted is every key whose signature counts at now, the current one first.
func (r *ring) trusted(now time.Time) []key {
	keys := []key{r.current, r.next}
	for _, p := range r.previous {
		if !p.expired(now) {
			keys = append(keys, p.key)
		}
	}
	return keys
}

// JWKS is the public keys as JSON Web Key Set: the current one, the next one, and
// those before whose JWTs may still be good.
func (k *Keys) JWKS() []byte { return encodeJWKS(k.now().trusted(k.cfg.Now())) }

// WriteJWKS writes the JWKS to a file, all of it or nothing, for a registry that
// reads it from there. A file that holds it already is left as it is. The file must be
// written again after every rotation.
func (k *Keys) WriteJWKS(path string) error {
	jwks := k.JWKS()
	if held, err := os.ReadFile(path); err == nil && bytes.Equal(held, jwks) {
		return nil
	}
	if err := writeFile(path, jwks, 0o644, os.Rename); err != nil {
		return fmt.Errorf("write jwks: %w", err)
	}
	return nil
}

// sign is the claims as a JWT, signed with the current key.
func (k *Keys) sign(c *claims) (string, error) {
	return jwt.Signed(k.now().current.signer).Claims(c).Serialize()
}

// verify reads the claims of a JWT that one of the keys signed.
func (k *Keys) verify(raw string, c *claims) error {
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA})
	if err != nil {
		return errors.New("not a signed token")
	}
	header := token.Headers[0]
	keys := k.now().trusted(k.cfg.Now())
	at := slices.IndexFunc(keys, func(k key) bool { return k.id() == header.KeyID })
	if at < 0 {
		return errors.New("signed with an unknown key")
	}
	if header.Algorithm != keys[at].private.Algorithm {
		return errors.New("signed with another algorithm than the key's")
	}
	if err := token.Claims(keys[at].private.Public().Key, c); err != nil {
		return errors.New("wrong signature, or malformed claims")
	}
	return nil
}
