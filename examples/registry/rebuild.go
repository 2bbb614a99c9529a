package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/oatmill/oatmill/events/durable/sqlitelog"
	"github.com/oatmill/oatmill/examples/internal/cli"
	"github.com/oatmill/oatmill/projection"
)

func (p *program) rebuildCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rebuild",
		Short: "Fold every read model from the whole log, and say what came out",
		Long: `Fold every read model from the first record of the log to the last, and say what came
out and how long it took.

Nothing is stored: read models live in memory, and this is what every command does
that shows something. It proves that the whole log can be read.`,
		Args: cli.NoArguments,
		RunE: cli.Does(func(ctx context.Context, _ []string) error {
			return p.withLog(ctx, func(log *sqlitelog.Log) error { return p.rebuild(ctx, log) })
		}),
	}
}

func (p *program) rebuild(ctx context.Context, log *sqlitelog.Log) error {
	end, err := log.End(ctx)
	if err != nil {
		return err
	}
	var last projection.Progress
	show := progressTo(p.stderr, int64(end))
	m, began := newModels(), time.Now()
	err = m.fold(ctx, log, func(progress projection.Progress) {
		last = progress
		show(progress)
	})
	if err != nil {
		return err
	}
	return p.report(m, last.Records, time.Since(began))
}

// report says what the models hold.
func (p *program) report(m *models, records int64, took time.Duration) error {
	var sum projection.Count
	var used, entries int
	organizations := m.tokens.Organizations()
	for _, o := range organizations {
		list, err := m.list(o.Name, p.now())
		if err != nil {
			return err
		}
		sum.Total += list.Total
		sum.Active += list.Active
		sum.Inactive += list.Inactive
		sum.Expired += list.Expired
		for i := range list.Tokens {
			used += min(1, int(list.Tokens[i].Accepted.Count))
		}
		entries += m.history.Organization(o.Name, projection.Span{PageSize: 1}).Total
	}
	fmt.Fprintf(p.stdout, "rebuilt from %s in %v (%.0f records/s)\n\n",
		counted(records, "record"), took.Round(10*time.Microsecond), float64(records)/took.Seconds())
	return table(p.stdout,
		[]string{"organizations", fmt.Sprint(len(organizations))},
		[]string{"tokens", fmt.Sprintf("%d (%d active, %d inactive, %d expired)", sum.Total, sum.Active, sum.Inactive, sum.Expired)},
		[]string{"tokens used", fmt.Sprint(used)},
		[]string{"history", fmt.Sprintf("%d entries", entries)})
}

// progressTo shows how far a rebuild came: as a bar on a terminal, and elsewhere as
// a line for every tenth.
func progressTo(w io.Writer, end int64) func(projection.Progress) {
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		bar := progressbar.NewOptions64(end,
			progressbar.OptionSetWriter(w), progressbar.OptionSetDescription("rebuilding"),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("records"),
			progressbar.OptionThrottle(50*time.Millisecond), progressbar.OptionOnCompletion(func() { fmt.Fprintln(w) }))
		return func(now projection.Progress) {
			// A bar that cannot be drawn is no reason to stop.
			_ = bar.Set64(min(int64(now.Position), end))
		}
	}
	tenths := int64(0)
	return func(now projection.Progress) {
		if reached := int64(now.Position) * 10 / max(end, 1); reached > tenths {
			tenths = reached
			fmt.Fprintf(w, "rebuilding: %d of %d\n", now.Position, end)
		}
	}
}
