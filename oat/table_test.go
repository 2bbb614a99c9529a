package oat

import (
	"encoding/binary"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/oatmill/oatmill/events"
)

// tableModel is a table beside a map that holds the same.
type tableModel struct {
	digests, tokens *table
	held            map[events.Hash]*credential
	made            []*credential // all there ever were
}

// credential is a new one whose keys agree with those of many others in the bits that
// choose a slot, so that nearly everything collides.
func (m *tableModel) credential(t *rapid.T) *credential {
	c := &credential{tenant: newTenant("acme")}
	low := rapid.Byte().Draw(t, "low bits") % 8
	binary.LittleEndian.PutUint64(c.digest[:8], uint64(low)|uint64(len(m.made))<<40)
	binary.BigEndian.PutUint64(c.token[8:], uint64(low)|uint64(len(m.made))<<40)
	m.made = append(m.made, c)
	return c
}

func (m *tableModel) insert(t *rapid.T) {
	for range rapid.IntRange(1, 7).Draw(t, "how many") {
		c := m.credential(t)
		m.digests.insert(c)
		m.tokens.insert(c)
		m.held[c.digest] = c
	}
}

// some draws one that is held.
func (m *tableModel) some(t *rapid.T) *credential {
	if len(m.held) == 0 {
		t.Skip("the table is empty")
	}
	i := rapid.IntRange(0, len(m.made)-1).Draw(t, "which")
	for ; m.held[m.made[i].digest] == nil; i = (i + 1) % len(m.made) {
	}
	return m.held[m.made[i].digest]
}

func (m *tableModel) replace(t *rapid.T) {
	old := m.some(t)
	changed := *old
	changed.active = !old.active
	m.digests.replace(old, &changed)
	m.tokens.replace(old, &changed)
	m.held[changed.digest] = &changed
}

func (m *tableModel) remove(t *rapid.T) {
	for range rapid.IntRange(1, 7).Draw(t, "how many") {
		if len(m.held) == 0 {
			return
		}
		c := m.some(t)
		m.digests.remove(c)
		m.tokens.remove(c)
		delete(m.held, c.digest)
	}
}

func (m *tableModel) check(t *rapid.T) {
	for _, c := range m.made {
		if got := m.digests.byDigest(&c.digest); got != m.held[c.digest] {
			t.Fatalf("by digest %x: %p, want %p", c.digest[:8], got, m.held[c.digest])
		}
		if got := m.tokens.byToken(&c.token); got != m.held[c.digest] {
			t.Fatalf("by token %s: %p, want %p", c.token, got, m.held[c.digest])
		}
	}
	for low := range byte(8) {
		digest, token := events.Hash{low, 1}, uuid.UUID{8: 255, 15: low}
		if m.digests.byDigest(&digest) != nil || m.tokens.byToken(&token) != nil {
			t.Fatal("found what was never there")
		}
	}
	for _, table := range []*table{m.digests, m.tokens} {
		slots, empty := *table.slots.Load(), 0
		for i := range slots {
			if slots[i].Load() == nil {
				empty++
			}
		}
		if table.live != len(m.held) || len(slots)-empty != table.used || 4*empty < len(slots) {
			t.Fatalf("%d live, %d used, %d empty of %d; %d are held", table.live, table.used, empty, len(slots), len(m.held))
		}
		if len(slots) > minSlots && len(slots) > 8*(len(m.made)+1) {
			t.Fatalf("%d slots for %d credentials", len(slots), len(m.made))
		}
	}
}

// The table answers as a map does, through collisions, removals and growth. Each of
// these breaks it: ending a search in byDigest at a tombstone; writing nil in remove;
// moving tombstones along in rebuild; leaving t.used as it is there.
func TestTableAnswersLikeAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &tableModel{
			digests: newTable(func(c *credential) uint64 { return digestHash(&c.digest) }),
			tokens:  newTable(func(c *credential) uint64 { return tokenHash(&c.token) }),
			held:    make(map[events.Hash]*credential),
		}
		t.Repeat(map[string]func(*rapid.T){"insert": m.insert, "replace": m.replace, "remove": m.remove, "": m.check})
	})
}

// A tombstone has the zero digest and the zero id, and is neither.
func TestTableDoesNotFindTombstones(t *testing.T) {
	digests := newTable(func(c *credential) uint64 { return digestHash(&c.digest) })
	tokens := newTable(func(c *credential) uint64 { return tokenHash(&c.token) })
	c := new(credential)
	digests.insert(c)
	tokens.insert(c)
	digests.remove(c)
	tokens.remove(c)
	if digests.byDigest(new(events.Hash)) != nil || tokens.byToken(new(uuid.UUID)) != nil {
		t.Error("a tombstone was found")
	}
}

// Tokens that come and go do not make the table grow.
func TestTableDoesNotGrowByRemovals(t *testing.T) {
	table := newTable(func(c *credential) uint64 { return digestHash(&c.digest) })
	var last *credential
	for i := range 10_000 {
		c := new(credential)
		binary.LittleEndian.PutUint64(c.digest[:], uint64(i))
		table.insert(c)
		if last != nil {
			table.remove(last)
		}
		last = c
	}
	if n := len(*table.slots.Load()); n > minSlots {
		t.Errorf("%d slots for one credential", n)
	}
}

// Whoever searches while the table grows finds what is there. Break it by storing the
// new array in table.rebuild before it is filled.
func TestTableIsReadWhileItGrows(t *testing.T) {
	table := newTable(func(c *credential) uint64 { return digestHash(&c.digest) })
	lasting := &credential{digest: events.Hash{1, 2, 3}}
	table.insert(lasting)
	var done atomic.Bool
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for !done.Load() {
				if table.byDigest(&lasting.digest) != lasting {
					t.Error("lost for a moment")
					return
				}
			}
		})
	}
	for i := range uint64(30_000) {
		c := new(credential)
		binary.LittleEndian.PutUint64(c.digest[:], (i+1)*0x9e3779b97f4a7c15)
		table.insert(c)
	}
	done.Store(true)
	wg.Wait()
}

func newTable(hash func(*credential) uint64) *table {
	t := new(table)
	t.init(hash)
	return t
}

// A name is the organization's in all of its length, wherever it is compared.
//
// Comparing only what fits into tenant.short makes this fail, and so does forgetting to
// fill it.
func TestTenantIs(t *testing.T) {
	for length := 1; length < 40; length++ {
		name := strings.Repeat("a", length)
		tenant := newTenant(name)
		if !tenant.is(name) {
			t.Errorf("a name of %d letters is not itself", length)
		}
		for _, other := range []string{"", name[1:], name + "a", name[1:] + "b", "b" + name[1:], name + "\x00"} {
			if tenant.is(other) {
				t.Errorf("%q is taken for a name of %d letters", other, length)
			}
		}
	}
	if size := reflect.TypeFor[tenant]().Size(); size > 64 {
		t.Errorf("a tenant takes %d bytes, not one line of the cache", size)
	}
}
