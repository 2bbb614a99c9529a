package accounts

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"

	"golang.org/x/crypto/argon2"
)

// cost is what a password costs to check: with these numbers, the lowest that OWASP
// recommends for argon2id, 19 MiB and some 30 ms of one core.
type cost struct {
	memory, time uint32
	threads      uint8
}

func usual() cost { return cost{memory: 19 << 10, time: 2, threads: 1} }

const (
	saltSize = 16
	hashSize = 32
	// atOnce is how many passwords are worked on at a time, so that many who guess take
	// neither all memory nor all cores from those who are signed in.
	atOnce = 2
)

// hasher makes and checks argon2id hashes, written
// "$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH", so that what old ones cost is known when
// new ones cost more.
type hasher struct {
	places chan struct{}
	// decoy is a hash that no password has, for names that nobody has.
	decoy string
}

func newHasher() *hasher {
	salt, sum := make([]byte, saltSize), make([]byte, hashSize)
	_, _ = rand.Read(salt) // never fails
	_, _ = rand.Read(sum)
	return &hasher{places: make(chan struct{}, atOnce), decoy: format(usual(), salt, sum)}
}

func format(c cost, salt, sum []byte) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.memory, c.time, c.threads,
		encoding().EncodeToString(salt), encoding().EncodeToString(sum))
}

func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails
	sum, err := h.sum(ctx, password, salt, usual(), hashSize)
	return format(usual(), salt, sum), err
}

// matches tells whether a hash is that of a password.
func (h *hasher) matches(ctx context.Context, hash, password string) (bool, error) {
	var version int
	var c cost
	parts, ok := split(hash)
	if ok {
		_, err := fmt.Sscanf(parts[1]+" "+parts[2], "v=%d m=%d,t=%d,p=%d", &version, &c.memory, &c.time, &c.threads)
		ok = err == nil && parts[0] == "argon2id" && version == argon2.Version && c.time > 0 && c.threads > 0
	}
	salt, saltErr := encoding().DecodeString(parts[3])
	want, sumErr := encoding().DecodeString(parts[4])
	if !ok || saltErr != nil || sumErr != nil || len(want) == 0 {
		return false, errors.New("a stored password is damaged")
	}
	got, err := h.sum(ctx, password, salt, c, uint32(len(want)))
	return err == nil && subtle.ConstantTimeCompare(got, want) == 1, err
}

// sum waits for a place and works.
func (h *hasher) sum(ctx context.Context, password string, salt []byte, c cost, size uint32) ([]byte, error) {
	select {
	case h.places <- struct{}{}:
		defer func() { <-h.places }()
		return argon2.IDKey([]byte(password), salt, c.time, c.memory, c.threads, size), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
