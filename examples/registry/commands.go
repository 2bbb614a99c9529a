package main

import (
	"context"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oatmill/oatmill/oat"
)

// defaultData is beside where the program is started, so that trying it out leaves
// one folder that is easily found and removed.
const defaultData = "./oatmill-data"

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
		Version:           version(),
		Args:              noArguments,
		RunE:              p.does(func(ctx context.Context, _ []string) error { return p.serve(ctx, options) }),
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.PersistentFlags().StringVar(&p.data, "data", defaultData, "the `folder` that everything is kept in")
	root.PersistentFlags().StringVar(&p.addr, "addr", defaultAddr, "the `address` the server listens on")
	options.flags(root)
	root.AddCommand(p.serveCommand(), p.orgCommand(), p.tokenCommand(),
		p.historyCommand(), p.verifyCommand(), p.rebuildCommand())
	return root
}

// does makes a command's function what cobra calls, once it has found nothing wrong
// with the command line.
func (p *program) does(do func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		p.accepted = true
		return do(cmd.Context(), args)
	}
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{
		Use:   use,
		Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q for %q", args[0], cmd.CommandPath())
			}
			return usagef("%q needs a command", cmd.CommandPath())
		},
	}
	g.AddCommand(commands...)
	return g
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unknown command %q for %q", args[0], cmd.CommandPath())
	}
	return nil
}

// arguments demands one argument for each name.
func arguments(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return usagef("want %s, got %d argument(s)", strings.Join(names, " "), len(args))
		}
		return nil
	}
}

// actorFlags are the flags of a command that an owner gives.
type actorFlags struct{ as, reason string }

func (a *actorFlags) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.as, "as", "", "the `owner` who gives the command (required)")
	cmd.Flags().StringVar(&a.reason, "reason", "", "why, for the history")
	require(cmd, "as")
}

// actor is the owner. Whoever can run this program on the data folder can name any
// owner; a real host takes the name from whoever it has signed in.
func (a *actorFlags) actor() oat.Actor { return oat.Actor{User: a.as, Reason: a.reason} }

// require makes a flag one that must be given.
func require(cmd *cobra.Command, flag string) {
	if err := cmd.MarkFlagRequired(flag); err != nil {
		panic(err) // there is no such flag, which the first run of any test shows
	}
}

// version is what the Go toolchain knows of how the program was built.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version + " (" + info.GoVersion + ")"
}
