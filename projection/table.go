package projection

import (
	"encoding/binary"
	"iter"
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

// table is a map from tokens to what a read model keeps of them: an index with linear
// probing, and slots in blocks that stay where they are. The index is small, so that
// much of it is in the processor's cache, and one look at it tells which slot it is. A Go
// map has its control bytes, its keys and what they point to in different places, and no
// way to look at many of them at the same time, see glimpse.
type table[V any] struct {
	index    []place // a power of two; nil before the first token
	blocks   []*[blockSize]slot[V]
	made     uint32   // how many slots have ever been taken
	free     []uint32 // of these, those that are empty
	used     int
	seed     [2]uint64
	glimpsed uint64 // keeps the compiler from leaving out what is only looked at
}

// place says which slot a token with that hash has.
type place struct{ hash, slot uint32 } // slots count from 1; 0 is none

type slot[V any] struct {
	key   tokenKey // zero when the slot is empty
	value V
	end   uint64 // always 0; with key it is looked at to have all of a slot at hand
}

const blockSize = 64

// newTable draws its seed at random, so that nobody can choose ids that all fall
// into one place. No answer depends on it.
func newTable[V any]() table[V] {
	return table[V]{seed: [2]uint64{rand.Uint64() | 1, rand.Uint64() | 1}}
}

// get is what is kept of a token, nil when it is not there. The pointer is good until
// the token is removed.
func (t *table[V]) get(key tokenKey) *V {
	if t.used == 0 {
		return nil
	}
	if p := t.index[t.find(key, t.hash(key))]; p.slot != 0 {
		return &t.at(p.slot).value
	}
	return nil
}

// seen is get of a token that was glimpsed in slot, and may have been added or removed since.
func (t *table[V]) seen(key tokenKey, slot uint32) *V {
	if slot != 0 {
		if s := t.at(slot); s.key == key {
			return &s.value
		}
	}
	return t.get(key)
}

// add makes room for what is kept of a token, nil when the token is there already.
func (t *table[V]) add(key tokenKey) *V {
	if 2*t.used >= len(t.index) {
		t.grow()
	}
	hash := t.hash(key)
	p := &t.index[t.find(key, hash)]
	if p.slot != 0 {
		return nil
	}
	*p = place{hash, t.take()}
	t.used++
	s := t.at(p.slot)
	s.key = key
	return &s.value
}

// take is an empty slot.
func (t *table[V]) take() uint32 {
	if n := len(t.free); n > 0 {
		slot := t.free[n-1]
		t.free = t.free[:n-1]
		return slot
	}
	if t.made%blockSize == 0 {
		t.blocks = append(t.blocks, new([blockSize]slot[V]))
	}
	t.made++
	return t.made
}

// remove takes a token out that is there. What was pushed past its place by the probing
// moves up, so that no look-up ends early.
func (t *table[V]) remove(key tokenKey) {
	mask := len(t.index) - 1
	hole := t.find(key, t.hash(key))
	freed := t.index[hole].slot
	for i := (hole + 1) & mask; t.index[i].slot != 0; i = (i + 1) & mask {
		home := int(t.index[i].hash) & mask
		if (i-home)&mask >= (i-hole)&mask {
			t.index[hole] = t.index[i]
			hole = i
		}
	}
	t.index[hole] = place{}
	*t.at(freed) = slot[V]{}
	t.free = append(t.free, freed)
	t.used--
}

// find is the place of key in the index, or the empty one where it would be put.
func (t *table[V]) find(key tokenKey, hash uint32) int {
	mask := len(t.index) - 1
	for i := int(hash) & mask; ; i = (i + 1) & mask {
		if p := t.index[i]; p.slot == 0 || p.hash == hash && t.at(p.slot).key == key {
			return i
		}
	}
}

// at is a slot that has been taken.
func (t *table[V]) at(slot uint32) *slot[V] {
	return &t.blocks[(slot-1)/blockSize][(slot-1)%blockSize]
}

// hash is the upper half of a product, whose lower bits hang on fewer bits of the key.
func (t *table[V]) hash(key tokenKey) uint32 {
	high, low := bits.Mul64(binary.LittleEndian.Uint64(key.id[:8])^t.seed[0], binary.LittleEndian.Uint64(key.id[8:])^t.seed[1])
	return uint32((high ^ low ^ uint64(key.organization)) * 0x9e3779b97f4a7c15 >> 32)
}

func (t *table[V]) grow() {
	old := t.index
	t.index = make([]place, max(64, 2*len(old)))
	mask := len(t.index) - 1
	for _, p := range old {
		if p.slot == 0 {
			continue
		}
		i := int(p.hash) & mask
		for t.index[i].slot != 0 {
			i = (i + 1) & mask
		}
		t.index[i] = p
	}
}

// glimpse appends to room, for each key, the slot it seems to have, 0 where it seems to have
// none. It takes each step for all keys before the next: in the first and the last nothing
// hangs on what is read, not even a branch, and so the processor reads many places at the
// same time, and has them in its cache afterwards.
func (t *table[V]) glimpse(keys []tokenKey, room []uint32) []uint32 {
	if t.used == 0 {
		return append(room, make([]uint32, len(keys))...)
	}
	for i := range keys {
		room = append(room, t.hash(keys[i]))
	}
	mask, seen := uint32(len(t.index)-1), uint64(0)
	for _, hash := range room {
		seen += uint64(t.index[hash&mask].slot)
	}
	for i, hash := range room {
		at := hash & mask
		for t.index[at].slot != 0 && t.index[at].hash != hash {
			at = (at + 1) & mask
		}
		room[i] = t.index[at].slot
	}
	for _, slot := range room {
		s := t.at(max(slot, 1)) // there is a first slot
		seen += uint64(s.key.organization) + s.end
	}
	t.glimpsed = seen
	return room
}

// all is what is kept of every token, in no order.
func (t *table[V]) all() iter.Seq[*V] {
	return func(yield func(*V) bool) {
		for slot := range t.made {
			if s := t.at(slot + 1); s.key != (tokenKey{}) && !yield(&s.value) {
				return
			}
		}
	}
}
