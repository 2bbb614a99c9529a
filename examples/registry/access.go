package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/oatmill/oatmill/examples/internal/cli"
	"github.com/oatmill/oatmill/oat"
)

// accessFlags say what a token reaches.
type accessFlags struct {
	public bool
	all    string
	repos  []string
}

func (a *accessFlags) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&a.public, "public", false, "read public repositories, whoever's they are")
	cmd.Flags().StringVar(&a.all, "all", "", "all repositories of the organization: read or read-write")
	cmd.Flags().StringArrayVar(&a.repos, "repo", nil,
		"one repository, as `NAME=LEVEL` with the level read or read-write; once for each, at most 50")
}

// given tells whether any of the flags was.
func (a *accessFlags) given() bool { return a.public || a.all != "" || len(a.repos) > 0 }

// resources is the access as it is granted by the organization. Exactly one of the
// presets must have been chosen.
func (a *accessFlags) resources(organization string) ([]oat.Resource, error) {
	switch {
	case !a.given():
		return nil, cli.Usagef("say what the token reaches, with exactly one of --public, --all and --repo")
	case a.public && a.all == "" && len(a.repos) == 0:
		return []oat.Resource{oat.Public()}, nil
	case a.all != "" && !a.public && len(a.repos) == 0:
		level, err := parseLevel("--all", a.all)
		return []oat.Resource{oat.All(organization, level)}, err
	case !a.public && a.all == "":
		return a.repositories(organization)
	}
	return nil, cli.Usagef("--public, --all and --repo exclude each other")
}

func (a *accessFlags) repositories(organization string) ([]oat.Resource, error) {
	var chosen []oat.Resource
	for _, repo := range a.repos {
		name, text, ok := strings.Cut(repo, "=")
		if !ok || name == "" {
			return nil, cli.Usagef("--repo %q: want NAME=read or NAME=read-write", repo)
		}
		level, err := parseLevel("--repo "+name, text)
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, oat.Repository(fullName(organization, name), level))
	}
	return chosen, nil
}

// fullName is a repository's name with its organization. A name that has a slash is
// taken as it is: another organization's repository must be refused as such, and not
// become one of this organization's with a similar name.
func fullName(organization, name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	return organization + "/" + name
}

func parseLevel(flag, text string) (oat.Level, error) {
	switch text {
	case "read":
		return oat.Read, nil
	case "read-write":
		return oat.ReadWrite, nil
	}
	return 0, cli.Usagef("%s: the level is %q, want read or read-write", flag, text)
}
