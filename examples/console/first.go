package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/oatmill/oatmill/examples/internal/accounts"
	"github.com/oatmill/oatmill/examples/internal/site"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

// What an empty data folder begins with.
const (
	firstOrganization = "acme"
	firstOwner        = "alice"
)

// firstStart brings everything that is folded from the log up to date. Where the log is
// empty it registers an organization, and where nobody has an account yet it makes one
// for the owner. Killed in between, it goes on at the next start.
func (p *program) firstStart(ctx context.Context, s *server) error {
	if err := s.runner.CatchUp(ctx); err != nil {
		return err
	}
	if s.verifier.Position() == 0 {
		by := oat.Actor{Host: "console", Reason: "first start"}
		err := s.service.Register(ctx, by, oat.Register{Organization: firstOrganization, Plan: quota.Team, Owners: []string{firstOwner}})
		// Where another process was quicker, what it did counts.
		if err != nil && !errors.Is(err, oat.ErrExists) {
			return err
		}
		if err := s.runner.CatchUp(ctx); err != nil {
			return err
		}
	}
	empty, err := s.accounts.Empty(ctx)
	if err != nil || !empty {
		return err
	}
	organization, _ := s.models.tokens.Organization(firstOrganization)
	if !slices.Contains(organization.Owners, firstOwner) {
		p.say("console: nobody can sign in yet: %s makes an account", p.invocation("user", "add", "NAME"))
		return nil
	}
	credentials, err := s.accounts.Add(ctx, firstOwner)
	switch {
	case errors.Is(err, accounts.ErrExists):
		return nil
	case err != nil:
		return err
	}
	return p.welcome(s, organization.Plan, credentials)
}

// welcome prints what the first start made, with commands that can be pasted.
func (p *program) welcome(s *server, plan string, c accounts.Credentials) error {
	_, err := fmt.Fprintf(p.stdout, `The organization %[1]s (plan %[2]s) is owned by %[3]s. This link signs her in, once, until %[4]s:

    %[5]s%[6]s

Afterwards she signs in at %[5]s/ with her name and this password, which is
shown this once:

    PASSWORD=%[7]s

Generate a token in the console, log in with it, and push:

    docker login --username %[1]s %[8]s
    docker pull hello-world
    docker tag hello-world %[8]s/%[1]s/hello
    docker push %[8]s/%[1]s/hello

Scripts sign in with

    curl -d "{\"username\":\"%[3]s\",\"password\":\"$PASSWORD\"}" -H Content-Type:application/json %[5]s/v2/users/login

`, firstOrganization, plan, c.Name, c.Until.Local().Format("15:04"), s.url, linkPath(c.Link), c.Password, site.RegistryHost(s.url))
	if err != nil {
		return fmt.Errorf("nobody got the password of %s: %q makes a new one: %w", c.Name, p.invocation("user", "reset", c.Name), err)
	}
	return nil
}
