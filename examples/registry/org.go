package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/oatmill/oatmill/examples/internal/cli"
	"github.com/oatmill/oatmill/oat"
)

func (p *program) orgCommand() *cobra.Command {
	return cli.Group("org", "Register organizations, and change their plan and owners",
		p.orgRegister(), p.orgPlan(),
		cli.Group("owner", "Add and remove owners", p.orgOwnerAdd(), p.orgOwnerRemove()))
}

func (p *program) orgRegister() *cobra.Command {
	var plan string
	var owners []string
	cmd := &cobra.Command{
		Use:     "register NAME --plan PLAN --owner OWNER...",
		Short:   "Register an organization",
		Long:    "Register an organization.\n\nTokens need the plan team (10 of them) or business (100); personal and pro have none.",
		Example: "  registry org register acme --plan team --owner alice --owner bob",
		Args:    cli.Arguments(cli.Organization("NAME")),
		RunE: cli.Does(func(ctx context.Context, args []string) error {
			by := oat.Actor{Host: "cli"} // there is no owner yet who could do it
			return p.withNewLog(ctx, serviceOver(func(s *oat.Service) error {
				err := s.Register(ctx, by, oat.Register{Organization: args[0], Plan: plan, Owners: owners})
				return p.done(err, "registered %s on plan %s", args[0], plan)
			}))
		}),
	}
	cmd.Flags().StringVar(&plan, "plan", "", "personal, pro, team or business (required)")
	cli.UsersFlag(cmd.Flags(), &owners, "owner", "an `owner`, once for each (required)")
	cli.Require(cmd, "plan")
	cli.Require(cmd, "owner")
	return cmd
}

func (p *program) orgPlan() *cobra.Command {
	var by actorFlags
	cmd := &cobra.Command{
		Use:   "plan NAME PLAN --as OWNER",
		Short: "Move an organization to another plan",
		Long: `Move an organization to another plan.

Tokens stay as they are. On a plan without tokens they do not authenticate; on a
smaller one no token can be generated until there are fewer than it allows.`,
		Example: "  registry org plan acme business --as alice",
		Args:    cli.Arguments(cli.Organization("NAME"), cli.Text("PLAN")),
		RunE: cli.Does(func(ctx context.Context, args []string) error {
			return p.withService(ctx, func(s *oat.Service) error {
				err := s.ChangePlan(ctx, by.actor(), oat.ChangePlan{Organization: args[0], Plan: args[1]})
				return p.done(err, "%s is on plan %s", args[0], args[1])
			})
		}),
	}
	by.flags(cmd)
	return cmd
}

func (p *program) orgOwnerAdd() *cobra.Command {
	var by actorFlags
	cmd := &cobra.Command{
		Use:     "add NAME USER --as OWNER",
		Short:   "Make someone an owner",
		Example: "  registry org owner add acme bob --as alice",
		Args:    cli.Arguments(cli.Organization("NAME"), cli.User("USER")),
		RunE: cli.Does(func(ctx context.Context, args []string) error {
			return p.withService(ctx, func(s *oat.Service) error {
				err := s.AddOwner(ctx, by.actor(), oat.AddOwner{Organization: args[0], Owner: args[1]})
				return p.done(err, "%s owns %s", args[1], args[0])
			})
		}),
	}
	by.flags(cmd)
	return cmd
}

func (p *program) orgOwnerRemove() *cobra.Command {
	var by actorFlags
	cmd := &cobra.Command{
		Use:     "remove NAME USER --as OWNER",
		Short:   "End someone's ownership",
		Long:    "End someone's ownership. The tokens they generated stay as they are.",
		Example: "  registry org owner remove acme bob --as alice",
		Args:    cli.Arguments(cli.Organization("NAME"), cli.User("USER")),
		RunE: cli.Does(func(ctx context.Context, args []string) error {
			return p.withService(ctx, func(s *oat.Service) error {
				err := s.RemoveOwner(ctx, by.actor(), oat.RemoveOwner{Organization: args[0], Owner: args[1]})
				return p.done(err, "%s does not own %s any more", args[1], args[0])
			})
		}),
	}
	by.flags(cmd)
	return cmd
}

// done tells what a command did, unless it was refused.
func (p *program) done(err error, format string, args ...any) error {
	if err == nil {
		p.say(format, args...)
	}
	return err
}
