package registryauth_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oatmill/oatmill/oat/oattest"
	"github.com/oatmill/oatmill/oat/registryauth"
)

func openKeys(t testing.TB, path string, cfg registryauth.KeysConfig) *registryauth.Keys {
	t.Helper()
	keys, err := registryauth.OpenKeys(path, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// ids are the key ids of a JWKS, in order.
func ids(t testing.TB, jwks []byte) (all []string) {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(jwks, &set); err != nil {
		t.Fatal(err)
	}
	for _, key := range set.Keys {
		if !key.Valid() || !key.IsPublic() {
			t.Fatalf("published: %v", key.KeyID)
		}
		all = append(all, key.KeyID)
	}
	return all
}

func TestKeysAreMadeOnceAndKept(t *testing.T) {
	for _, algorithm := range []registryauth.Algorithm{"", registryauth.ES256, registryauth.EdDSA} {
		path := keyPath(t)
		first := openKeys(t, path, registryauth.KeysConfig{Algorithm: algorithm})
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatal(err, info.Mode())
		}
		again := openKeys(t, path, registryauth.KeysConfig{})
		if !bytes.Equal(first.JWKS(), again.JWKS()) || len(ids(t, first.JWKS())) != 2 {
			t.Errorf("%s: %s, and then %s", algorithm, first.JWKS(), again.JWKS())
		}
		onlyFile(t, path)
	}
}

// onlyFile checks that nothing was left beside a file.
func onlyFile(t testing.TB, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside %s: %v %v", path, entries, err)
	}
}

func TestBothAlgorithmsSignAndAreGuarded(t *testing.T) {
	for _, algorithm := range []registryauth.Algorithm{registryauth.ES256, registryauth.EdDSA} {
		keys := openKeys(t, keyPath(t), registryauth.KeysConfig{Algorithm: algorithm})
		d := open(t, func(cfg *registryauth.Config) { cfg.Keys = keys })
		d.Keys = keys
		authorization := d.anonymous("repository:library/alpine:pull")
		if w := d.guarded(http.MethodGet, "/v2/", authorization); w.Code != passed {
			t.Errorf("%s: %d", algorithm, w.Code)
		}
	}
	if _, err := registryauth.OpenKeys(keyPath(t), registryauth.KeysConfig{Algorithm: "HS256"}); err == nil || !strings.Contains(err.Error(), "HS256") {
		t.Errorf("HS256: %v", err)
	}
}

func TestProcessesThatStartAtOnceShareOneFile(t *testing.T) {
	path := keyPath(t)
	var processes sync.WaitGroup
	published := make([][]byte, 16)
	for i := range published {
		processes.Go(func() {
			keys, err := registryauth.OpenKeys(path, registryauth.KeysConfig{})
			if err != nil {
				t.Error(err)
				return
			}
			published[i] = keys.JWKS()
		})
	}
	processes.Wait()
	for _, jwks := range published {
		if !bytes.Equal(jwks, published[0]) {
			t.Errorf("%s, and %s", published[0], jwks)
		}
	}
	onlyFile(t, path)
}

func TestKeyFileThatOthersCanRead(t *testing.T) {
	path := keyPath(t)
	openKeys(t, path, registryauth.KeysConfig{})
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o602, 0o644, 0o666, 0o601} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := registryauth.OpenKeys(path, registryauth.KeysConfig{}); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "0600") {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
}

// jwk is a key as a key file has it, with what change makes of it.
func jwk(t testing.TB, private any, algorithm string, change func(map[string]any)) map[string]any {
	t.Helper()
	key := jose.JSONWebKey{Key: private, Algorithm: algorithm, Use: "sig"}
	key.KeyID = thumbprint(t, key)
	data, err := json.Marshal(key)
	fields := map[string]any{}
	if err == nil {
		err = json.Unmarshal(data, &fields)
	}
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(fields)
	}
	return fields
}

func TestBlankAndBrokenKeys(t *testing.T) {
	path := keyPath(t)
	openKeys(t, path, registryauth.KeysConfig{})
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ec := func(curve elliptic.Curve) *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p256 := ec(elliptic.P256())
	other := jwk(t, ec(elliptic.P256()), "ES256", nil)
	set := func(name string, value any) func(map[string]any) {
		return func(fields map[string]any) { fields[name] = value }
	}
	files := map[string]string{
		"empty":           "", // killed between creating and writing, by a program that does not rename
		"blank":           " \n",
		"nothing":         "{}",
		"null":            "null",
		"no keys":         `{"format":"oatmill registry keys v1"}`,
		"cut":             string(whole[:len(whole)/2]),
		"more after it":   string(whole) + "{}",
		"another format":  strings.Replace(string(whole), "keys v1", "keys v2", 1),
		"another field":   strings.Replace(string(whole), `"previous"`, `"prior"`, 1),
		"pem":             "-----BEGIN EC PRIVATE KEY-----\n",
		"next is missing": strings.Replace(string(whole), `"next"`, `"next":null,"next2"`, 1),
	}
	for name, key := range map[string]map[string]any{
		"symmetric":       {"kty": "oct", "k": "c2VjcmV0", "kid": "1", "alg": "HS256"},
		"blank":           {"kty": "oct", "k": "", "kid": "1", "alg": "HS256"},
		"no key":          {},
		"public":          jwk(t, p256.Public(), "ES256", nil),
		"short":           jwk(t, p256, "ES256", set("d", "AAAA")),
		"zero":            jwk(t, p256, "ES256", set("d", strings.Repeat("A", 43))),
		"another's":       jwk(t, p256, "ES256", set("d", other["d"])),
		"another curve":   jwk(t, ec(elliptic.P384()), "ES384", nil),
		"curve, alg":      jwk(t, ec(elliptic.P384()), "ES256", nil),
		"rsa":             jwk(t, rsaKey, "RS256", nil),
		"alg does not":    jwk(t, ed, "ES256", nil),
		"no alg":          jwk(t, p256, "", nil),
		"alg none":        jwk(t, p256, "none", nil),
		"another id":      jwk(t, p256, "ES256", set("kid", "1")),
		"no id":           jwk(t, p256, "ES256", set("kid", "")),
		"ed, another's x": jwk(t, ed, "EdDSA", set("x", strings.Repeat("A", 43))),
		"ed, short":       jwk(t, ed, "EdDSA", set("d", "AAAA")),
		"the same twice":  other,
	} {
		data, err := json.Marshal(map[string]any{"format": "oatmill registry keys v1", "current": other, "next": key, "previous": []any{}})
		if err != nil {
			t.Fatal(err)
		}
		files["key "+name] = string(data)
	}
	for name, content := range files {
		broken := keyPath(t)
		if err := os.WriteFile(broken, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := registryauth.OpenKeys(broken, registryauth.KeysConfig{})
		if err == nil || !strings.Contains(err.Error(), broken) || !strings.Contains(err.Error(), "restore it from a backup, or remove it") {
			t.Errorf("%s: %v", name, err)
		}
		if d, _ := other["d"].(string); err != nil && strings.Contains(err.Error(), d) {
			t.Errorf("%s: the error shows a key", name)
		}
		if kept, err := os.ReadFile(broken); err != nil || string(kept) != content {
			t.Errorf("%s: the file was changed: %v", name, err)
		}
	}
	if _, err := registryauth.OpenKeys(t.TempDir(), registryauth.KeysConfig{}); err == nil {
		t.Error("a folder is taken for keys")
	}
	if _, err := registryauth.OpenKeys(filepath.Join(t.TempDir(), "no", "keys.json"), registryauth.KeysConfig{}); err == nil {
		t.Error("keys without a folder")
	}
}

// A registry that reads the JWKS once knows the key of the next rotation. Break it by
// making Rotate sign with a new key: current: next in rotate.
func TestRotationLocksOutARegistryThatReadTheKeysOnce(t *testing.T) {
	d := open(t)
	atStart := d.Keys.JWKS()
	before, _ := d.granted(d.ask(getRequest(query())))
	if err := d.Keys.Rotate(); err != nil {
		t.Fatal(err)
	}
	after, _ := d.granted(d.ask(getRequest(query())))
	for name, token := range map[string]string{"before": before.Token, "after": after.Token} {
		if err := readJWT(atStart, token, new(claims)); err != nil {
			t.Errorf("%s the rotation, with the keys from before: %v", name, err)
		}
		if err := readJWT(d.Keys.JWKS(), token, new(claims)); err != nil {
			t.Errorf("%s the rotation, with the keys from after: %v", name, err)
		}
		if w := d.guarded(http.MethodGet, "/v2/", "Bearer "+token); w.Code != passed {
			t.Errorf("%s the rotation, guard: %d", name, w.Code)
		}
	}
	old, now := ids(t, atStart), ids(t, d.Keys.JWKS())
	if len(old) != 2 || len(now) != 3 || now[0] != old[1] || now[2] != old[0] {
		t.Errorf("published %v, and then %v", old, now)
	}
}

func TestKeyIsTrustedForEver(t *testing.T) {
	d := open(t)
	first, _ := d.granted(d.ask(getRequest(query())))
	firstID := ids(t, d.Keys.JWKS())[0]
	rotate := func() {
		t.Helper()
		if err := d.Keys.Rotate(); err != nil {
			t.Fatal(err)
		}
	}
	rotate()
	d.Clock.Advance(registryauth.MaxTokenTTL)
	rotate()
	if all := ids(t, d.Keys.JWKS()); len(all) != 4 || all[3] != firstID {
		t.Errorf("two rotations within the life of a token: %v", all)
	}
	d.Clock.Advance(time.Minute)
	if err := readJWT(d.Keys.JWKS(), first.Token, new(claims)); err != nil {
		t.Errorf("at the last moment: %v", err)
	}
	d.Clock.Advance(time.Nanosecond)
	if all := ids(t, d.Keys.JWKS()); len(all) != 3 {
		t.Errorf("after it: %v", all)
	}
	// A JWT that is good in every other respect, signed with the key of old.
	c := d.read(mustToken(d))
	if w := d.guarded(http.MethodGet, "/v2/", "Bearer "+signed(t, jose.ES256, d.retiredKey(firstID), jose.SignerOptions{}, c)); w.Code != http.StatusUnauthorized {
		t.Errorf("signed with the key of old: %d", w.Code)
	}
	rotate()
	if data, err := os.ReadFile(d.keyFile); err != nil || strings.Contains(string(data), firstID) {
		t.Errorf("the key of old is kept: %v", err)
	}
}

func mustToken(d *door) string {
	got, _ := d.granted(d.ask(getRequest(query())))
	return got.Token
}

// retiredKey is a previous key, as it is kept.
func (d *door) retiredKey(id string) jose.JSONWebKey {
	d.t.Helper()
	data, err := os.ReadFile(d.keyFile)
	var file struct {
		Previous []struct{ Key jose.JSONWebKey }
	}
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	for _, p := range file.Previous {
		if p.Key.KeyID == id {
			return p.Key
		}
	}
	d.t.Fatalf("no key %s in %v", id, file)
	return jose.JSONWebKey{}
}

func TestRotationIsSeenByEveryProcess(t *testing.T) {
	d := open(t)
	other := openKeys(t, d.keyFile, registryauth.KeysConfig{Now: d.Clock.Now})
	for range 3 {
		if err := other.Rotate(); err != nil {
			t.Fatal(err)
		}
		if want := ids(t, other.JWKS())[0]; want != ids(t, d.Keys.JWKS())[0] {
			t.Fatal("not seen")
		}
		if w := d.guarded(http.MethodGet, "/v2/", "Bearer "+mustToken(d)); w.Code != passed {
			t.Errorf("guard: %d", w.Code)
		}
		if err := readJWT(other.JWKS(), mustToken(d), new(claims)); err != nil {
			t.Error(err)
		}
	}
}

func TestRotationsAtOnceLoseKeys(t *testing.T) {
	path := keyPath(t)
	clock := oattest.NewClock(oattest.Start())
	before := ids(t, openKeys(t, path, registryauth.KeysConfig{}).JWKS())
	var processes sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for range 8 {
		keys := openKeys(t, path, registryauth.KeysConfig{Now: clock.Now})
		processes.Go(func() {
			err := keys.Rotate()
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				done++
			} else if !strings.Contains(err.Error(), "another rotation") {
				t.Error(err)
			}
		})
	}
	processes.Wait()
	// Each rotation that was done has left one more key, and none was left twice.
	all := ids(t, openKeys(t, path, registryauth.KeysConfig{Now: clock.Now}).JWKS())
	if done == 0 || len(all) != 2+done || all[len(all)-1] != before[0] {
		t.Errorf("%d rotations: %v, and then %v", done, before, all)
	}
	onlyFile(t, path)
}

func TestInterruptedRotationIsNamed(t *testing.T) {
	path := keyPath(t)
	keys := openKeys(t, path, registryauth.KeysConfig{})
	lock := path + ".lock"
	if err := os.WriteFile(lock, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := keys.Rotate(); err == nil || !strings.Contains(err.Error(), lock) {
		t.Errorf("rotation: %v", err)
	}
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
	if err := keys.Rotate(); err != nil {
		t.Error(err)
	}
}

func TestTwoRotationsChangeTheAlgorithm(t *testing.T) {
	d := open(t)
	ed := openKeys(t, d.keyFile, registryauth.KeysConfig{Algorithm: registryauth.EdDSA, Now: d.Clock.Now})
	for range 2 {
		if err := ed.Rotate(); err != nil {
			t.Fatal(err)
		}
		if w := d.guarded(http.MethodGet, "/v2/", "Bearer "+mustToken(d)); w.Code != passed {
			t.Errorf("guard: %d", w.Code)
		}
	}
	if key := d.signingKey(); key.Algorithm != "EdDSA" {
		t.Errorf("signs with %s", key.Algorithm)
	}
	// Both kinds are trusted now. The algorithm a JWT claims must still be its key's.
	c := d.read(mustToken(d))
	ecKey := d.retiredKey(ids(t, d.Keys.JWKS())[3])
	confused := jose.SignerOptions{ExtraHeaders: map[jose.HeaderKey]any{"kid": d.signingKey().KeyID}}
	if w := d.guarded(http.MethodGet, "/v2/", "Bearer "+signed(t, jose.ES256, ecKey.Key, confused, c)); w.Code != http.StatusUnauthorized {
		t.Errorf("ES256 under the id of an EdDSA key: %d", w.Code)
	}
}

func TestKeysSurviveTheirFile(t *testing.T) {
	path := keyPath(t)
	var logged bytes.Buffer
	keys := openKeys(t, path, registryauth.KeysConfig{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	before := keys.JWKS()
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, keys.JWKS()) || !strings.Contains(logged.String(), path) {
		t.Errorf("damaged: %s, logged %s", keys.JWKS(), &logged)
	}
	if err := keys.Rotate(); err == nil {
		t.Error("a damaged file is rotated")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, keys.JWKS()) {
		t.Errorf("removed: %s", keys.JWKS())
	}
}

func TestWriteJWKSForARegistry(t *testing.T) {
	keys := openKeys(t, keyPath(t), registryauth.KeysConfig{})
	path := filepath.Join(t.TempDir(), "jwks.json")
	for range 2 {
		if err := keys.WriteJWKS(path); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		info, statErr := os.Stat(path)
		if err != nil || statErr != nil || !bytes.Equal(data, keys.JWKS()) || info.Mode().Perm() != 0o644 {
			t.Errorf("%v %v %s", err, statErr, data)
		}
		if err := keys.Rotate(); err != nil {
			t.Fatal(err)
		}
	}
	onlyFile(t, path)
	if err := keys.WriteJWKS(filepath.Join(path, "x")); err == nil {
		t.Error("written below a file")
	}
}

// TestJWKSThatIsThereIsNotWritten demands that the file is the very same one after a second
// call, and that it is written where its content differs. A server with a full disk starts
// because of it.
//
// Fails if WriteJWKS does not compare what the file holds.
func TestJWKSThatIsThereIsNotWritten(t *testing.T) {
	keys, path := openKeys(t, keyPath(t), registryauth.KeysConfig{}), filepath.Join(t.TempDir(), "jwks.json")
	write := func() os.FileInfo {
		t.Helper()
		if err := keys.WriteJWKS(path); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	first := write()
	if again := write(); !os.SameFile(first, again) || !again.ModTime().Equal(first.ModTime()) {
		t.Error("an unchanged JWKS was written again")
	}
	for _, content := range []string{"", string(keys.JWKS()[:20]), string(keys.JWKS()) + "\n"} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		write()
		if held, err := os.ReadFile(path); err != nil || !bytes.Equal(held, keys.JWKS()) {
			t.Errorf("in place of %q there is %q (%v)", content, held, err)
		}
	}
}

// Signing, publishing and guarding go on while keys rotate.
func TestRotationBesideRequests(t *testing.T) {
	d := open(t)
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for range 10 {
				got := d.ask(getRequest(query()))
				var r reply
				if err := json.Unmarshal(got.Body.Bytes(), &r); err != nil {
					t.Error(err)
					return
				}
				if w := d.guarded(http.MethodGet, "/v2/", "Bearer "+r.Token); w.Code != passed {
					t.Errorf("guard: %d", w.Code)
				}
			}
		})
	}
	for range 5 {
		if err := d.Keys.Rotate(); err != nil {
			t.Error(err)
		}
	}
	workers.Wait()
}
