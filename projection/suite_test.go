package projection_test

import (
	"testing"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/projection/projtest"
)

// I3 on the level of projections: however the records come, the answers are the
// same. To see it fail, let feed.take not skip records at or below its position
// (redelivery), let it leave the position where it was after an error (unknown type,
// damaged record), or let kindOf take foreign streams for decisions.

func TestTokensSatisfiesProjtest(t *testing.T) {
	projtest.Run(t, projtest.Harness[*projection.Tokens]{
		New:  func(testing.TB) *projection.Tokens { return projection.NewTokens() },
		Dump: dumpTokens,
	})
}

func TestCountsSatisfiesProjtest(t *testing.T) {
	projtest.Run(t, projtest.Harness[*projection.Counts]{
		New:  func(testing.TB) *projection.Counts { return projection.NewCounts(nil) },
		Dump: dumpCounts,
	})
}

func TestLastUsedSatisfiesProjtest(t *testing.T) {
	projtest.Run(t, projtest.Harness[*projection.LastUsed]{
		New:  func(testing.TB) *projection.LastUsed { return projection.NewLastUsed() },
		Dump: dumpLastUsed,
	})
}

func TestDailySatisfiesProjtest(t *testing.T) {
	projtest.Run(t, projtest.Harness[*projection.Daily]{
		New:  func(testing.TB) *projection.Daily { return projection.NewDaily(3) },
		Dump: dumpDaily,
	})
}

func TestHistorySatisfiesProjtest(t *testing.T) {
	projtest.Run(t, projtest.Harness[*projection.History]{
		New:  func(testing.TB) *projection.History { return projection.NewHistory() },
		Dump: dumpHistory,
	})
}

func dumpTokens(p *projection.Tokens, w projtest.World) any {
	dump := []any{p.Organizations()}
	for _, organization := range w.Organizations {
		facts, known := p.Organization(organization)
		dump = append(dump, facts, known)
		for _, at := range w.Instants {
			dump = append(dump, p.List(organization, projection.Query{At: at}))
		}
		for _, id := range w.Tokens[organization] {
			token, found := p.Get(organization, uuid.MustParse(id), w.Instants[len(w.Instants)/2])
			dump = append(dump, token, found)
		}
	}
	return dump
}

func dumpCounts(p *projection.Counts, w projtest.World) any {
	var dump []any
	for _, organization := range w.Organizations {
		for _, at := range w.Instants {
			count, found := p.Of(organization, at)
			dump = append(dump, count, found)
		}
	}
	return dump
}

func dumpLastUsed(p *projection.LastUsed, w projtest.World) any {
	var dump []any
	for _, organization := range w.Organizations {
		for _, owner := range w.Organizations { // asked for the tokens of others, too
			for _, id := range w.Tokens[owner] {
				usage, found := p.Of(organization, uuid.MustParse(id))
				dump = append(dump, usage, found)
			}
		}
	}
	return dump
}

func dumpDaily(p *projection.Daily, w projtest.World) any {
	var dump []any
	for _, organization := range w.Organizations {
		for _, owner := range w.Organizations { // asked for the tokens of others, too
			for _, id := range w.Tokens[owner] {
				dump = append(dump, p.Of(organization, uuid.MustParse(id), w.Instants[len(w.Instants)-1], 60))
			}
		}
	}
	return dump
}

func dumpHistory(p *projection.History, w projtest.World) any {
	var dump []any
	for _, organization := range w.Organizations {
		dump = append(dump, p.Organization(organization, projection.Span{}))
		for _, id := range w.Tokens[organization] {
			dump = append(dump, p.Token(organization, uuid.MustParse(id), projection.Span{}))
		}
		for _, at := range w.Instants {
			facts, known := p.OrganizationAt(organization, at)
			dump = append(dump, facts, known, p.TokensAt(organization, at))
		}
	}
	return dump
}
