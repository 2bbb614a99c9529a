package site

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/token" // the "token" of the configuration
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // and its "filesystem"
	"github.com/sirupsen/logrus"

	"github.com/oatmill/oatmill/examples/internal/cli"
	"github.com/oatmill/oatmill/oat"
)

// ServiceName is what the registry and its token endpoint call each other.
const ServiceName = "oatmill-registry"

// Images is the CNCF distribution registry. It keeps images in the data folder, and
// takes bearer tokens that the token endpoint at realm signed.
type Images struct{ *handlers.App }

// NewImages configures the registry as its configuration file would. The registry
// panics over a configuration it cannot use, which here is an error like any other.
func NewImages(data Folder, realm string, verbose bool) (i *Images, err error) {
	defer func() {
		if problem := recover(); problem != nil {
			err = fmt.Errorf("start the registry in %s: %v", data.Images(), problem)
		}
	}()
	// The registry logs as errors what is everyday, like asking for a layer that has
	// to be pushed yet. LogFailures tells what is not.
	logrus.SetLevel(logrus.InfoLevel)
	logrus.SetFormatter(newDiscreet())
	if !verbose {
		logrus.SetOutput(io.Discard)
	}
	config := &configuration.Configuration{
		Storage: configuration.Storage{
			"filesystem": {"rootdirectory": data.Images()},
			"delete":     {"enabled": false}, // no token allows it either
		},
		Auth: configuration.Auth{"token": {
			"realm": realm, "issuer": ServiceName, "service": ServiceName, "jwks": data.JWKS(),
		}},
	}
	config.HTTP.Secret = rand.Text() // signs the state of uploads, which end with the process
	return &Images{handlers.NewApp(context.Background(), config)}, nil
}

// Close ends the registry. One that never was needs no end.
func (i *Images) Close() error {
	if i == nil {
		return nil
	}
	return i.Shutdown()
}

// PublicUsage is what to say of the flag that names public repositories.
const PublicUsage = "a repository, like `ORG/REPO`, that everybody may pull, also without logging in; once for each"

// CheckPublic looks at what somebody gave to a flag that names public repositories.
func CheckPublic(flag string, repositories []string) error {
	for _, name := range repositories {
		if organization, repository, _ := strings.Cut(name, "/"); organization == "" || repository == "" {
			return cli.Usagef("%s %q: want ORG/REPO", flag, name)
		}
	}
	return nil
}

// Public makes some repositories public and all others private.
func Public(repositories []string) func(context.Context, string) (oat.Visibility, error) {
	return func(_ context.Context, repository string) (oat.Visibility, error) {
		if slices.Contains(repositories, repository) {
			return oat.VisibilityPublic, nil
		}
		return oat.VisibilityPrivate, nil
	}
}

// maxSuggestions is how many names of repositories are of use to a person at a time.
const maxSuggestions = 20

// Repositories names repositories of an organization into which something was pushed
// and whose name holds query, as far as they fit on a screen. The registry's folders say
// which there are: a catalogue would list those of everybody.
func (f Folder) Repositories(ctx context.Context, organization, query string) (names []string, err error) {
	root := filepath.Join(f.Images(), "docker", "registry", "v2", "repositories")
	err = filepath.WalkDir(filepath.Join(root, organization), func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !entry.IsDir() || !strings.HasPrefix(entry.Name(), "_"):
			return ctx.Err()
		case entry.Name() != "_manifests":
			return fs.SkipDir // the registry's own, and most of what there is
		}
		relative, err := filepath.Rel(root, filepath.Dir(path))
		if name := filepath.ToSlash(relative); err == nil && strings.Contains(name, query) {
			names = append(names, name)
		}
		if len(names) == maxSuggestions {
			return fs.SkipAll
		}
		return fs.SkipDir
	})
	if errors.Is(err, os.ErrNotExist) {
		return names, nil
	}
	return names, err
}
