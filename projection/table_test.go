package projection

import (
	"math/rand/v2"
	"testing"

	"github.com/google/uuid"
)

// A table answers as a map does, through growth, removals in any order, and ids
// that crowd; also to who looked before the last change. To see it fail, let remove not
// move up what was pushed past the hole, or let it move up everything, or not free the
// slot; let seen believe what was glimpsed; or let glimpse not go on to the next place.
func TestTable(t *testing.T) {
	seed := rand.Uint64()
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	random := rand.New(rand.NewPCG(seed, 0))
	got, want := newTable[int](), make(map[tokenKey]int)
	most := 0
	for step := range 20_000 {
		// Few keys, and more additions than removals first: chains form and are cut.
		key := tokenKey{1 + random.Uint32N(2), uuid.UUID{15: byte(random.IntN(200))}}
		before, there := want[key]
		glimpsed := got.glimpse([]tokenKey{key}, nil)[0]
		if there && got.at(glimpsed).key != key {
			t.Fatalf("step %d: %v was glimpsed in another slot", step, key)
		}
		if seen := got.seen(key, glimpsed); (seen != nil) != there || there && *seen != before {
			t.Fatalf("step %d: %v: %v, want %v %v", step, key, seen, before, there)
		}
		switch {
		case !there:
			*got.add(key) = step
			want[key] = step
		case random.IntN(2) == 0:
			got.remove(key)
			delete(want, key)
		default:
			*got.get(key) = step
			want[key] = step
		}
		after, there := want[key]
		if seen := got.seen(key, glimpsed); (seen != nil) != there || there && *seen != after {
			t.Fatalf("step %d: after it %v: %v, want %v %v", step, key, seen, after, there)
		}
		if most = max(most, len(want)); got.made > uint32(most) {
			t.Fatalf("step %d: %d slots for %d tokens", step, got.made, most)
		}
		if step%200 == 0 {
			compare(t, &got, want)
		}
	}
	for key := range want {
		got.remove(key)
		delete(want, key)
		compare(t, &got, want)
	}
}

func compare(t *testing.T, got *table[int], want map[tokenKey]int) {
	t.Helper()
	if got.used != len(want) {
		t.Fatalf("%d tokens, want %d", got.used, len(want))
	}
	n := 0
	for range got.all() {
		n++
	}
	if n != len(want) {
		t.Fatalf("%d tokens in all, want %d", n, len(want))
	}
	for organization := uint32(1); organization <= 3; organization++ {
		for id := range 256 {
			key := tokenKey{organization, uuid.UUID{15: byte(id)}}
			value, there := want[key]
			if found := got.get(key); (found != nil) != there || there && *found != value {
				t.Fatalf("%v: %v, want %v %v", key, found, value, there)
			}
		}
	}
}

// A set of instants counts as one does who looks at each of them. To see it fail,
// let settle forget that the same instant may be there twice.
func TestInstants(t *testing.T) {
	seed := rand.Uint64()
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	random := rand.New(rand.NewPCG(seed, 0))
	var got instants
	var want []instant
	for step := range 10_000 {
		if n := len(want); n > 0 && random.IntN(5) < 2 {
			i := random.IntN(n)
			got.remove(want[i])
			want[i] = want[n-1]
			want = want[:n-1]
		} else {
			x := instant{random.Int64N(100) - 50, random.Int32N(3)}
			got.add(x)
			want = append(want, x)
		}
		if step%7 > 0 {
			continue
		}
		at := instant{random.Int64N(110) - 55, random.Int32N(3)}
		if n := got.until(at); n != notAfter(want, at) {
			t.Fatalf("%d of %d until %v, want %d", n, len(want), at, notAfter(want, at))
		}
	}
}
