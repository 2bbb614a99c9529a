package invariants

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/oatmill/oatmill/events"
)

// state is one organization as the rules see it at some version of its stream. It is
// never changed; every record makes another.
type state struct {
	registered bool
	plan       string
	owners     []string
	tokens     map[string]token // that are not deleted, by id
	deleted    map[string]bool
}

type token struct {
	id, label, description string
	createdBy              string
	createdAt              string
	digest                 string
	expires                string // as recorded, "" for never
	resources              []events.Resource
	inactive               bool
	version                events.Version // of the last record about it
}

// expired tells whether the token has expired at now: at the very instant it has.
func (k token) expired(now time.Time) bool {
	if k.expires == "" {
		return false
	}
	at, err := time.Parse(time.RFC3339Nano, k.expires)
	return err != nil || !now.Before(at)
}

// changeable tells whether anything but Delete may be done to the token at now.
func (k token) changeable(now time.Time) bool { return !k.inactive && !k.expired(now) }

// fact is the data of every event there is.
type fact struct {
	Plan        string
	Owners      []string
	Owner       string
	Token       string
	Label       *string
	Description *string
	Digest      string
	ExpiresAt   string `json:"expires_at"`
	Resources   []events.Resource
}

// read is the data of a record.
func read(r events.Recorded) (f fact, err error) {
	if err = json.Unmarshal(r.Data, &f); err != nil {
		err = fmt.Errorf("%s at %d: %w", r.Stream, r.Version, err)
	}
	return f, err
}

// after is the state that the record makes of s.
func (s state) after(r events.Recorded) (state, error) {
	f, err := read(r)
	if err != nil {
		return s, err
	}
	s.owners, s.tokens, s.deleted = slices.Clone(s.owners), maps.Clone(s.tokens), maps.Clone(s.deleted)
	switch r.Type {
	case "organization.registered.v1":
		s = state{registered: true, plan: f.Plan, owners: f.Owners, tokens: map[string]token{}, deleted: map[string]bool{}}
	case "organization.plan_changed.v1":
		s.plan = f.Plan
	case "organization.owner_added.v1":
		s.owners = append(s.owners, f.Owner)
	case "organization.owner_removed.v1":
		s.owners = slices.DeleteFunc(s.owners, func(o string) bool { return o == f.Owner })
	case "token.generated.v1":
		s.tokens[f.Token] = generated(r, f)
	case "token.edited.v1":
		k := s.tokens[f.Token].edited(f)
		k.version = r.Version
		s.tokens[f.Token] = k
	case "token.deactivated.v1":
		k := s.tokens[f.Token]
		k.inactive, k.version = true, r.Version
		s.tokens[f.Token] = k
	case "token.deleted.v1":
		delete(s.tokens, f.Token)
		s.deleted[f.Token] = true
	default:
		return s, fmt.Errorf("%s at %d: %q is no event of an organization", r.Stream, r.Version, r.Type)
	}
	return s, nil
}

func generated(r events.Recorded, f fact) token {
	k := token{id: f.Token, createdBy: r.Actor, createdAt: r.Time.Format(time.RFC3339Nano), digest: f.Digest, expires: f.ExpiresAt, resources: f.Resources, version: r.Version}
	return k.edited(f)
}

func (k token) edited(f fact) token {
	if f.Label != nil {
		k.label = *f.Label
	}
	if f.Description != nil {
		k.description = *f.Description
	}
	if f.Resources != nil {
		k.resources = f.Resources
	}
	return k
}

// breaksI1 says how a record that follows on s exceeds the limit of the plan, ""
// when it does not.
func (r *rules) breaksI1(s state, record events.Recorded) string {
	if limit := r.limits[s.plan]; record.Type == "token.generated.v1" && len(s.tokens) >= limit {
		return fmt.Sprintf("%s at %d: generated beside %d tokens, the limit of %q is %d", record.Stream, record.Version, len(s.tokens), s.plan, limit)
	}
	return ""
}

// breaksI2 says how a record that follows on s changes a token that can only be
// deleted, or one that is deleted. The clock that decided is the one the record was
// stamped with.
func breaksI2(s state, record events.Recorded) string {
	f, err := read(record)
	if err != nil {
		return err.Error()
	}
	k, exists := s.tokens[f.Token]
	switch record.Type {
	case "token.edited.v1", "token.deactivated.v1":
		if !exists || !k.changeable(record.Time) {
			return fmt.Sprintf("%s at %d: %s of %s, exists %t, inactive %t, expires %q, at %s",
				record.Stream, record.Version, record.Type, f.Token, exists, k.inactive, k.expires, record.Time)
		}
	case "token.deleted.v1":
		if !exists {
			return fmt.Sprintf("%s at %d: %s deleted again", record.Stream, record.Version, f.Token)
		}
	case "token.generated.v1":
		if exists || s.deleted[f.Token] {
			return fmt.Sprintf("%s at %d: %s generated again", record.Stream, record.Version, f.Token)
		}
	}
	return ""
}
