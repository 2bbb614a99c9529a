package events

import (
	"encoding/hex"
	"strconv"
	"time"
	"unicode/utf8"
)

// cursor reads JSON in exactly the layout that Encode writes: fields in the order
// of the Go type, no white space. Its methods report whether what they met was
// that; after a false the cursor is of no more use. It accepts nothing that
// encoding/json reads differently, which a fuzz test holds it to.
//
// The strings it yields share one copy of the input.
type cursor struct {
	s string
	i int
}

// payload reads p's type. It returns false for what is not in the layout, and for
// a payload type that has no quick path.
func (c *cursor) payload(p Payload) bool {
	switch p := p.(type) {
	case *OrganizationRegistered:
		return c.skip(`{"plan":`) && c.text(&p.Plan) && c.skip(`,"owners":`) && c.texts(&p.Owners) && c.skip(`}`)
	case *OrganizationPlanChanged:
		return c.only(`{"plan":`, &p.Plan)
	case *OrganizationOwnerAdded:
		return c.only(`{"owner":`, &p.Owner)
	case *OrganizationOwnerRemoved:
		return c.only(`{"owner":`, &p.Owner)
	case *TokenGenerated:
		return c.generated(p)
	case *TokenEdited:
		return c.edited(p)
	case *TokenDeactivated:
		return c.only(`{"token":`, &p.Token)
	case *TokenDeleted:
		return c.only(`{"token":`, &p.Token)
	case *UsageRecorded:
		return c.skip(`{"uses":`) && list(c, &p.Uses, c.use) && c.skip(`}`)
	}
	return false
}

func (c *cursor) only(field string, into *string) bool {
	return c.skip(field) && c.text(into) && c.skip(`}`)
}

func (c *cursor) generated(p *TokenGenerated) bool {
	return c.skip(`{"token":`) && c.text(&p.Token) &&
		c.skip(`,"label":`) && c.text(&p.Label) &&
		(!c.skip(`,"description":`) || c.text(&p.Description)) &&
		c.skip(`,"digest":`) && c.hash(&p.Digest) &&
		(!c.skip(`,"expires_at":`) || c.text(&p.ExpiresAt)) &&
		c.skip(`,"resources":`) && list(c, &p.Resources, c.resource) && c.skip(`}`)
}

func (c *cursor) edited(p *TokenEdited) bool {
	return c.skip(`{"token":`) && c.text(&p.Token) &&
		(!c.skip(`,"label":`) || c.optional(&p.Label)) &&
		(!c.skip(`,"description":`) || c.optional(&p.Description)) &&
		(!c.skip(`,"resources":`) || list(c, &p.Resources, c.resource)) && c.skip(`}`)
}

func (c *cursor) resource(r *Resource) bool {
	return c.skip(`{"type":`) && c.text(&r.Type) && c.skip(`,"path":`) && c.text(&r.Path) &&
		c.skip(`,"scopes":`) && c.texts(&r.Scopes) && c.skip(`}`)
}

func (c *cursor) use(u *Use) bool {
	return c.skip(`{"token":`) && c.text(&u.Token) &&
		(!c.skip(`,"accepted":`) || c.span(&u.Accepted)) &&
		(!c.skip(`,"refused":`) || c.span(&u.Refused)) && c.skip(`}`)
}

func (c *cursor) span(into **UseSpan) bool {
	s := new(UseSpan)
	*into = s
	return c.skip(`{"first":`) && c.instant(&s.First) && c.skip(`,"last":`) && c.instant(&s.Last) &&
		c.skip(`,"count":`) && c.count(&s.Count) &&
		(!c.skip(`,"cause":`) || c.text(&s.Cause)) &&
		(!c.skip(`,"address":`) || c.text(&s.Address)) &&
		(!c.skip(`,"user_agent":`) || c.text(&s.UserAgent)) && c.skip(`}`)
}

// skip moves past literal if it comes next.
func (c *cursor) skip(literal string) bool {
	if len(c.s)-c.i < len(literal) || c.s[c.i:c.i+len(literal)] != literal {
		return false
	}
	c.i += len(literal)
	return true
}

// raw moves past a string without escapes and yields what is between its quotes.
// A string with escapes is none for the cursor, and neither is one that is not
// UTF-8, which encoding/json would mend.
func (c *cursor) raw() (string, bool) {
	if c.i >= len(c.s) || c.s[c.i] != '"' {
		return "", false
	}
	start, ascii := c.i+1, true
	for i := start; i < len(c.s); i++ {
		switch b := c.s[i]; {
		case b == '"':
			c.i = i + 1
			return c.s[start:i], ascii || utf8.ValidString(c.s[start:i])
		case b == '\\' || b < ' ':
			return "", false
		case b >= utf8.RuneSelf:
			ascii = false
		}
	}
	return "", false
}

func (c *cursor) text(into *string) (ok bool) {
	*into, ok = c.raw()
	return ok
}

func (c *cursor) optional(into **string) bool {
	*into = new(string)
	return c.text(*into)
}

func (c *cursor) texts(into *[]string) bool { return list(c, into, c.text) }

func (c *cursor) hash(into *Hash) bool {
	s, ok := c.raw()
	if !ok || len(s) != 2*len(into) {
		return false
	}
	// hex.Decode takes a byte slice; this one stays on the stack.
	var digits [2 * len(Hash{})]byte
	copy(digits[:], s)
	_, err := hex.Decode(into[:], digits[:])
	return err == nil
}

// instant reads a time in UTC, as Encode writes all of them.
func (c *cursor) instant(into *time.Time) bool {
	s, ok := c.raw()
	if !ok || len(s) == 0 || s[len(s)-1] != 'Z' {
		return false
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	*into = t
	return err == nil && len(s) >= len("2006-01-02T15:04:05Z") && s[19] != ','
}

// count reads a whole number of at most 18 digits without a sign.
func (c *cursor) count(into *int64) bool {
	start := c.i
	for c.i < len(c.s) && '0' <= c.s[c.i] && c.s[c.i] <= '9' {
		c.i++
	}
	digits := c.s[start:c.i]
	if len(digits) == 0 || len(digits) > 18 || len(digits) > 1 && digits[0] == '0' {
		return false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	*into = n
	return err == nil
}

// list reads a JSON array with element. An empty one is not nil, as in
// encoding/json.
func list[T any](c *cursor, into *[]T, element func(*T) bool) bool {
	if !c.skip(`[`) {
		return false
	}
	*into = []T{}
	if c.skip(`]`) {
		return true
	}
	for {
		var e T
		if !element(&e) {
			return false
		}
		*into = append(*into, e)
		if c.skip(`]`) {
			return true
		}
		if !c.skip(`,`) {
			return false
		}
	}
}
