package oat

import (
	"math"
	"time"

	"github.com/google/uuid"
)

// Action is what somebody wants to do with a repository.
type Action uint8

// The actions. Deletion is none of them: no token ever allows it.
const (
	Pull Action = iota + 1
	Push
)

// Visibility is who may see a repository without any credentials. The zero value
// says that it is not known, and counts as private.
type Visibility uint8

// The visibilities.
const (
	VisibilityUnknown Visibility = iota
	VisibilityPrivate
	VisibilityPublic // readable by everyone in the world
)

// Grant is what a verified token opens, as of the moment it was verified. The zero
// Grant opens nothing. A Grant is for the request it was made for; one that was
// kept is made anew with [Verifier.Recheck].
type Grant struct {
	c *credential
	// anonymous marks the grant of somebody without credentials.
	anonymous bool
}

// Anonymous is what everybody may do without credentials: read public repositories.
func Anonymous() Grant { return Grant{anonymous: true} }

// Organization is the organization the token belongs to, "" for anonymous and zero
// grants.
func (g Grant) Organization() string {
	if g.c == nil {
		return ""
	}
	return g.c.tenant.name
}

// Token is the token's id, zero for anonymous and zero grants.
func (g Grant) Token() uuid.UUID {
	if g.c == nil {
		return uuid.Nil
	}
	return g.c.token
}

// Plan is the name of the organization's plan at this moment, "" when it has none.
func (g Grant) Plan() string {
	if g.c == nil {
		return ""
	}
	return *g.c.tenant.plan.Load()
}

// Expires returns when the token expires. It returns false for a token that never expires, or not
// before the year 2262, and for anonymous and zero grants.
func (g Grant) Expires() (time.Time, bool) {
	if g.c == nil || g.c.expires == math.MaxInt64 {
		return time.Time{}, false
	}
	return time.Unix(0, g.c.expires).UTC(), true
}

// Allows tells whether action may be done on repository, named "ORG/REPO". What is
// not allowed expressly is denied, and so is a name that is not spelled as
// registries spell names.
func (g Grant) Allows(action Action, repository string, v Visibility) bool {
	if !isRepository(repository) {
		return false
	}
	var level Level
	switch {
	case g.c != nil:
		level = g.c.level(repository, v)
	case g.anonymous && v == VisibilityPublic:
		level = Read
	}
	switch action {
	case Pull:
		return level >= Read
	case Push:
		return level >= ReadWrite
	}
	return false
}
