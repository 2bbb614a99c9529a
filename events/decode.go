package events

import (
	"encoding/binary"
	"slices"
)

// cursor reads JSON in exactly the layout that Encode writes: fields in the order
// of the Go type, no white space. Its methods report whether what they met was
// that; after a false the cursor is of no more use. It accepts nothing that
// encoding/json reads differently, which a fuzz test holds it to.
//
// Each text it yields is a copy of its own. To cut them from one copy of all the data
// takes fewer allocations, and keeps all of it for as long as a reader keeps any.
type cursor struct {
	data []byte
	i    int // of the next byte
}

// payload reads an event of the named type. It returns false for what is not in the
// layout, and for a type that has no quick path.
func (c *cursor) payload(eventType string) (Payload, bool) {
	switch eventType {
	case TypeOrganizationRegistered:
		p := new(OrganizationRegistered)
		return p, c.skip(`{"plan":`) && c.string(&p.Plan) && c.skip(`,"owners":`) && c.strings(&p.Owners, nil) && c.end('}')
	case TypeOrganizationPlanChanged:
		p := new(OrganizationPlanChanged)
		return p, c.only(`{"plan":`, &p.Plan)
	case TypeOrganizationOwnerAdded:
		p := new(OrganizationOwnerAdded)
		return p, c.only(`{"owner":`, &p.Owner)
	case TypeOrganizationOwnerRemoved:
		p := new(OrganizationOwnerRemoved)
		return p, c.only(`{"owner":`, &p.Owner)
	case TypeTokenGenerated:
		return c.generated()
	case TypeTokenEdited:
		return c.edited()
	case TypeTokenDeactivated:
		p := new(TokenDeactivated)
		return p, c.only(`{"token":`, &p.Token)
	case TypeTokenDeleted:
		p := new(TokenDeleted)
		return p, c.only(`{"token":`, &p.Token)
	case TypeUsageRecorded:
		return c.usageRecorded()
	}
	return nil, false
}

func (c *cursor) only(field string, into *string) bool {
	return c.skip(field) && c.string(into) && c.end('}')
}

func (c *cursor) generated() (Payload, bool) {
	// Most tokens reach one resource, which is allocated with them.
	block := new(struct {
		TokenGenerated
		resources [1]Resource
		scopes    [2]string
	})
	p := &block.TokenGenerated
	return p, c.skip(`{"token":`) && c.string(&p.Token) &&
		c.skip(`,"label":`) && c.string(&p.Label) &&
		(!c.skip(`,"description":`) || c.string(&p.Description)) &&
		c.skip(`,"digest":`) && c.hash(&p.Digest) &&
		(!c.skip(`,"expires_at":`) || c.string(&p.ExpiresAt)) &&
		c.skip(`,"resources":`) && c.resources(&p.Resources, block.resources[:0:1], block.scopes[:0:2]) && c.end('}')
}

func (c *cursor) edited() (Payload, bool) {
	block := new(struct {
		TokenEdited
		label, description string
	})
	p := &block.TokenEdited
	return p, c.skip(`{"token":`) && c.string(&p.Token) &&
		(!c.skip(`,"label":`) || c.optional(&p.Label, &block.label)) &&
		(!c.skip(`,"description":`) || c.optional(&p.Description, &block.description)) &&
		(!c.skip(`,"resources":`) || c.resources(&p.Resources, nil, nil)) && c.end('}')
}

// resources reads a list of them into room and their scopes into scopes, or elsewhere
// if these are too small.
func (c *cursor) resources(into *[]Resource, room []Resource, scopes []string) bool {
	if !c.next('[') {
		return false
	}
	list := nonNil(room)
	for c.more(len(list)) {
		if len(list) == cap(list) {
			list, scopes = slices.Grow(list, 3), make([]string, 0, 6)
		}
		list = append(list, Resource{})
		r := &list[len(list)-1]
		if !(c.skip(`{"type":`) && c.string(&r.Type) && c.skip(`,"path":`) && c.string(&r.Path) &&
			c.skip(`,"scopes":`) && c.strings(&r.Scopes, scopes) && c.next('}')) {
			return false
		}
		used := min(len(r.Scopes), cap(scopes))
		scopes = scopes[used:used]
	}
	*into = list[:len(list):len(list)]
	return c.next(']')
}

// strings reads a list of strings into room, or elsewhere if that is too small. Lists
// have no spare capacity, so that readers who share one cannot append into it.
func (c *cursor) strings(into *[]string, room []string) bool {
	if !c.next('[') {
		return false
	}
	list := nonNil(room)
	for c.more(len(list)) {
		list = append(list, "")
		if !c.string(&list[len(list)-1]) {
			return false
		}
	}
	*into = list[:len(list):len(list)]
	return c.next(']')
}

// nonNil keeps an empty list from being nil, as encoding/json does.
func nonNil[T any](room []T) []T {
	if room == nil {
		return []T{}
	}
	return room
}

// more tells whether a list of which n elements were read goes on, and moves to the
// next element.
func (c *cursor) more(n int) bool {
	if n == 0 {
		return c.i < len(c.data) && c.data[c.i] != ']'
	}
	return c.next(',')
}

// skip moves past literal if it comes next. Half of an event is names of fields, of 8 to
// 16 bytes, which two comparisons of eight bytes tell without a call.
func (c *cursor) skip(literal string) bool {
	rest, n := c.data[c.i:], len(literal)
	if len(rest) < n {
		return false
	}
	if n < 8 || n > 16 {
		if string(rest[:n]) != literal {
			return false
		}
	} else if binary.LittleEndian.Uint64(rest) != eight(literal) || binary.LittleEndian.Uint64(rest[n-8:]) != eight(literal[n-8:]) {
		return false
	}
	c.i += n
	return true
}

// eight is the first eight bytes of s as a number.
func eight(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// next moves past a byte if it comes next.
func (c *cursor) next(b byte) bool {
	if c.i >= len(c.data) || c.data[c.i] != b {
		return false
	}
	c.i++
	return true
}

// end tells whether b comes next, and nothing after it.
func (c *cursor) end(b byte) bool { return c.next(b) && c.i == len(c.data) }
