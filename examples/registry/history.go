package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/oatmill/oatmill/examples/internal/cli"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
)

func (p *program) historyCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "history ORG [ID]",
		Short: "Tell who did what to an organization, or to one of its tokens",
		Long: `Tell what happened to an organization and its tokens, or to one token, oldest first:
when, who, what, and what it changed from what to what. Deleted tokens stay in it.`,
		Example: "  registry history acme\n  registry history acme ID --json",
		Args: func(cmd *cobra.Command, args []string) error {
			wanted := []cli.Argument{cli.Organization("ORG"), cli.Text("ID")}
			if len(args) != 1 && len(args) != 2 {
				return cli.Usagef("want ORG or ORG ID, got %d argument(s)", len(args))
			}
			return cli.Arguments(wanted[:len(args)]...)(cmd, args)
		},
		RunE: cli.Does(func(ctx context.Context, args []string) error {
			story, err := p.story(ctx, args)
			switch {
			case err != nil:
				return err
			case asJSON:
				return writeJSON(p.stdout, story)
			}
			return writeStory(p.stdout, story)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

// story is the history of an organization, or of the token that args names too.
func (p *program) story(ctx context.Context, args []string) (*projection.Story, error) {
	if len(args) == 1 {
		return p.tell(ctx, unknownOrganization(args[0]), func(h *projection.History) projection.Story {
			return h.Organization(args[0], projection.Span{})
		})
	}
	id, err := parseID(args[1])
	if err != nil {
		return nil, err
	}
	return p.tell(ctx, fmt.Errorf("%w: %s of %s", oat.ErrTokenNotFound, id, args[0]), func(h *projection.History) projection.Story {
		return h.Token(args[0], id, projection.Span{})
	})
}

// tell tells a story, or the error that there is none.
func (p *program) tell(ctx context.Context, none error, choose func(*projection.History) projection.Story) (*projection.Story, error) {
	var story projection.Story
	err := p.withModels(ctx, func(m *models) error {
		if story = choose(m.history); story.Total == 0 {
			return none
		}
		return nil
	})
	return &story, err
}
