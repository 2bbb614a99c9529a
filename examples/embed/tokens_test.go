package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

// As many transactions at once as the pool has connections, and more, do not wait for
// each other for ever. Breaks when Within is given no owners,
// so that the backend's pool is asked for another connection.
func TestManyCreateAtOnce(t *testing.T) {
	p := newProcess(t)
	small, err := openBackend(t.Context(), withParameter(address(t), "pool_max_conns=2"), p.schema)
	noError(t, err)
	t.Cleanup(small.close)
	tokens, err := addTokens(t.Context(), small)
	noError(t, err)
	t.Cleanup(func() { noError(t, tokens.close()) })

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var work sync.WaitGroup
	for i := range 8 {
		work.Go(func() {
			name := fmt.Sprintf("acme/many-%d", i)
			_, secret, err := tokens.createRepository(ctx, "alice", repository{"acme", name, "private"})
			if err != nil {
				t.Error(err)
				return
			}
			grant, err := tokens.verifier.Verify(ctx, oat.Attempt{Organization: "acme", Secret: secret})
			if err != nil || !grant.Allows(oat.Push, name, oat.VisibilityPrivate) {
				t.Errorf("the token of %s does not open it: %v", name, err)
			}
		})
	}
	work.Wait()
}

// withParameter is an address with one parameter more, in the form that it has.
func withParameter(address, parameter string) string {
	switch {
	case !strings.Contains(address, "://"):
		return address + " " + parameter
	case strings.Contains(address, "?"):
		return address + "&" + parameter
	}
	return address + "?" + parameter
}

// A repository whose token is refused is not made, whatever the token is refused for.
func TestNoRepositoryWithoutToken(t *testing.T) {
	p := newProcess(t)
	long := "acme/" + strings.Repeat("x", oat.MaxLabel)
	for _, c := range []struct {
		user, name string
		want       error
	}{
		{"bob", "acme/a", oat.ErrNotOwner},
		{"", "acme/a", oat.ErrInvalid},
		{"alice", "globex/a", oat.ErrInvalid}, // named after another organization
		{"alice", long, oat.ErrInvalid},       // makes too long a label
	} {
		_, secret, err := p.createRepository(t.Context(), c.user, repository{"acme", c.name, "private"})
		if !errors.Is(err, c.want) || secret.Reveal() != "" {
			t.Errorf("%s creates %.20s: %v, want %v", c.user, c.name, err, c.want)
		}
		p.wantRepository(t, c.name, false)
	}
	for i := range quota.Docker()[quota.Team].Tokens {
		_, _, err := p.createRepository(t.Context(), "alice", repository{"acme", fmt.Sprintf("acme/r%d", i), "private"})
		noError(t, err)
	}
	_, _, err := p.createRepository(t.Context(), "alice", repository{"acme", "acme/one-more", "private"})
	if !errors.Is(err, quota.ErrExceeded) {
		t.Errorf("one more than the plan has: %v", err)
	}
	p.wantRepository(t, "acme/one-more", false)
}

// A token whose repository is refused is not made.
func TestNoTokenWithoutRepository(t *testing.T) {
	p := newProcess(t)
	for _, r := range []repository{{"acme", "acme/site", "private"}, {"acme", "acme/new", "secret"}, {"nobody", "nobody/new", "private"}} {
		if _, _, err := p.createRepository(t.Context(), "alice", r); err == nil {
			t.Errorf("%+v was created", r)
		}
	}
	noError(t, p.show(t.Context()))
	if count, _, err := p.view.Count(t.Context(), "acme", time.Now()); err != nil || count.Total != 0 {
		t.Errorf("%+v, %v", count, err)
	}
}

func (p *process) wantRepository(t *testing.T, name string, want bool) {
	t.Helper()
	visibility, err := p.backend.visibility(t.Context(), name)
	if err != nil || (visibility != "") != want {
		t.Errorf("repository %.20s: %q, %v", name, visibility, err)
	}
}

// An organization that came when no process was running is registered with the next
// start, and those that are registered stay as they are.
func TestOrganizationsAreRegisteredOnce(t *testing.T) {
	p := newProcess(t)
	noError(t, p.service.ChangePlan(t.Context(), oat.Actor{Host: "billing"}, oat.ChangePlan{Organization: "acme", Plan: quota.Business}))
	_, err := p.pool.Exec(t.Context(), "INSERT INTO organizations VALUES ('initech', 'personal')")
	noError(t, err)
	again, err := startProcess(t.Context(), address(t), p.schema)
	noError(t, err)
	defer func() { noError(t, again.close()) }()
	for organization, limit := range map[string]int{"acme": 100, "globex": 10, "initech": 0} {
		count, found, err := again.view.Count(t.Context(), organization, time.Now())
		if err != nil || !found || count.Limit != limit {
			t.Errorf("%s: %+v, %v, %v", organization, count, found, err)
		}
	}
}

// Both or neither also holds for what another process sees, at any moment: a repository
// that is there can be opened, as soon as that process has followed the log.
func TestAnotherProcessSeesBoth(t *testing.T) {
	p := newProcess(t)
	other, err := startProcess(t.Context(), address(t), p.schema)
	noError(t, err)
	defer func() { noError(t, other.close()) }()
	tx, err := p.pool.Begin(t.Context())
	noError(t, err)
	_, secret, err := p.createRepositoryIn(t.Context(), tx, "alice", repository{"acme", "acme/new", "private"})
	noError(t, err)
	token := basic("acme", secret.Reveal())
	other.wantRepository(t, "acme/new", false)
	wantAnswer(t, answers(other.handler(), "GET", "/acme/new", token), http.StatusUnauthorized)
	noError(t, tx.Commit(t.Context()))
	noError(t, p.know(t.Context()))
	end, err := other.log.End(t.Context())
	noError(t, err)
	noError(t, other.follower.WaitFor(t.Context(), end))
	other.wantRepository(t, "acme/new", true)
	wantAnswer(t, answers(other.handler(), "GET", "/acme/new", token), http.StatusOK)
	if err := tx.Rollback(t.Context()); !errors.Is(err, pgx.ErrTxClosed) {
		t.Error(err)
	}
}
