package registryauth

import (
	"context"
	"log/slog"
	"slices"

	"github.com/oatmill/oatmill/oat"
)

// The words of the protocol for what can be granted.
const (
	typeRepository = "repository"
	actionPull     = "pull"
	actionPush     = "push"
	actionDelete   = "delete" // never granted to a client
	actionAll      = "*"
)

// granted is what is asked for and allowed.
func (s *Server) granted(ctx context.Context, grant oat.Grant, asked []access) []access {
	granted := []access{} // never null in JSON
	for _, a := range asked {
		if a.Type != typeRepository {
			continue
		}
		var actions []string
		for _, action := range []string{actionPull, actionPush} {
			if a.asks(action) && s.allows(ctx, grant, action, a.Name) {
				actions = append(actions, action)
			}
		}
		if actions != nil {
			granted = append(granted, access{a.Type, a.Name, actions})
		}
	}
	return granted
}

func (a access) asks(action string) bool {
	return slices.Contains(a.Actions, action) || slices.Contains(a.Actions, actionAll)
}

// allows tells whether the grant allows an action of the protocol. It asks for the
// repository's visibility only where that decides.
func (s *Server) allows(ctx context.Context, grant oat.Grant, action, repository string) bool {
	var wanted oat.Action
	switch action {
	case actionPull:
		wanted = oat.Pull
	case actionPush:
		wanted = oat.Push
	default:
		return false
	}
	if grant.Allows(wanted, repository, oat.VisibilityUnknown) {
		return true
	}
	return grant.Allows(wanted, repository, oat.VisibilityPublic) &&
		grant.Allows(wanted, repository, s.visibility(ctx, repository))
}

func (s *Server) visibility(ctx context.Context, repository string) oat.Visibility {
	if s.cfg.Visibility == nil {
		return oat.VisibilityUnknown
	}
	v, err := s.cfg.Visibility(ctx, repository)
	if err != nil {
		s.cfg.Logger.WarnContext(ctx, "visibility not known", slog.String("repository", oat.MaskSecrets(repository)), slog.Any("cause", err))
		return oat.VisibilityUnknown
	}
	return v
}
