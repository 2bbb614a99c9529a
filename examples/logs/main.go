// Command logs measures the durable logs beside each other on this machine, as they are
// configured by default, and prints the tables that stand in the documentation of package
// events/durable. Run it from the root of the repository, on a machine that has nothing
// else to do. With 100,000 organizations and three logs it takes about half an hour, and
// some ten gigabytes of disk while it runs:
//
//	go run ./examples/logs
//	go run ./examples/logs -only sqlite -organizations 1000,10000
//
// PostgreSQL is a throwaway server, JetStream three nodes in this process; both are on
// this machine, so that no network is measured.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "logs:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("logs", flag.ExitOnError)
	only := flags.String("only", "sqlite,postgres,jetstream", "which logs to measure")
	sizes := flags.String("organizations", "1000,10000,100000", "with how many organizations to measure growth; each brings 50 events")
	seconds := flags.Float64("seconds", 5, "how long each throughput is measured")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var counts []int
	for text := range strings.SplitSeq(*sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("-organizations: %q is no number of organizations", text)
		}
		counts = append(counts, n)
	}
	slices.Sort(counts)
	var speeds, growth strings.Builder
	for _, name := range strings.Split(*only, ",") {
		s, ok := stores()[name]
		if !ok {
			return fmt.Errorf("-only: no log %q", name)
		}
		if err := measure(ctx, s, counts, time.Duration(*seconds*float64(time.Second)), &speeds, &growth); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	fmt.Printf("\n%s\n%s\n%s\n%s", speedHeader, speeds.String(), growthHeader, growth.String())
	return nil
}

const (
	speedHeader = "| log | one append alone, p50 | p99 | appends/s, 1 stream | 64 streams | 256 streams | another process woken, p50 | p99 |\n" +
		"|---|---|---|---|---|---|---|---|"
	growthHeader = "| log | organizations | events | bytes an event on disk | read, events/s | a process starts in | its memory, bytes a token | one append alone, p50 |\n" +
		"|---|---|---|---|---|---|---|---|"
)

// measure opens a log and measures it empty, and as it grows.
func measure(ctx context.Context, s store, counts []int, length time.Duration, speeds, growth *strings.Builder) error {
	place, err := s.start(ctx)
	if err != nil {
		return err
	}
	defer place.stop()
	b := &bench{place: place}
	if b.log, err = place.open(ctx); err != nil {
		return err
	}
	defer b.log.Close()
	fmt.Fprintf(os.Stderr, "%s: speed\n", s.name)
	if err := b.speed(ctx, s.name, length, speeds); err != nil {
		return err
	}
	for _, organizations := range counts {
		fmt.Fprintf(os.Stderr, "%s: %d organizations\n", s.name, organizations)
		if err := b.grow(ctx, s.name, organizations, growth); err != nil {
			return err
		}
	}
	return nil
}
