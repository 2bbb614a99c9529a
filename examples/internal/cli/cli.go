// Package cli is what the command lines of the examples have in common: how they begin
// and end, and how they say why.
//
// SIGINT and SIGTERM ask a program to end; a second one ends it on the spot.
//
// 0 says that it is done. 1 says that it was refused by a rule or could not be done, and
// 2 that the command line makes no sense. In both cases one line on standard error says
// why, and begins with the program's name.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/oatmill/oatmill/oat"
)

// The exit codes.
const (
	Done    = 0
	Refused = 1
	Usage   = 2
)

// Main is the whole of a program's main: run gets the process's arguments and outputs, and
// a context that ends with the first signal. It does not return.
func Main(run func(ctx context.Context, args []string, stdout, stderr io.Writer) int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks; a second one ends the process on the spot.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Run runs a command line, and returns its exit code.
func Run(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	root.Version = version()
	root.SilenceUsage, root.SilenceErrors = true, true
	root.CompletionOptions = cobra.CompletionOptions{HiddenDefaultCmd: true}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	refused, isRefused := err.(*refusedError)
	// Errors quote the command line, in which a secret may stand in the wrong place.
	switch {
	case err == nil:
		return Done
	case isRefused && !IsUsage(err):
		fmt.Fprintf(stderr, "%s: %s\n", root.Name(), oat.MaskSecrets(OneLine(refused.error)))
		return Refused
	}
	fmt.Fprintf(stderr, "%s: %s (see %s --help)\n", root.Name(), oat.MaskSecrets(OneLine(err)), cmd.CommandPath())
	return Usage
}

// usageError is a command line that makes no sense.
type usageError struct{ problem string }

func (e *usageError) Error() string { return e.problem }

// Usagef is an error of whoever wrote the command line.
func Usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// IsUsage reports whether an error is one of [Usagef].
func IsUsage(err error) bool {
	var wrong *usageError
	return errors.As(err, &wrong)
}

// refusedError comes from a command, and not from cobra, whose errors are all about the
// command line.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error { return e.error }

// Does makes a command's function what cobra calls once it has found nothing wrong with
// the command line.
func Does(do func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := do(cmd.Context(), args); err != nil {
			return &refusedError{err}
		}
		return nil
	}
}

// OneLine is an error on one line: several that were joined come with line breaks.
func OneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// Group is a command that only holds others.
func Group(use, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{
		Use:   use,
		Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return Usagef("unknown command %q for %q", args[0], cmd.CommandPath())
			}
			return Usagef("%q needs a command", cmd.CommandPath())
		},
	}
	g.AddCommand(commands...)
	return g
}

// NoArguments is for commands that have only flags.
func NoArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return Usagef("unknown command %q for %q", args[0], cmd.CommandPath())
	}
	return nil
}

// Require makes a flag one that must be given.
func Require(cmd *cobra.Command, flag string) {
	if err := cmd.MarkFlagRequired(flag); err != nil {
		panic(err) // there is no such flag, which the first run of any test shows
	}
}

// Invocation is how to run this program again, in words for a shell. example is its
// folder in the repository, for when go run made the executable, and will remove it.
func Invocation(example string, args ...string) string {
	words := []string{os.Args[0]}
	if executable, err := os.Executable(); err == nil && strings.Contains(executable, string(filepath.Separator)+"go-build") {
		words = []string{"go", "run", example}
	}
	words = append(words, args...)
	for i, word := range words {
		words[i] = Quoted(word)
	}
	return strings.Join(words, " ")
}

// Quoted is a word as shells read it as one.
func Quoted(word string) string {
	if word == "" || strings.ContainsAny(word, " \t\n'\"\\$&;|<>()*?[]#~`!{}") {
		return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	return word
}

// version is what the Go toolchain knows of how the program was built.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version + " (" + info.GoVersion + ")"
}
