package projection

import (
	"cmp"
	"slices"
	"sort"
	"time"
)

// instant is a moment to the nanosecond, for every year RFC 3339 has. It is a
// time.Time without the pointer, which a garbage collector would follow in every
// entry of a map.
type instant struct {
	seconds int64
	nanos   int32
}

func instantOf(t time.Time) instant { return instant{t.Unix(), int32(t.Nanosecond())} }

func (a instant) compare(b instant) int {
	if c := cmp.Compare(a.seconds, b.seconds); c != 0 {
		return c
	}
	return cmp.Compare(a.nanos, b.nanos)
}

// instants is a multiset of instants that can say how many of them are past. Most
// are sorted; the latest additions and removals wait, and are worked in together
// when they are a 64th of the whole. Working in each at once would move half of
// a large set every time, and a balanced tree would be all pointers.
type instants struct {
	sorted  []instant
	added   []instant // in no order
	removed []instant // from the other two, in no order
}

// minWaiting is how many changes may always wait: as many as are read faster than
// they are sorted.
const minWaiting = 32

func (s *instants) add(x instant) {
	s.added = append(s.added, x)
	s.settle()
}

// remove takes out one x, which must be there.
func (s *instants) remove(x instant) {
	s.removed = append(s.removed, x)
	s.settle()
}

// until counts the instants that are not after x.
func (s *instants) until(x instant) int {
	n := sort.Search(len(s.sorted), func(i int) bool { return s.sorted[i].compare(x) > 0 })
	return n + notAfter(s.added, x) - notAfter(s.removed, x)
}

func notAfter(list []instant, x instant) (n int) {
	for _, y := range list {
		if y.compare(x) <= 0 {
			n++
		}
	}
	return n
}

// settle works in what waits when it is enough.
func (s *instants) settle() {
	if len(s.added)+len(s.removed) < max(minWaiting, len(s.sorted)/64) {
		return
	}
	slices.SortFunc(s.added, instant.compare)
	slices.SortFunc(s.removed, instant.compare)
	merged := make([]instant, 0, len(s.sorted)+len(s.added)-len(s.removed))
	old, added, removed := s.sorted, s.added, s.removed
	for len(old)+len(added) > 0 {
		from := &old
		if len(old) == 0 || len(added) > 0 && added[0].compare(old[0]) < 0 {
			from = &added
		}
		x := (*from)[0]
		*from = (*from)[1:]
		if len(removed) > 0 && removed[0] == x {
			removed = removed[1:]
			continue
		}
		merged = append(merged, x)
	}
	s.sorted, s.added, s.removed = merged, s.added[:0], s.removed[:0]
}
