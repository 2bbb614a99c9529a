package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
	"github.com/oatmill/oatmill/examples/internal/cli"
)

func (p *program) verifyCommand() *cobra.Command {
	var noted []string
	cmd := &cobra.Command{
		Use:   "verify ORG",
		Short: "Check that nobody changed an organization's records",
		Long: `Check the hash chains of an organization: that no record was changed, removed or
slipped in, of what was decided and of how tokens were used. Then check the whole file:
that no record of any organization is missing, changed or added behind the library's back.

The head that is printed sums up everything decided so far. Note it where whoever
can write to the data folder cannot, and give it to --head later: then a stream that
was replaced as a whole, or cut short, is found as well.`,
		Example: "  registry verify acme\n  registry verify acme --head 12:9f86d081884c7d65…",
		Args:    cli.Arguments(cli.Organization("ORG")),
		RunE: cli.Does(func(ctx context.Context, args []string) error {
			heads := make([]events.Head, len(noted))
			for i, text := range noted {
				var err error
				if heads[i], err = parseHead(text); err != nil {
					return err
				}
			}
			return p.withLog(ctx, func(log *sqlitelog.Log) error { return p.verify(ctx, log, args[0], heads) })
		}),
	}
	cmd.Flags().StringArrayVar(&noted, "head", nil, "a head noted earlier, as `VERSION:HASH`; once for each")
	return cmd
}

func (p *program) verify(ctx context.Context, log *sqlitelog.Log, organization string, noted []events.Head) error {
	stream, err := events.ParseStreamID(string(events.OrganizationStream(organization)))
	if err != nil {
		return unknownOrganization(organization)
	}
	head, err := events.VerifyChain(ctx, log, stream, noted...)
	if err != nil {
		return err
	}
	if head == (events.Head{}) {
		return unknownOrganization(organization)
	}
	usage, err := events.VerifyChain(ctx, log, events.UsageStream(organization))
	if err != nil {
		return err
	}
	if err := log.Check(ctx); err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "%s: %s, every link holds\n%s: %s, every link holds\nhead %d:%s\n",
		stream, counted(int64(head.Version), "record"), events.UsageStream(organization), counted(int64(usage.Version), "record"),
		head.Version, head.Hash)
	return err
}

// parseHead reads a head as verify prints it.
func parseHead(text string) (events.Head, error) {
	number, digits, _ := strings.Cut(text, ":")
	version, err := strconv.ParseInt(number, 10, 64)
	hash, hashErr := events.ParseHash(digits)
	if err != nil || hashErr != nil || version < 1 {
		return events.Head{}, cli.Usagef("--head %q: want VERSION:HASH as verify prints it", text)
	}
	return events.Head{Version: events.Version(version), Hash: hash}, nil
}
