package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/examples/internal/cli"
	"github.com/oatmill/oatmill/examples/internal/site"
	"github.com/oatmill/oatmill/oat"
)

// What an empty data folder begins with.
const (
	firstOrganization = "acme"
	firstOwner        = "alice"
	firstPlan         = "team"
	firstLabel        = "quickstart"
	firstExpiry       = 30 * 24 * time.Hour
)

// firstStart brings the verifier up to date, and where the log is empty it begins it
// with something to try the registry with.
func (p *program) firstStart(ctx context.Context, s *server) error {
	if err := s.runner.CatchUp(ctx); err != nil {
		return err
	}
	by := oat.Actor{Host: "serve", Reason: "first start"}
	switch half, err := s.halfStarted(ctx, by); {
	case err != nil:
		return err
	case s.verifier.Position() > 0 && !half:
		return nil
	case !half:
		err := s.service.Register(ctx, by, oat.Register{Organization: firstOrganization, Plan: firstPlan, Owners: []string{firstOwner}})
		if errors.Is(err, oat.ErrExists) {
			return nil // another process was quicker, and what it did counts
		}
		if err != nil {
			return err
		}
	}
	token, secret, err := s.service.Generate(ctx, by, oat.Generate{
		Organization: firstOrganization,
		Label:        firstLabel,
		Expires:      oat.ExpiresAt(p.now().Add(firstExpiry)),
		Resources:    []oat.Resource{oat.All(firstOrganization, oat.ReadWrite)},
	})
	if err != nil {
		return err
	}
	return p.welcome(site.RegistryHost(s.url), token, secret)
}

// halfStarted tells whether all the log holds is what a first start leaves that was
// killed between its two steps.
func (s *server) halfStarted(ctx context.Context, by oat.Actor) (bool, error) {
	if s.verifier.Position() != 1 {
		return false, nil
	}
	for r, err := range s.log.ReadStream(ctx, events.OrganizationStream(firstOrganization), 0) {
		return err == nil && r.Actor == by.String(), err
	}
	return false, nil
}

// welcome prints what the first start made, with commands that can be pasted.
func (p *program) welcome(host string, token oat.Token, secret oat.Secret) error {
	image := host + "/" + firstOrganization + "/hello"
	_, err := fmt.Fprintf(p.stdout, `Registered the organization %[1]s (plan %[2]s, owner %[3]s) and generated a token:
%[4]q, %[5]s, %[6]s.
This is its secret. It is shown this once:

    SECRET=%[7]s

Log in, and push an image:

    printf %%s "$SECRET" | docker login --username %[1]s --password-stdin %[8]s
    docker pull hello-world
    docker tag hello-world %[9]s
    docker push %[9]s

Revoke the token, and see that the next pull is refused:

    %[10]s token deactivate %[1]s %[11]s --as %[3]s
    docker pull %[9]s

`, firstOrganization, firstPlan, firstOwner, token.Label, accessInWords(firstOrganization, token.Resources),
		expiryInWords(token.Expires.String()), secret.Reveal(), host, image, p.invocation(), token.ID)
	if err != nil {
		return fmt.Errorf("token %s was generated, but nobody got its secret: delete it: %w", token.ID, err)
	}
	return nil
}

// invocation is how to run this program again on the same data.
func (p *program) invocation() string {
	var args []string
	if p.data != site.DefaultData {
		args = []string{"--data", p.data}
	}
	return cli.Invocation("./examples/registry", args...)
}
