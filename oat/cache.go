package oat

import (
	"container/list"
	"context"
	"sync"
)

// cache keeps the organizations that were last worked on folded in memory. The log
// remains the judge of every command; an entry that is let go, or that two callers
// hold in two copies, costs time and nothing else.
type cache struct {
	mu      sync.Mutex
	size    int
	entries map[string]*list.Element // of *entry
	recent  *list.List               // newest first
}

// entry is one organization. Its fields but name are the lock holder's.
type entry struct {
	name  string
	held  chan struct{} // full while somebody holds the entry
	state *organization // nil when it must be read from the log
}

func newCache(size int) *cache {
	return &cache{size: size, entries: make(map[string]*list.Element), recent: list.New()}
}

func (c *cache) entry(name string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found, ok := c.entries[name]; ok {
		c.recent.MoveToFront(found)
		return found.Value.(*entry)
	}
	e := &entry{name: name, held: make(chan struct{}, 1)}
	c.entries[name] = c.recent.PushFront(e)
	return e
}

// known is a copy of what is in memory of an organization, nil when there is nothing
// or somebody works on it. It does not wait: who asks may hold, inside a transaction,
// what that somebody waits for.
func (c *cache) known(name string) *organization {
	c.mu.Lock()
	found, ok := c.entries[name]
	c.mu.Unlock()
	if !ok {
		return nil
	}
	e := found.Value.(*entry)
	select {
	case e.held <- struct{}{}:
		defer e.unlock()
	default:
		return nil
	}
	if e.state == nil {
		return nil
	}
	return e.state.clone()
}

// maxAnother bounds how many entries another looks at.
const maxAnother = 8

// another returns an entry of an organization with another name that exists, which the caller
// must unlock, and nil when none is at hand. It does not wait for one.
func (c *cache) another(name string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	looked := 0
	for other, found := range c.entries { // from a random one on
		if looked++; looked > maxAnother {
			break
		}
		if other == name {
			continue
		}
		e := found.Value.(*entry)
		select {
		case e.held <- struct{}{}:
			if e.state != nil && e.state.head.Version > 0 {
				return e
			}
			e.unlock()
		default:
		}
	}
	return nil
}

// settle makes room after a command, and not before it: a name that turned out to be
// nobody's goes first, so that commands on invented names push nothing out.
func (c *cache) settle(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.state == nil || e.state.head.Version == 0 {
		c.drop(c.entries[e.name])
	}
	for c.recent.Len() > c.size {
		c.drop(c.recent.Back())
	}
}

func (c *cache) drop(found *list.Element) {
	if found != nil {
		delete(c.entries, c.recent.Remove(found).(*entry).name)
	}
}

// lock waits for the entry as long as ctx allows.
func (e *entry) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case e.held <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *entry) unlock() { <-e.held }
