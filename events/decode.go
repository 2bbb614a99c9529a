package events

// cursor reads JSON in exactly the layout that Encode writes: fields in the order
// of the Go type, no white space. Its methods report whether what they met was
// that; after a false the cursor is of no more use. It accepts nothing that
// encoding/json reads differently, which a fuzz test holds it to.
//
// The strings it yields share one copy of the input. Together with the payload, that
// makes two allocations for most events, which is half of what reading them costs.
type cursor struct {
	data []byte
	text string // the same bytes; strings are cut from here, and only they need it
	i    int    // of the next byte
}

func newCursor(data []byte) cursor { return cursor{data: data, text: string(data)} }

// payload reads an event of the named type. It returns false for what is not in the
// layout, and for a type that has no quick path.
func (c *cursor) payload(eventType string) (Payload, bool) {
	switch eventType {
	case TypeOrganizationRegistered:
		p := new(OrganizationRegistered)
		return p, c.skip(`{"plan":`) && c.string(&p.Plan) && c.skip(`,"owners":`) && c.strings(&p.Owners, nil) && c.end(`}`)
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
	return c.skip(field) && c.string(into) && c.end(`}`)
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
		c.skip(`,"resources":`) && c.resources(&p.Resources, block.resources[:0:1], block.scopes[:0:2]) && c.end(`}`)
}

func (c *cursor) edited() (Payload, bool) {
	p := new(TokenEdited)
	return p, c.skip(`{"token":`) && c.string(&p.Token) &&
		(!c.skip(`,"label":`) || c.optional(&p.Label)) &&
		(!c.skip(`,"description":`) || c.optional(&p.Description)) &&
		(!c.skip(`,"resources":`) || c.resources(&p.Resources, nil, nil)) && c.end(`}`)
}

// resources reads a list of them, the first into room and its scopes into scopes, as
// far as there is any.
func (c *cursor) resources(into *[]Resource, room []Resource, scopes []string) bool {
	if !c.skip(`[`) {
		return false
	}
	for list := nonNil(room); ; scopes = nil {
		if !c.more(len(list)) {
			*into = list[:len(list):len(list)]
			return c.skip(`]`)
		}
		list = append(list, Resource{})
		r := &list[len(list)-1]
		if !(c.skip(`{"type":`) && c.string(&r.Type) && c.skip(`,"path":`) && c.string(&r.Path) &&
			c.skip(`,"scopes":`) && c.strings(&r.Scopes, scopes) && c.skip(`}`)) {
			return false
		}
	}
}

// strings reads a list of strings into room, or elsewhere if that is too small. Lists
// have no spare capacity, so that readers who share one cannot append into it.
func (c *cursor) strings(into *[]string, room []string) bool {
	if !c.skip(`[`) {
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
	return c.skip(`]`)
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
	return c.skip(`,`)
}

// skip moves past literal if it comes next.
func (c *cursor) skip(literal string) bool {
	if len(c.data)-c.i < len(literal) || string(c.data[c.i:c.i+len(literal)]) != literal {
		return false
	}
	c.i += len(literal)
	return true
}

// end is skip for what must be the last.
func (c *cursor) end(literal string) bool { return c.skip(literal) && c.i == len(c.data) }
