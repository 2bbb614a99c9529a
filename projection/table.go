package projection

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"

	"github.com/google/uuid"
)

// tokenKey is a token of an organization. With the organization in the key, one
// organization cannot reach a token of another by its id.
type tokenKey struct {
	organization uint32 // its number in this read model, from 1
	id           uuid.UUID
}

// table is a map from tokens to what a read model keeps of them: one array with
// linear probing. A rebuild is mostly look-ups at random places, and each waits for
// memory: once here, and three times in a Go map, which has its control bytes, its
// keys and what they point to in different lines of the cache. With maps a rebuild
// took 10 to 20 percent longer.
//
// Pointers into a table are good until it next changes.
type table[V any] struct {
	slots []slot[V] // a power of two; nil before the first put
	used  int
	seed  [2]uint64
}

type slot[V any] struct {
	key   tokenKey // of the organization 0, which there is not: empty
	value V
}

// newTable draws its seed at random, so that nobody can choose ids that all fall
// into one place. No answer depends on it.
func newTable[V any]() table[V] {
	return table[V]{seed: [2]uint64{rand.Uint64() | 1, rand.Uint64() | 1}}
}

// get is what is kept of a token, nil when it is not there.
func (t *table[V]) get(key tokenKey) *V {
	if t.used == 0 {
		return nil
	}
	if s := &t.slots[t.find(key)]; s.key == key {
		return &s.value
	}
	return nil
}

// put adds a token that is not there.
func (t *table[V]) put(key tokenKey, value V) {
	if 4*t.used >= 3*len(t.slots) {
		t.grow()
	}
	t.slots[t.find(key)] = slot[V]{key, value}
	t.used++
}

// remove takes a token out that is there. What was pushed past it by the probing
// moves up, so that no look-up ends early.
func (t *table[V]) remove(key tokenKey) {
	mask := len(t.slots) - 1
	hole := t.find(key)
	for i := (hole + 1) & mask; t.slots[i].key != (tokenKey{}); i = (i + 1) & mask {
		home := t.home(t.slots[i].key)
		if (i-home)&mask >= (i-hole)&mask {
			t.slots[hole] = t.slots[i]
			hole = i
		}
	}
	t.slots[hole] = slot[V]{}
	t.used--
}

// find is the slot of key, or the empty one where it would be put.
func (t *table[V]) find(key tokenKey) int {
	mask := len(t.slots) - 1
	i := t.home(key)
	for t.slots[i].key != key && t.slots[i].key != (tokenKey{}) {
		i = (i + 1) & mask
	}
	return i
}

// home is the slot of key when nothing else is in its way.
func (t *table[V]) home(key tokenKey) int {
	high, low := bits.Mul64(binary.LittleEndian.Uint64(key.id[:8])^t.seed[0], binary.LittleEndian.Uint64(key.id[8:])^t.seed[1])
	mixed := (high ^ low ^ uint64(key.organization)) * 0x9e3779b97f4a7c15
	return int(mixed>>32) & (len(t.slots) - 1)
}

func (t *table[V]) grow() {
	old := t.slots
	t.slots = make([]slot[V], max(64, 2*len(old)))
	for i := range old {
		if old[i].key != (tokenKey{}) {
			t.slots[t.find(old[i].key)] = old[i]
		}
	}
}
