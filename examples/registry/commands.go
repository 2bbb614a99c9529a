package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/oatmill/oatmill/examples/internal/cli"
	"github.com/oatmill/oatmill/examples/internal/site"
	"github.com/oatmill/oatmill/oat"
)

const defaultAddr = "127.0.0.1:5000"

// commands is the whole command line.
func (p *program) commands() *cobra.Command {
	var options serveOptions
	root := &cobra.Command{
		Use:   "registry",
		Short: "A container registry with organization access tokens",
		Long: `A container registry whose passwords are organization access tokens.

Without a command it serves. Every other command works on the same data folder,
also while a server serves from it: what is revoked is refused at once.

Exit codes: 0 done, 1 refused by a rule or not possible, 2 wrong usage.`,
		Example: `  registry                                   # serve; the first start prints a secret
  registry token generate acme --as alice --label ci --repo api=read
  registry token list acme
  registry history acme`,
		Args: cli.NoArguments,
		RunE: cli.Does(func(ctx context.Context, _ []string) error { return p.serve(ctx, options) }),
	}
	root.PersistentFlags().StringVar(&p.data, "data", site.DefaultData, site.DataUsage)
	root.PersistentFlags().StringVar(&p.addr, "addr", defaultAddr, "the `address` the server listens on")
	options.flags(root)
	root.AddCommand(p.serveCommand(), p.orgCommand(), p.tokenCommand(),
		p.historyCommand(), p.verifyCommand(), p.rebuildCommand())
	return root
}

// actorFlags are the flags of a command that an owner gives.
type actorFlags struct{ as, reason string }

func (a *actorFlags) flags(cmd *cobra.Command) {
	cli.UserFlag(cmd.Flags(), &a.as, "as", "the `owner` who gives the command (required)")
	cmd.Flags().StringVar(&a.reason, "reason", "", "why, for the history")
	cli.Require(cmd, "as")
}

// actor is the owner. Whoever can run this program on the data folder can name any
// owner; a real host takes the name from whoever it has signed in.
func (a *actorFlags) actor() oat.Actor { return oat.Actor{User: a.as, Reason: a.reason} }
