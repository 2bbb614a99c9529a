package oat_test

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math/big"
	"strings"
	"testing"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/oattest"
	"github.com/oatmill/oatmill/quota"
)

// checksum is the end of a secret with this random part, computed apart from the
// package: big.Int counts with the same digits in another case.
func checksum(random string) string {
	text := big.NewInt(int64(crc32.ChecksumIEEE([]byte(random)))).Text(62)
	swapped := strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z':
			return c - 'a' + 'A'
		case 'A' <= c && c <= 'Z':
			return c - 'A' + 'a'
		}
		return c
	}, text)
	return strings.Repeat("0", 6-len(swapped)) + swapped
}

// counting is randomness of 0, 1, 2 … 255, 0, 1 …
type counting byte

func (c *counting) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(*c)
		*c++
	}
	return len(p), nil
}

// The format is for ever: scanners for leaked credentials look for it.
func TestSecretFormat(t *testing.T) {
	d := newDesk(t, func(cfg *oat.Config) { cfg.Rand = new(counting) })
	var secrets []string
	for range 7 {
		_, secret := d.generate()
		secrets = append(secrets, secret.Reveal())
		if random := secret.Reveal()[4:30]; secret.Reveal()[30:] != checksum(random) {
			t.Errorf("%s does not end in %s", secret.Reveal(), checksum(random))
		}
	}
	for i, want := range map[int]string{
		0: "oat_QRSTUVWXYZabcdefghijklmnop18qj3q", // of bytes from 26
		1: "oat_ghijklmnopqrstuvwxyz0123453jOGzn", // of bytes from 104
		6: "oat_qrstuvwxyz0123456789ABCDEF2xEkDd", // of bytes from 238, those from 248 to 255 left out
	} {
		if secrets[i] != want {
			t.Errorf("secret %d is %s, want %s", i, secrets[i], want)
		}
	}
}

// Every letter is as likely as any other, at every place. Break it by letting all
// bytes through in generateSecret: eight letters become a quarter likelier.
func TestSecretAlphabetIsUnbiased(t *testing.T) {
	d := newDesk(t, func(cfg *oat.Config) {
		cfg.Plans = quota.Plans{quota.Team: {Tokens: 1 << 20}}
		cfg.Verifier = oat.NewVerifier(oat.VerifierConfig{Plans: cfg.Plans, Now: cfg.Now})
	})
	const secrets = 1500
	counts := make(map[rune]int)
	seen := make(map[string]bool)
	for range secrets {
		_, secret := d.generate()
		for _, c := range secret.Reveal()[4:30] {
			counts[c]++
		}
		seen[secret.Reveal()] = true
	}
	if len(counts) != 62 || len(seen) != secrets {
		t.Fatalf("%d letters in %d different secrets, want 62 in %d", len(counts), len(seen), secrets)
	}
	expected := float64(secrets*26) / 62 // 629, with a deviation of 25
	for c, n := range counts {
		if float64(n) < 0.82*expected || float64(n) > 1.18*expected {
			t.Errorf("%c occurs %d times, want about %.0f", c, n, expected)
		}
	}
}

func TestParseSecret(t *testing.T) {
	random := "0123456789ABCDEFGHIJKLMNOP"
	for name, test := range map[string]struct {
		text string
		good bool
	}{
		"default prefix":         {"oat_" + random + checksum(random), true},
		"no prefix":              {random + checksum(random), true},
		"longest prefix":         {strings.Repeat("x", 20) + random + checksum(random), true},
		"every kind of prefix":   {"aZ0_-" + random + checksum(random), true},
		"all zeros":              {strings.Repeat("0", 26) + checksum(strings.Repeat("0", 26)), true},
		"empty":                  {"", false},
		"nothing but a prefix":   {"oat_", false},
		"one letter too few":     {random[1:] + checksum(random[1:]), false},
		"prefix too long":        {strings.Repeat("x", 21) + random + checksum(random), false},
		"prefix with a blank":    {"oat " + random + checksum(random), false},
		"prefix of other script": {"öat_" + random + checksum(random), false},
		"no checksum":            {"oat_" + random, false},
		"checksum of zeros":      {"oat_" + random + "000000", false},
		"checksum cut":           {"oat_" + random + checksum(random)[:5], false},
		"checksum too large":     {"oat_" + random + "zzzzzz", false},
		"checksum's case":        {"oat_" + random + strings.ToLower(checksum(random)), false},
		"odd random letters":     {"oat_" + random[:25] + "!" + checksum(random[:25]+"!"), false},
		"blank in front":         {" oat_" + random + checksum(random), false},
		"line break behind":      {"oat_" + random + checksum(random) + "\n", false},
		"two letters swapped":    {"oat_" + "10" + random[2:] + checksum(random), false},
		"a very long text":       {strings.Repeat("oat_", 1<<16), false},
	} {
		secret, err := oat.ParseSecret(test.text)
		switch {
		case test.good && (err != nil || secret.Reveal() != test.text):
			t.Errorf("%s: %v", name, err)
		case !test.good && (!errors.Is(err, oat.ErrInvalid) || secret.Reveal() != ""):
			t.Errorf("%s: %v, want it refused", name, err)
		}
	}
}

// NewSecret takes what it is given: it is the verifier that judges.
func TestNewSecretKeepsAnything(t *testing.T) {
	for _, text := range []string{"", "x", "\x00\xff", strings.Repeat("x", 1<<16)} {
		if got := oat.NewSecret(text).Reveal(); got != text {
			t.Errorf("revealed %d bytes, want %d", len(got), len(text))
		}
	}
	if (oat.Secret{}).Reveal() != "" {
		t.Error("the zero secret reveals something")
	}
}

func FuzzParseSecret(f *testing.F) {
	_, secret := oattest.New(f).Generate("acme", oat.Public())
	for _, seed := range []string{"", "oat_", secret.Reveal(), secret.Reveal()[1:], secret.Reveal() + "0", strings.Repeat("0", 32), "öat_\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		secret, err := oat.ParseSecret(text)
		if err != nil {
			if !errors.Is(err, oat.ErrInvalid) || err.Error() != "invalid command: not an organization access token" {
				t.Fatalf("error %q", err)
			}
			return
		}
		if secret.Reveal() != text || fmt.Sprint(secret) != "[redacted]" {
			t.Fatal("the text did not survive, or shows")
		}
		body := len(text) - 32
		if body < 0 || body > 20 || text[body+26:] != checksum(text[body:body+26]) {
			t.Fatalf("%q is not well-formed", text)
		}
		for _, c := range text {
			if !strings.ContainsRune("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-", c) {
				t.Fatalf("%q has a letter that is none", text)
			}
		}
	})
}
