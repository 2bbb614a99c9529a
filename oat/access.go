package oat

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/quota"
)

// Resource is one line of what a token may reach. It is recorded exactly as it is
// given. Make one with [Public], [All] or [Repository], or write it down as Docker
// Hub's API does.
type Resource = events.Resource

// The words of a [Resource].
const (
	TypeRepository = "TYPE_REPO"
	ScopePull      = "scope-image-pull" // read
	ScopePush      = "scope-image-push" // read and write
	PathPublic     = "*/*/public"       // public repositories of everyone
)

// Level is how far access to a repository goes. Neither level includes deletion.
type Level uint8

// The levels of access. The zero Level is none.
const (
	Read      Level = iota + 1 // pull
	ReadWrite                  // pull and push
)

// Public is read access to public repositories, whoever's they are.
func Public() Resource { return resource(PathPublic, Read) }

// All is access to every repository of the organization, those to come included.
func All(organization string, level Level) Resource {
	return resource(organization+"/*", level)
}

// Repository is access to one repository, named "ORG/REPO".
func Repository(repository string, level Level) Resource { return resource(repository, level) }

func resource(path string, level Level) Resource {
	r := Resource{Type: TypeRepository, Path: path}
	switch level {
	case Read:
		r.Scopes = []string{ScopePull}
	case ReadWrite:
		r.Scopes = []string{ScopePull, ScopePush}
	}
	return r
}

// resourceProblems checks what a token of the organization is to reach: public
// repositories, or all of the organization's, or up to [quota.MaxRepositories]
// selected ones of the organization's; never two of these together.
func resourceProblems(organization string, resources []Resource) (found ValidationErrors) {
	if len(resources) == 0 {
		found.add("resources", "choose public repositories, all repositories, or some repositories")
	}
	if len(resources) > quota.MaxRepositories {
		found.add("resources", fmt.Sprintf("%d are given, at most %d repositories can be selected", len(resources), quota.MaxRepositories))
		return found
	}
	add := func(i int, field, problem string) {
		if problem != "" {
			found.add(fmt.Sprintf("resources[%d].%s", i, field), problem)
		}
	}
	for i, r := range resources {
		if r.Type != TypeRepository {
			add(i, "type", fmt.Sprintf("%q is not supported, want %q", clip(r.Type), TypeRepository))
		}
		repeated := slices.ContainsFunc(resources[:i], func(o Resource) bool { return o.Path == r.Path })
		add(i, "path", pathProblem(organization, r.Path, repeated, len(resources) > 1))
		add(i, "scopes", scopeProblem(r))
	}
	return found
}

func pathProblem(organization, path string, repeated, several bool) string {
	preset := path == PathPublic || path == organization+"/*"
	switch {
	case ContainsSecret(path):
		return secretProblem(path)
	case repeated:
		return fmt.Sprintf("%q is given twice", clip(path))
	case preset && several:
		return fmt.Sprintf("%q cannot be combined with other resources", path)
	case preset:
		return ""
	case !isRepository(path):
		return fmt.Sprintf("%q is not a repository, want %q, %q or %q", clip(path), organization+"/REPO", organization+"/*", PathPublic)
	case !belongs(path, organization):
		return fmt.Sprintf("%q is not a repository of %s", clip(path), organization)
	}
	return ""
}

func scopeProblem(r Resource) string {
	if len(r.Scopes) == 0 {
		return fmt.Sprintf("want %q or %q", ScopePull, ScopePush)
	}
	for i, scope := range r.Scopes {
		switch {
		case scope != ScopePull && scope != ScopePush:
			return fmt.Sprintf("%q is not supported, want %q or %q", clip(scope), ScopePull, ScopePush)
		case slices.Contains(r.Scopes[:i], scope):
			return fmt.Sprintf("%q is given twice", scope)
		case scope == ScopePush && r.Path == PathPublic:
			return "public repositories can only be read"
		}
	}
	return ""
}

// belongs tells whether repository is one of the organization's.
func belongs(repository, organization string) bool {
	return len(repository) > len(organization)+1 &&
		repository[len(organization)] == '/' && strings.HasPrefix(repository, organization)
}

// presets is how far a token's access goes where no repository is named.
type presets struct {
	public Level // to public repositories, whoever's
	all    Level // to every repository of the organization
}

// chosen is a repository that a token's access names.
type chosen struct {
	repository string
	level      Level
}

// setAccess makes resources ready for deciding. What it does not understand, or what
// reaches outside the organization, opens nothing: a new reading of old records may
// only narrow them.
func (c *credential) setAccess(resources []Resource) {
	c.presets, c.chosen = presets{}, nil
	for _, r := range resources {
		level := levelOf(r)
		switch {
		case level == 0:
		case r.Path == PathPublic:
			c.presets.public = Read
		case r.Path == c.tenant.name+"/*":
			c.presets.all = max(c.presets.all, level)
		case isRepository(r.Path) && belongs(r.Path, c.tenant.name):
			// The path shares memory with a whole record; the copy lets that go.
			c.chosen = append(c.chosen, chosen{strings.Clone(r.Path), level})
		}
	}
	c.chosen = slices.Clip(c.chosen)
}

// level is how far the credential's access to a repository goes.
func (c *credential) level(repository string, v Visibility) (level Level) {
	if v == VisibilityPublic {
		level = c.presets.public
	}
	if !belongs(repository, c.tenant.name) {
		return level
	}
	level = max(level, c.presets.all)
	for i := range c.chosen {
		if c.chosen[i].repository == repository {
			level = max(level, c.chosen[i].level)
		}
	}
	return level
}

func levelOf(r Resource) (level Level) {
	if r.Type != TypeRepository {
		return 0
	}
	for _, scope := range r.Scopes {
		switch scope {
		case ScopePull:
			level = max(level, Read)
		case ScopePush:
			level = ReadWrite
		}
	}
	return level
}

// maxQuoted is how many bytes a message quotes of a text.
const maxQuoted = 64

// clip returns what a message quotes of a text: no secrets, and not more than maxQuoted
// bytes.
func clip(s string) string {
	s = maskBeginning(strings.ToValidUTF8(bounded(s), ""), len(s) > maxMasked)
	if len(s) > maxQuoted {
		return strings.ToValidUTF8(s[:maxQuoted], "") + "…"
	}
	return s
}
