package sqlview

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"

	"github.com/oatmill/oatmill/quota"
)

// Dialect is the SQL that the host's database speaks.
type Dialect string

// The dialects, with the oldest versions that have what is needed.
const (
	PostgreSQL Dialect = "postgresql" // 15
	SQLite     Dialect = "sqlite"     // 3.39
)

// DefaultPrefix is what the names of all tables and views begin with, unless
// Config.Prefix says otherwise.
const DefaultPrefix = "oatmill_"

// Config says where the tables stand. Dialect is required; for everything else zero
// works. Processes that share the tables give the same Config.
type Config struct {
	Dialect Dialect

	// Schema is the schema of the tables in PostgreSQL, made if it is not there. Empty
	// means the one the connection makes tables in, which is "public" as a rule. SQLite has
	// none.
	Schema string

	// Prefix begins the names of tables, views and indexes: at most 30 lower-case letters,
	// digits and underscores, with no digit first. Several views with different prefixes
	// can stand in one schema. Empty means [DefaultPrefix].
	Prefix string

	// Plans are the limits that [View.Count] and the view counts go by; their names and
	// limits are written to the table plans when the view is opened. nil means
	// [quota.Docker].
	Plans quota.Plans

	// Logger receives a warning when tables of an older layout are emptied. nil discards it.
	Logger *slog.Logger
}

// ErrSuperseded means that another rebuild of the same view began and took over.
var ErrSuperseded = errors.New("another rebuild took over")

func (cfg Config) withDefaults() Config {
	if cfg.Prefix == "" {
		cfg.Prefix = DefaultPrefix
	}
	if cfg.Plans == nil {
		cfg.Plans = quota.Docker()
	}
	cfg.Plans = maps.Clone(cfg.Plans)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg
}

// maxPrefix leaves room for the rest of a name in the 63 bytes PostgreSQL has for one.
const maxPrefix = 30

func (cfg Config) check() error {
	switch {
	case cfg.Dialect != PostgreSQL && cfg.Dialect != SQLite:
		return fmt.Errorf("dialect %q: want %q or %q", cfg.Dialect, PostgreSQL, SQLite)
	case cfg.Dialect == SQLite && cfg.Schema != "":
		return fmt.Errorf("schema %q: SQLite has none", cfg.Schema)
	case len(cfg.Prefix) > maxPrefix || !isName(cfg.Prefix):
		return fmt.Errorf("prefix %q: want at most %d lower-case letters, digits and underscores, with no digit first", cfg.Prefix, maxPrefix)
	}
	return nil
}

func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || c == '_' || i > 0 && '0' <= c && c <= '9') {
			return false
		}
	}
	return true
}
