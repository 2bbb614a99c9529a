package projection_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/projection/projtest"
)

// BenchmarkLargeOrganization is what queries cost on one organization with some
// 25,000 tokens and 100,000 entries in its history.
func BenchmarkLargeOrganization(b *testing.B) {
	w := projtest.NewWorld(1, 1, 250_000)
	all, name := newEverything(), w.Organizations[0]
	for _, p := range all.list() {
		if err := p.Apply(context.Background(), w.Records); err != nil {
			b.Fatal(err)
		}
	}
	at, id := w.Instants[len(w.Instants)/2], uuid.MustParse(w.Tokens[name][7])
	for query, ask := range map[string]func(){
		"count":              func() { all.counts.Of(name, at) },
		"get":                func() { all.tokens.Get(name, id, at) },
		"list/created":       func() { all.tokens.List(name, projection.Query{At: at, PageSize: 50}) },
		"list/label":         func() { all.tokens.List(name, projection.Query{At: at, PageSize: 50, Sort: projection.ByLabel}) },
		"list/search":        func() { all.tokens.List(name, projection.Query{At: at, PageSize: 50, Label: "größe"}) },
		"story/newest":       func() { all.history.Organization(name, projection.Span{Descending: true, PageSize: 50}) },
		"story/token":        func() { all.history.Token(name, id, projection.Span{}) },
		"story/token at":     func() { all.history.TokenAt(name, id, at) },
		"story/all at":       func() { all.history.TokensAt(name, at) },
		"story/organization": func() { all.history.OrganizationAt(name, at.Add(time.Hour)) },
	} {
		b.Run(query, func(b *testing.B) {
			for b.Loop() {
				ask()
			}
		})
	}
}
