package oat

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
)

// credential is what the verifier knows of one token. It is never changed once it
// can be found; a change of the token puts another in its place.
type credential struct {
	// The order packs it into 96 bytes, with what Verify reads in front.
	digest  events.Hash
	tenant  *tenant
	expires int64 // nanoseconds since 1970, math.MaxInt64 for never
	active  bool
	presets presets
	chosen  []chosen
	token   uuid.UUID
}

// table finds credentials by a key of theirs that is as good as random: the digest
// of the secret, or the random end of the token's id. It is read without locks and
// changed by one goroutine at a time.
//
// The alternative, a Go map behind a sync.RWMutex, takes twice the memory, hashes
// keys that are hashes already, and makes all verifying goroutines write to the one
// cache line of the lock.
//
// It is an open-addressing hash table with linear probing. A removed credential
// leaves a tombstone, so that others behind it are still found; when a quarter of
// the slots is left empty, the living ones move to a new array.
type table struct {
	slots atomic.Pointer[[]slot]
	used  int // slots that are not empty, tombstones included
	live  int
	hash  func(*credential) uint64
}

type slot = atomic.Pointer[credential]

// tombstone is compared by address, and matches no key: its tenant is nil.
var tombstone = new(credential)

const minSlots = 16

// init makes an empty table of t. A table is part of what it serves, which spares a
// reader the way over a pointer.
func (t *table) init(hash func(*credential) uint64) {
	slots := make([]slot, minSlots)
	t.slots.Store(&slots)
	t.used, t.live, t.hash = 0, 0, hash
}

func digestHash(d *events.Hash) uint64 { return binary.LittleEndian.Uint64(d[:8]) }

// tokenHash takes the half of the id that is random in every version of UUID, with
// its two fixed bits at the upper end, where a mask does not see them.
func tokenHash(id *uuid.UUID) uint64 { return binary.BigEndian.Uint64(id[8:]) }

// byDigest finds the credential with this digest, nil when there is none.
func (t *table) byDigest(d *events.Hash) *credential {
	slots := *t.slots.Load()
	mask := uint64(len(slots) - 1)
	for i := digestHash(d) & mask; ; i = (i + 1) & mask {
		if c := slots[i].Load(); c == nil || c.digest == *d && c != tombstone {
			return c
		}
	}
}

// byToken finds the credential with this id, nil when there is none.
func (t *table) byToken(id *uuid.UUID) *credential {
	slots := *t.slots.Load()
	mask := uint64(len(slots) - 1)
	for i := tokenHash(id) & mask; ; i = (i + 1) & mask {
		if c := slots[i].Load(); c == nil || c.token == *id && c != tombstone {
			return c
		}
	}
}

// insert adds a credential whose key is not in the table.
func (t *table) insert(c *credential) {
	if slots := *t.slots.Load(); 4*(t.used+1) > 3*len(slots) {
		t.rebuild()
	}
	place(*t.slots.Load(), t.hash(c), c)
	t.used++
	t.live++
}

// replace puts c where old is; both have one key.
func (t *table) replace(old, c *credential) { t.find(old).Store(c) }

// remove takes c out of the table.
func (t *table) remove(c *credential) {
	t.find(c).Store(tombstone)
	t.live--
}

// find is the slot that holds c, which must be in the table.
func (t *table) find(c *credential) *slot {
	slots := *t.slots.Load()
	mask := uint64(len(slots) - 1)
	i := t.hash(c) & mask
	for slots[i].Load() != c {
		i = (i + 1) & mask
	}
	return &slots[i]
}

// all returns the credentials in the table.
func (t *table) all() (all []*credential) {
	slots := *t.slots.Load()
	for i := range slots {
		if c := slots[i].Load(); c != nil && c != tombstone {
			all = append(all, c)
		}
	}
	return all
}

// rebuild moves the living credentials to an array in which they take at most half
// of the slots. Readers go on in the old one, which is not changed any more.
func (t *table) rebuild() {
	size := minSlots
	for size < 2*(t.live+1) {
		size *= 2
	}
	slots := make([]slot, size)
	old := *t.slots.Load()
	for i := range old {
		if c := old[i].Load(); c != nil && c != tombstone {
			place(slots, t.hash(c), c)
		}
	}
	t.slots.Store(&slots)
	t.used = t.live
}

func place(slots []slot, hash uint64, c *credential) {
	mask := uint64(len(slots) - 1)
	i := hash & mask
	for slots[i].Load() != nil {
		i = (i + 1) & mask
	}
	slots[i].Store(c)
}
