package registryauth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// key is a private key, ready for use.
type key struct {
	private jose.JSONWebKey
	public  []byte // the public half as JSON
	signer  jose.Signer
}

// id is the key's thumbprint (RFC 7638), so that no two keys can share an id.
func (k key) id() string { return k.private.KeyID }

func generateKey(algorithm Algorithm) (key, error) {
	var private crypto.Signer
	var err error
	if algorithm == EdDSA {
		_, private, err = ed25519.GenerateKey(rand.Reader)
	} else {
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		return key{}, err
	}
	jwk := jose.JSONWebKey{Key: private, Algorithm: string(algorithm), Use: "sig"}
	thumbprint, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return key{}, err
	}
	jwk.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	return newKey(jwk)
}

// newKey checks a key in every respect and makes it ready. That what it signs is
// verified by its public half is tried, so that no pair that does not match, and no
// key that is blank, gets through.
func newKey(jwk jose.JSONWebKey) (key, error) {
	if !jwk.Valid() || jwk.IsPublic() {
		return key{}, errors.New("not a whole private key")
	}
	algorithm := Algorithm("")
	switch private := jwk.Key.(type) {
	case *ecdsa.PrivateKey:
		if private.Curve == elliptic.P256() {
			algorithm = ES256
		}
	case ed25519.PrivateKey:
		algorithm = EdDSA
	}
	if algorithm == "" || jwk.Algorithm != string(algorithm) {
		return key{}, fmt.Errorf("a key for %q, want %s or %s", jwk.Algorithm, ES256, EdDSA)
	}
	thumbprint, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil || jwk.KeyID != base64.RawURLEncoding.EncodeToString(thumbprint) {
		return key{}, fmt.Errorf("key %q is not the one its id says", jwk.KeyID)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: jwk}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return key{}, err
	}
	signed, err := signer.Sign([]byte("probe"))
	if err != nil {
		return key{}, err
	}
	if _, err := signed.Verify(jwk.Public().Key); err != nil {
		return key{}, fmt.Errorf("key %q does not fit its public half", jwk.KeyID)
	}
	public, err := json.Marshal(jwk.Public())
	return key{jwk, public, signer}, err
}

// keyFormat begins every key file, for whoever meets one.
const keyFormat = "oatmill registry keys v1"

// keyFile is a ring as it is kept: JSON, with the keys as JSON Web Keys.
type keyFile struct {
	Format   string           `json:"format"`
	Current  *jose.JSONWebKey `json:"current"`
	Next     *jose.JSONWebKey `json:"next"`
	Previous []retiredFile    `json:"previous"`
}

type retiredFile struct {
	Key       *jose.JSONWebKey `json:"key"`
	RetiredAt time.Time        `json:"retired_at"`
}

func (r *ring) encode() ([]byte, error) {
	file := keyFile{Format: keyFormat, Current: &r.current.private, Next: &r.next.private, Previous: []retiredFile{}}
	for i := range r.previous {
		file.Previous = append(file.Previous, retiredFile{&r.previous[i].key.private, r.previous[i].at.UTC()})
	}
	data, err := json.MarshalIndent(file, "", "  ")
	return append(data, '\n'), err
}

func decodeRing(data []byte) (*ring, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("the file is empty")
	}
	var file keyFile
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&file); err != nil || file.Format != keyFormat {
		// The error is left out because it may quote the file.
		return nil, errors.New("not a file of registry keys")
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("something follows the keys")
	}
	seen := make(map[string]bool)
	checked := func(jwk *jose.JSONWebKey) (key, error) {
		if jwk == nil || seen[jwk.KeyID] {
			return key{}, errors.New("a key is missing or repeated")
		}
		seen[jwk.KeyID] = true
		return newKey(*jwk)
	}
	var decoded ring
	var err error
	if decoded.current, err = checked(file.Current); err != nil {
		return nil, fmt.Errorf("current: %w", err)
	}
	if decoded.next, err = checked(file.Next); err != nil {
		return nil, fmt.Errorf("next: %w", err)
	}
	for _, p := range file.Previous {
		k, err := checked(p.Key)
		if err != nil {
			return nil, fmt.Errorf("previous: %w", err)
		}
		decoded.previous = append(decoded.previous, retired{k, p.RetiredAt})
	}
	return &decoded, nil
}

// encodeJWKS is the public halves of keys.
func encodeJWKS(keys []key) []byte {
	public := make([][]byte, len(keys))
	for i, k := range keys {
		public[i] = k.public
	}
	return slices.Concat([]byte(`{"keys":[`), bytes.Join(public, []byte(",")), []byte("]}\n"))
}

// maxKeyFile is far more than any key file has.
const maxKeyFile = 1 << 20

// readPrivateFile reads a file to which only its owner has access.
func readPrivateFile(path string) ([]byte, os.FileInfo, error) {
	// Opening a named pipe would wait for a process that writes to it.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is not a regular file: remove it, or choose another path", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	// Windows has no such bits, and reports some that mean nothing.
	if info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, nil, fmt.Errorf("%s has mode %v: others than its owner have access, want 0600: chmod 600 it, or remove it if others may have read it", path, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	return data, info, err
}

// writeFile writes a file beside path, makes it durable, and then has place put it
// there: os.Rename, which replaces, or os.Link, which refuses where there is one. A
// crash leaves the old file, the new one, or none, and never a part of one.
func writeFile(path string, data []byte, mode os.FileMode, place func(from, to string) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // with mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := place(f.Name(), path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes the names in a folder durable, where the system knows how.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	err = folder.Sync()
	if runtime.GOOS == "windows" {
		err = nil
	}
	return errors.Join(err, folder.Close())
}

// lockFile makes a file that nobody else has made, and returns what removes it.
func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("another rotation is under way, or was interrupted and left %s: remove it if no rotation runs", path)
	}
	if err != nil {
		return nil, err
	}
	_ = f.Close()
	return func() { _ = os.Remove(path) }, nil
}
