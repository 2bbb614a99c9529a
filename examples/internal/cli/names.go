package cli

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oatmill/oatmill/oat"
)

// Argument is an argument of a command line, as its usage names it.
type Argument struct {
	name    string
	problem func(string) string // nil for one that is not a person's or an organization's name
}

// Organization returns an argument that is the name of an organization.
func Organization(name string) Argument { return Argument{name, oat.OrganizationProblem} }

// User returns an argument that is the name of a user.
func User(name string) Argument { return Argument{name, oat.UserProblem} }

// Text returns an argument that the command checks itself.
func Text(name string) Argument { return Argument{name: name} }

// Arguments demands one argument for each of these. A name is cleaned, in place, and one
// that cannot be a name is wrong usage: the rule is the library's, so that whatever a
// command does with a name, it is the name the library knows.
func Arguments(wanted ...Argument) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != len(wanted) {
			return Usagef("want %s, got %d argument(s)", names(wanted), len(args))
		}
		for i, a := range wanted {
			if a.problem == nil {
				continue
			}
			args[i] = oat.CleanText(args[i])
			if problem := a.problem(args[i]); problem != "" {
				return Usagef("%s %s", a.name, problem)
			}
		}
		return nil
	}
}

func names(wanted []Argument) string {
	all := make([]string, len(wanted))
	for i, a := range wanted {
		all[i] = a.name
	}
	return strings.Join(all, " ")
}

// UserFlag adds a flag for the name of a user, with the same rule as [Arguments].
func UserFlag(flags *pflag.FlagSet, to *string, name, usage string) {
	flags.Var(&nameFlag{func(s string) { *to = s }, oat.UserProblem}, name, usage)
}

// UsersFlag adds a flag that is given once for each user.
func UsersFlag(flags *pflag.FlagSet, to *[]string, name, usage string) {
	flags.Var(&nameFlag{func(s string) { *to = append(*to, s) }, oat.UserProblem}, name, usage)
}

// OrganizationFlag adds a flag for the name of an organization.
func OrganizationFlag(flags *pflag.FlagSet, to *string, name, usage string) {
	flags.Var(&nameFlag{func(s string) { *to = s }, oat.OrganizationProblem}, name, usage)
}

// nameFlag is the value of a flag that is a name.
type nameFlag struct {
	set     func(string)
	problem func(string) string
}

// String returns the default, which is none.
func (*nameFlag) String() string { return "" }

// Type returns what the help calls a value.
func (*nameFlag) Type() string { return "string" }

// Set takes a value from the command line.
func (n *nameFlag) Set(s string) error {
	s = oat.CleanText(s)
	if problem := n.problem(s); problem != "" {
		return errors.New(problem)
	}
	n.set(s)
	return nil
}
