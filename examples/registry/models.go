package main

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
)

// models are the read models. A command folds them from the whole log, which takes
// about a second for a million records, and needs nothing stored beside the log.
type models struct {
	tokens   *projection.Tokens
	counts   *projection.Counts
	lastUsed *projection.LastUsed
	history  *projection.History
}

func newModels() *models {
	return &models{
		tokens:   projection.NewTokens(),
		counts:   projection.NewCounts(nil),
		lastUsed: projection.NewLastUsed(),
		history:  projection.NewHistory(),
	}
}

// fold takes the models to the end of the log.
func (m *models) fold(ctx context.Context, log events.Log, progress func(projection.Progress)) error {
	runner, err := projection.NewRunner(projection.RunnerConfig{
		Log:         log,
		Projections: []projection.Projection{m.tokens, m.counts, m.lastUsed, m.history},
		Progress:    progress,
	})
	if err != nil {
		return err
	}
	return runner.CatchUp(ctx)
}

// tokenView is a token with its use.
type tokenView struct {
	projection.Token
	LastUsedAt time.Time      `json:"last_used_at,omitzero"`
	Accepted   events.UseSpan `json:"accepted,omitzero"`
	Refused    events.UseSpan `json:"refused,omitzero"`
}

// tokenList is an organization's tokens, and how many there are.
type tokenList struct {
	projection.Count
	Tokens []tokenView `json:"tokens"`
}

func (m *models) list(organization string, now time.Time) (*tokenList, error) {
	count, ok := m.counts.Of(organization, now)
	if !ok {
		return nil, unknownOrganization(organization)
	}
	list := &tokenList{Count: count, Tokens: []tokenView{}}
	for _, token := range m.tokens.List(organization, projection.Query{At: now}).Tokens {
		list.Tokens = append(list.Tokens, m.view(token))
	}
	return list, nil
}

func (m *models) token(organization string, id uuid.UUID, now time.Time) (*tokenView, error) {
	if _, ok := m.tokens.Organization(organization); !ok {
		return nil, unknownOrganization(organization)
	}
	token, ok := m.tokens.Get(organization, id, now)
	if !ok {
		return nil, fmt.Errorf("%w: %s of %s", oat.ErrTokenNotFound, id, organization)
	}
	view := m.view(token)
	return &view, nil
}

func (m *models) view(token projection.Token) tokenView {
	usage, _ := m.lastUsed.Of(token.Organization, token.ID)
	return tokenView{Token: token, LastUsedAt: usage.Accepted.Last, Accepted: usage.Accepted, Refused: usage.Refused}
}

func unknownOrganization(name string) error {
	return fmt.Errorf("%w: %s", oat.ErrOrganizationNotFound, name)
}
