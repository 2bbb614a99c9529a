package projtest

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/oatmill/oatmill/events"
)

// usable is a token that may be edited or deactivated, nil when none of a few
// that were looked at may.
func (g *generator) usable(o *organization) *token {
	for range 4 {
		if len(o.tokens) == 0 {
			return nil
		}
		if t := o.tokens[g.IntN(len(o.tokens))]; t.usable(g.clock) {
			return t
		}
	}
	return nil
}

// id is an event's ID.
func (g *generator) id() (id [16]byte) {
	binary.BigEndian.PutUint64(id[:8], g.Uint64())
	binary.BigEndian.PutUint64(id[8:], g.Uint64())
	return id
}

func (g *generator) uuid() string {
	id := g.id()
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

func (g *generator) digest() (h events.Hash) {
	first, second := g.id(), g.id()
	copy(h[:], slices.Concat(first[:], second[:]))
	return h
}

// label is another one than old. It repeats itself often, so that orders by label
// need their tie-break.
func (g *generator) label(old string) string {
	return g.other(old, "ci", "CI", "Deploy", "deploy", "deploy x", "Größe", `"quoted"`, "backup <nightly>")
}

// other is one of the choices that is not old.
func (g *generator) other(old string, choices ...string) string {
	for {
		if choice := choices[g.IntN(len(choices))]; choice != old {
			return choice
		}
	}
}

func (g *generator) description() string {
	if g.IntN(2) == 0 {
		return ""
	}
	return fmt.Sprintf("made at %s", g.clock.Format(time.TimeOnly))
}

func (g *generator) resources(o *organization) []events.Resource {
	pull, push := []string{"scope-image-pull"}, []string{"scope-image-pull", "scope-image-push"}
	switch g.IntN(4) {
	case 0:
		return []events.Resource{{Type: "TYPE_REPO", Path: "*/*/public", Scopes: pull}}
	case 1:
		return []events.Resource{{Type: "TYPE_REPO", Path: o.name + "/*", Scopes: push}}
	}
	list := make([]events.Resource, 1+g.IntN(3))
	for i := range list {
		scopes := [][]string{pull, push}[g.IntN(2)]
		list[i] = events.Resource{Type: "TYPE_REPO", Path: fmt.Sprintf("%s/repo-%d", o.name, g.IntN(20)), Scopes: scopes}
	}
	return list
}

// expiry is none, soon or late, and written in one of several ways to say the same
// instant.
func (g *generator) expiry() (text string, expires time.Time) {
	switch g.IntN(4) {
	case 0:
		return "", time.Time{}
	case 1:
		expires = g.clock.Add(time.Duration(1 + g.Int64N(int64(2*time.Hour))))
	default:
		expires = g.clock.Add(time.Duration(1 + g.Int64N(int64(90*24*time.Hour))))
	}
	zones := []*time.Location{time.UTC, time.FixedZone("", 5*3600+1800), time.FixedZone("", -8*3600)}
	if g.IntN(2) == 0 {
		expires = expires.Truncate(time.Second).Add(time.Second)
	}
	g.expiries = append(g.expiries, expires)
	return expires.In(zones[g.IntN(len(zones))]).Format(time.RFC3339Nano), expires
}

// instants chooses what is worth asking about.
func (g *generator) instants() {
	list := []time.Time{{}, epoch.Add(-time.Hour), g.clock, g.clock.AddDate(1, 0, 0)}
	for range 8 {
		list = append(list, g.world.Records[g.IntN(len(g.world.Records))].Time)
		if n := len(g.expiries); n > 0 {
			at := g.expiries[g.IntN(n)]
			list = append(list, at, at.Add(-1))
		}
	}
	slices.SortFunc(list, time.Time.Compare)
	g.world.Instants = list
}
