// Command promises measures what the library promises in numbers and prints the table
// that stands in the README. Run it from the root of the repository, on a machine that
// has nothing else to do, and with PostgreSQL installed; it takes about twenty minutes:
//
//	go run ./examples/promises
//	go run ./examples/promises -only P1,P5 -count 10
//
// Every number is the median of several runs of a Go benchmark. Where it is a ratio, the
// benchmark measured the baseline in the same run.
package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"
	"golang.org/x/perf/benchunit"
)

// promise is one line of the table.
type promise struct {
	id, what, baseline string
	dir, bench         string  // the package, and which of its benchmarks
	time               string  // -benchtime
	unit               string  // of the number that counts
	scale              float64 // that it is multiplied with; 0 means 1
	atMost, atLeast    float64
}

func promises() []promise {
	const memory, durable = "./oat", "./events/durable"
	verify := func(tokens, name string) promise {
		return promise{
			id: "P1", what: "verify a secret, " + name + " tokens", baseline: "SHA-256 + map lookup",
			dir: memory, bench: "Verify/^" + tokens + "$", time: "2000000x", unit: "x-baseline", atMost: 1.5,
		}
	}
	revocation := func(log string) promise {
		return promise{
			id: "P14", what: "a revocation reaches another process, p99, " + log + ", ms", dir: durable, bench: "Revocation/" + log,
			time: "300x", unit: "p99-ns/revoked", scale: 1e-6, atMost: 50,
		}
	}
	return []promise{
		verify("1000", "1k"), verify("100000", "100k"), verify("1000000", "1M"),
		{id: "P2", what: "refuse garbage", baseline: "SHA-256 of it", dir: memory, bench: "VerifyGarbage", time: "2000000x", unit: "x-baseline", atMost: 1},
		{id: "P3", what: "memory of a verifier of 1M tokens, bytes a token", dir: memory, bench: "VerifierMemory", time: "1x", unit: "bytes/token", atMost: 200},
		{id: "P4", what: "record a use, ns", dir: memory, bench: "Record/serial", time: "5000000x", unit: "median-nanoseconds", atMost: 60},
		{id: "P5", what: "durable Generate, SQLite, one at a time", baseline: "raw INSERT + COMMIT", dir: durable, bench: "GenerateOne", time: "2s", unit: "x-raw", atMost: 1.5},
		{id: "P6", what: "durable Generate, SQLite, 64 organizations at once", baseline: "one at a time", dir: durable, bench: "GenerateMany", time: "3s", unit: "x-single", atLeast: 8},
		{id: "P7", what: "durable append, PostgreSQL, 32 at once", baseline: "one INSERT each, 32 at once", dir: durable + "/pglog", bench: "Append32", time: "40x", unit: "x-raw", atLeast: 2},
		{id: "P7", what: "durable append, PostgreSQL, 256 at once", baseline: "one INSERT each, 256 at once", dir: durable + "/pglog", bench: "Append256", time: "20x", unit: "x-raw", atLeast: 4},
		{id: "P8", what: "append, JetStream on three nodes, 32 at once", baseline: "publishing with the same expectation", dir: durable + "/natslog", bench: "Append32", time: "60x", unit: "x-raw", atLeast: 0.7},
		{id: "P9", what: "rebuild all projections from SQLite, 1M events", baseline: "scanning the rows", dir: durable, bench: "RebuildSQLite", time: "3x", unit: "x-scan", atLeast: 0.4},
		{id: "P9", what: "rebuild all projections from PostgreSQL, 1M events", baseline: "scanning the rows", dir: durable, bench: "RebuildPostgres", time: "3x", unit: "x-scan", atLeast: 0.4},
		{id: "P10", what: "rebuild all projections from memory", baseline: "decoding the payloads", dir: "./projection", bench: "Rebuild", time: "5x", unit: "x-decode", atLeast: 0.5},
		{id: "P11", what: "a command after 10,000 decisions, warm", baseline: "after 10", dir: durable, bench: "LongPast/warm", time: "2s", unit: "x-baseline", atMost: 1.2},
		{id: "P11", what: "the first command of a process after 10,000 decisions", baseline: "reading the stream", dir: durable, bench: "LongPast/cold", time: "2s", unit: "x-baseline", atMost: 1.3},
		{id: "P12", what: "Generate and Edit among 1M tokens", baseline: "among 10k", dir: durable, bench: "Growth", time: "1000x", unit: "x-10k", atMost: 1.3},
		revocation("SQLite"), revocation("PostgreSQL"), revocation("JetStream"),
		{id: "list", what: "the console's list of 100 tokens among 10,000 organizations, ms", dir: "./examples/console", bench: "ListPage", time: "2s", unit: "among-ns/op", scale: 1e-6, atMost: 1},
		{id: "create", what: "create tokens through the API, 64 organizations at once", baseline: "the command alone", dir: "./examples/console", bench: "Create", time: "40x", unit: "x-generate"},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "promises:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	flags := flag.NewFlagSet("promises", flag.ExitOnError)
	count := flags.Int("count", 5, "how often each benchmark runs; the median counts")
	only := flags.String("only", "", "a list like P1,P5; empty means all")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen := slices.DeleteFunc(promises(), func(p promise) bool {
		return *only != "" && !slices.Contains(strings.Split(*only, ","), p.id)
	})
	if len(chosen) == 0 {
		return errors.New("no promise of that name")
	}
	var table strings.Builder
	table.WriteString("| | promise | baseline in the same run | promised | measured |\n|---|---|---|---|---|\n")
	for i, p := range chosen {
		fmt.Fprintf(progress, "%d of %d: %s %s\n", i+1, len(chosen), p.id, p.what)
		value, err := p.measure(ctx, *count)
		if err != nil {
			return fmt.Errorf("%s: %w", p.id, err)
		}
		baseline := p.baseline
		if baseline == "" {
			baseline = "–"
		}
		fmt.Fprintf(&table, "| %s | %s | %s | %s | %s |\n", p.id, p.what, baseline, p.target(), p.show(value))
	}
	_, err := fmt.Fprintf(out, "%s, %d cores, %s/%s, median of %d runs\n\n%s", runtime.Version(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, *count, table.String())
	return err
}

// measure runs the promise's benchmarks. Of several, like serial and parallel, the worst
// is what is kept or not.
func (p promise) measure(ctx context.Context, count int) (float64, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", anchored(p.bench), "-benchtime", p.time,
		"-count", fmt.Sprint(count), "-timeout", "1h", p.dir)
	var output, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &problems
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("%s: %w\n%s%s", cmd, err, output.String(), problems.String())
	}
	values := make(map[string][]float64)
	one, unit := benchunit.Tidy(1, p.unit) // the reader makes seconds of nanoseconds
	reader := benchfmt.NewReader(&output, p.bench)
	for reader.Scan() {
		if result, ok := reader.Result().(*benchfmt.Result); ok {
			if value, ok := result.Value(unit); ok {
				values[result.Name.String()] = append(values[result.Name.String()], value/one*cmp.Or(p.scale, 1))
			}
		}
	}
	if err := reader.Err(); err != nil {
		return 0, err
	}
	if len(values) == 0 {
		return 0, fmt.Errorf("%s reported no %s", p.bench, p.unit)
	}
	return p.worst(values), nil
}

// anchored makes a benchmark's name match no longer name, as BenchmarkVerify would match
// BenchmarkVerifyGarbage.
func anchored(bench string) string {
	first, rest, found := strings.Cut(bench, "/")
	first = "^Benchmark" + regexp.QuoteMeta(first) + "$"
	if !found {
		return first
	}
	return first + "/" + rest
}

func (p promise) worst(values map[string][]float64) float64 {
	var medians []float64
	for _, runs := range values {
		slices.Sort(runs)
		medians = append(medians, runs[len(runs)/2])
	}
	if p.atLeast > 0 {
		return slices.Min(medians)
	}
	return slices.Max(medians)
}

func (p promise) target() string {
	switch {
	case p.atLeast > 0:
		return "≥ " + p.number(p.atLeast)
	case p.atMost > 0:
		return "≤ " + p.number(p.atMost)
	}
	return "–"
}

// show is the number, and says so where the promise was not kept.
func (p promise) show(value float64) string {
	if p.atLeast > 0 && value < p.atLeast || p.atMost > 0 && value > p.atMost {
		return p.number(value) + " (missed)"
	}
	return p.number(value)
}

func (p promise) number(value float64) string {
	switch {
	case p.baseline != "":
		return fmt.Sprintf("%.2f ×", value)
	case value >= 1e6:
		return fmt.Sprintf("%.2f M", value/1e6)
	case value < 10:
		return fmt.Sprintf("%.2f", value)
	}
	return fmt.Sprintf("%.0f", value)
}
