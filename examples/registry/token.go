package main

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/oatmill/oatmill/events/durable/sqlitelog"
	"github.com/oatmill/oatmill/examples/internal/cli"
	"github.com/oatmill/oatmill/oat"
)

func (p *program) tokenCommand() *cobra.Command {
	return cli.Group("token", "Generate, list, change and revoke tokens",
		p.tokenGenerate(), p.tokenList(), p.tokenShow(), p.tokenEdit(), p.tokenDeactivate(), p.tokenDelete())
}

func (p *program) tokenGenerate() *cobra.Command {
	var by actorFlags
	var access accessFlags
	var label, description, expires string
	cmd := &cobra.Command{
		Use:   "generate ORG --as OWNER --label LABEL (--public | --all LEVEL | --repo NAME=LEVEL...)",
		Short: "Generate a token and print its secret, once",
		Long: `Generate a token and print its secret.

The secret is the only thing on standard output, and cannot be read again. Without
--expires the token works for 30 days; a token without an end is asked for with
--expires never. A repository may be named api or acme/api.`,
		Example: `  registry token generate acme --as alice --label ci --repo api=read --repo web=read-write
  registry token generate acme --as alice --label mirror --all read --expires 2027-01-31 |
    docker login --username acme --password-stdin 127.0.0.1:5000`,
		Args: cli.Arguments(cli.Organization("ORG")),
		RunE: cli.Does(func(ctx context.Context, args []string) error {
			resources, err := access.resources(args[0])
			if err != nil {
				return err
			}
			expiry, err := parseExpiry(expires, p.now())
			if err != nil {
				return err
			}
			return p.generate(ctx, by.actor(), oat.Generate{
				Organization: args[0], Label: label, Description: description, Expires: expiry, Resources: resources,
			})
		}),
	}
	by.flags(cmd)
	access.flags(cmd)
	cmd.Flags().StringVar(&label, "label", "", "what the token is called (required)")
	cmd.Flags().StringVar(&description, "description", "", "what it is for")
	cmd.Flags().StringVar(&expires, "expires", defaultExpiry, expiryHelp)
	cli.Require(cmd, "label")
	return cmd
}

func (p *program) generate(ctx context.Context, by oat.Actor, cmd oat.Generate) error {
	return p.withService(ctx, func(s *oat.Service) error {
		token, secret, err := s.Generate(ctx, by, cmd)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(p.stdout, secret.Reveal()); err != nil {
			return fmt.Errorf("token %s was generated, but nobody got its secret: delete it: %w", token.ID, err)
		}
		p.say("generated token %q of %s: %s, %s", token.Label, token.Organization,
			accessInWords(token.Organization, token.Resources), expiryInWords(token.Expires.String()))
		p.say("id %s", token.ID)
		return nil
	})
}

func (p *program) tokenEdit() *cobra.Command {
	var by actorFlags
	var access accessFlags
	var label, description string
	cmd := &cobra.Command{
		Use:   "edit ORG ID --as OWNER [--label LABEL] [--description TEXT] [--public | --all LEVEL | --repo NAME=LEVEL...]",
		Short: "Change an active token",
		Long: `Change an active token's label, description or access.

What is not named stays. Access is replaced as a whole, and holds at once. When a
token expires cannot be changed.`,
		Example: "  registry token edit acme ID --as alice --repo api=read",
		Args:    cli.Arguments(cli.Organization("ORG"), cli.Text("ID")),
	}
	by.flags(cmd)
	access.flags(cmd)
	cmd.Flags().StringVar(&label, "label", "", "what the token is called")
	cmd.Flags().StringVar(&description, "description", "", "what it is for")
	cmd.RunE = cli.Does(func(ctx context.Context, args []string) error {
		id, err := parseID(args[1])
		if err != nil {
			return err
		}
		edit := oat.Edit{Organization: args[0], Token: id}
		if cmd.Flags().Changed("label") {
			edit.Label = &label
		}
		if cmd.Flags().Changed("description") {
			edit.Description = &description
		}
		if access.given() {
			if edit.Resources, err = access.resources(args[0]); err != nil {
				return err
			}
		}
		return p.edit(ctx, by.actor(), edit)
	})
	return cmd
}

func (p *program) edit(ctx context.Context, by oat.Actor, edit oat.Edit) error {
	if edit.Label == nil && edit.Description == nil && edit.Resources == nil {
		return cli.Usagef("nothing to change: give --label, --description or an access")
	}
	return p.withService(ctx, func(s *oat.Service) error {
		token, err := s.Edit(ctx, by, edit)
		return p.done(err, "token %s is now %q: %s", edit.Token, token.Label, accessInWords(edit.Organization, token.Resources))
	})
}

func (p *program) tokenDeactivate() *cobra.Command {
	return p.tokenEnd("deactivate", "End a token's use, for good",
		"End a token's use, for good. It still counts, and can only be deleted.\n\nA server on the same data folder refuses it at once, also to clients that are logged in.",
		func(ctx context.Context, s *oat.Service, by oat.Actor, organization string, id uuid.UUID) error {
			err := s.Deactivate(ctx, by, oat.Deactivate{Organization: organization, Token: id})
			return p.done(err, "deactivated token %s", id)
		})
}

func (p *program) tokenDelete() *cobra.Command {
	return p.tokenEnd("delete", "Delete a token, whatever state it is in",
		"Delete a token, whatever state it is in. It does not count any more; its history stays.",
		func(ctx context.Context, s *oat.Service, by oat.Actor, organization string, id uuid.UUID) error {
			err := s.Delete(ctx, by, oat.Delete{Organization: organization, Token: id})
			return p.done(err, "deleted token %s", id)
		})
}

// tokenEnd is a command that names a token and nothing else.
func (p *program) tokenEnd(verb, short, long string,
	end func(context.Context, *oat.Service, oat.Actor, string, uuid.UUID) error) *cobra.Command {
	var by actorFlags
	cmd := &cobra.Command{
		Use:     verb + " ORG ID --as OWNER",
		Short:   short,
		Long:    long,
		Example: "  registry token " + verb + " acme ID --as alice --reason 'laptop lost'",
		Args:    cli.Arguments(cli.Organization("ORG"), cli.Text("ID")),
		RunE: cli.Does(func(ctx context.Context, args []string) error {
			id, err := parseID(args[1])
			if err != nil {
				return err
			}
			return p.withService(ctx, func(s *oat.Service) error { return end(ctx, s, by.actor(), args[0], id) })
		}),
	}
	by.flags(cmd)
	return cmd
}

func (p *program) tokenList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list ORG",
		Short: "List an organization's tokens",
		Long: `List an organization's tokens, and how many of those its plan allows there are.

REFUSED counts attempts that had the right secret and were refused all the same,
after the token was deactivated for example. It is how a leaked secret shows.
A running server notes a token's first use at once, and later ones every minute.`,
		Args: cli.Arguments(cli.Organization("ORG")),
		RunE: cli.Does(func(ctx context.Context, args []string) error {
			return p.withModels(ctx, func(m *models) error {
				list, err := m.list(args[0], p.now())
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSON(p.stdout, list)
				}
				return writeList(p.stdout, list)
			})
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

func (p *program) tokenShow() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show ORG ID",
		Short: "Show everything about a token, its secret aside",
		Args:  cli.Arguments(cli.Organization("ORG"), cli.Text("ID")),
		RunE: cli.Does(func(ctx context.Context, args []string) error {
			id, err := parseID(args[1])
			if err != nil {
				return err
			}
			return p.withModels(ctx, func(m *models) error {
				token, err := m.token(args[0], id, p.now())
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSON(p.stdout, token)
				}
				return writeToken(p.stdout, token)
			})
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

// parseID reads a token's id from the command line.
func parseID(text string) (uuid.UUID, error) {
	id, err := oat.ParseTokenID(text)
	if err != nil {
		return id, cli.Usagef("%q is not the id of a token, like 6f1c1d8e-7a3b-4d52-9c53-0a4c4f8e2b17; token list shows them", text)
	}
	return id, nil
}

// withModels does something with the read models of a data folder.
func (p *program) withModels(ctx context.Context, do func(*models) error) error {
	return p.withLog(ctx, func(log *sqlitelog.Log) error {
		m := newModels()
		if err := m.fold(ctx, log, nil); err != nil {
			return err
		}
		return do(m)
	})
}
