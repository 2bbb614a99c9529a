package projection

import (
	"math/rand/v2"
	"testing"

	"github.com/google/uuid"
)

// A table answers as a map does, through growth, removals in any order, and ids
// that crowd. To see it fail, let remove not move up what was pushed past the hole,
// or let it move up everything.
func TestTable(t *testing.T) {
	seed := rand.Uint64()
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	random := rand.New(rand.NewPCG(seed, 0))
	got, want := newTable[int](), make(map[tokenKey]int)
	for step := range 20_000 {
		// Few keys, and more puts than removals first: chains form and are cut.
		key := tokenKey{1 + random.Uint32N(2), uuid.UUID{15: byte(random.IntN(200))}}
		_, there := want[key]
		switch {
		case !there:
			got.put(key, step)
			want[key] = step
		case random.IntN(2) == 0:
			got.remove(key)
			delete(want, key)
		default:
			*got.get(key) = step
			want[key] = step
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
