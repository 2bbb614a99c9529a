package projection

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"time"
)

// Order is what a list of tokens is sorted by. Tokens that are equal in it are
// sorted by id, so that every order is total and pages never overlap.
type Order string

// The orders of a list.
const (
	ByCreated  Order = "created"  // oldest first
	ByModified Order = "modified" // longest unchanged first
	ByExpires  Order = "expires"  // next to expire first, those that never do last
	ByLabel    Order = "label"    // letter case aside
)

// Query says which tokens of an organization to list, and how. The zero Query is
// all of them, oldest first, as they were before any of them expired.
type Query struct {
	// At is the instant whose states are shown and filtered by.
	At time.Time
	// States are the states to list; none means every state.
	States []State
	// Label is a part that the label must have, letter case aside.
	Label string
	// Sort is the order, [ByCreated] when it is empty or none of the orders.
	Sort Order
	// Descending turns the whole order around, ids included.
	Descending bool
	// Page counts from 1; what is below is the first page.
	Page int
	// PageSize is how many tokens make a page; what is below 1 is one page with
	// everything.
	PageSize int
}

// Page is a part of a list.
type Page struct {
	Total  int     `json:"total"` // how many there are on all pages
	Tokens []Token `json:"tokens"`
}

// List is a page of an organization's tokens. An organization that does not exist
// has none.
//
// It looks at every token of the organization, and sorts the ones it found; the
// lock is held for the first part only.
func (t *Tokens) List(organization string, q Query) Page {
	found := q.filter(t.all(organization))
	q.sort(found)
	from, to := cut(len(found), q.Page, q.PageSize)
	page := Page{Total: len(found), Tokens: make([]Token, 0, to-from)}
	for _, token := range found[from:to] {
		page.Tokens = append(page.Tokens, token.asOf(q.At))
	}
	return page
}

func (q *Query) filter(tokens []*listed) []*listed {
	label := strings.ToLower(q.Label)
	return slices.DeleteFunc(tokens, func(t *listed) bool {
		return len(q.States) > 0 && !slices.Contains(q.States, t.StateAt(q.At)) || !strings.Contains(t.lower, label)
	})
}

func (q *Query) sort(tokens []*listed) {
	compare := q.Sort.comparison()
	slices.SortFunc(tokens, func(a, b *listed) int {
		if q.Descending {
			a, b = b, a
		}
		return cmp.Or(compare(a, b), bytes.Compare(a.ID[:], b.ID[:]))
	})
}

func (o Order) comparison() func(a, b *listed) int {
	switch o {
	case ByLabel:
		return compareLabels
	case ByExpires:
		return compareExpiries
	case ByModified:
		return func(a, b *listed) int { return a.ModifiedAt.Compare(b.ModifiedAt) }
	}
	return func(a, b *listed) int { return a.CreatedAt.Compare(b.CreatedAt) }
}

// compareLabels has labels that differ in letter case only next to each other, and
// still in an order of their own.
func compareLabels(a, b *listed) int {
	return cmp.Or(strings.Compare(a.lower, b.lower), strings.Compare(a.Label, b.Label))
}

func compareExpiries(a, b *listed) int {
	switch never, other := a.ExpiresAt == "", b.ExpiresAt == ""; {
	case never && other:
		return 0
	case never:
		return 1
	case other:
		return -1
	}
	return a.Expires.Compare(b.Expires)
}

// cut is the range of a page within n things.
func cut(n, page, size int) (from, to int) {
	if size < 1 {
		size = max(n, 1)
	}
	page = max(page, 1)
	if page-1 > n/size { // also keeps the product below from overflowing
		return n, n
	}
	from = min((page-1)*size, n)
	return from, from + min(size, n-from)
}
