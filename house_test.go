// Package oatmill_test holds the floor plan of the house: which package may import
// which, in every module of the repository.
package oatmill_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oatmill/oatmill/events/relay"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
)

// What follows the log has the shape of a projection, without importing the package.
var (
	_ projection.Projection = (*oat.Verifier)(nil)
	_ projection.Confirmer  = (*oat.Verifier)(nil)
	_ projection.Rebuilder  = (*oat.Verifier)(nil)
	_ projection.Projection = (*relay.Relay)(nil)
)

const module = "github.com/oatmill/oatmill"

// room is what one package may import beside the standard library. Paths of ours are
// relative to the module; paths from outside cover what lies below them. Test files may
// import what their package may, the package itself, and more.
type room struct {
	ours    []string
	outside []string
	tests   []string // more for test files, ours
	helpers []string // more for test files, from outside
	testing bool     // a package for tests: may import testing, and is imported by tests only
}

const (
	ulid      = "github.com/oklog/ulid/v2"
	uuid      = "github.com/google/uuid"
	rapid     = "pgregory.net/rapid"
	watermill = "github.com/ThreeDotsLabs/watermill"
	jose      = "github.com/go-jose/go-jose/v4"
	cmp       = "github.com/google/go-cmp"
	sqlite    = "modernc.org/sqlite"
	libc      = "modernc.org/libc" // the memory of it
	goleak    = "go.uber.org/goleak"
	porcupine = "github.com/anishathalye/porcupine"
	pgx       = "github.com/jackc/pgx/v5"
	nats      = "github.com/nats-io/nats.go"
	server    = "github.com/nats-io/nats-server/v2"
	schema    = "github.com/santhosh-tekuri/jsonschema/v6"
	text      = "golang.org/x/text"
)

func floorPlan() map[string]room {
	return map[string]room{
		"":       {tests: []string{"events", "events/relay", "events/memlog", "oat", "oat/oattest", "projection", "quota"}},
		"events": {outside: []string{ulid}, tests: []string{"events/memlog"}, helpers: []string{cmp, rapid}},
		"quota":  {helpers: []string{cmp, rapid}},
		"events/memlog": {
			ours: []string{"events"}, outside: []string{ulid}, tests: []string{"events/logtest"}, helpers: []string{rapid},
		},
		"events/logtest": {
			ours: []string{"events"}, outside: []string{ulid, rapid}, tests: []string{"events/memlog"}, testing: true,
		},
		"events/relay": {
			ours: []string{"events"}, outside: []string{ulid, watermill}, tests: []string{"events/memlog"}, helpers: []string{rapid, cmp},
		},
		"events/durable/sqlitelog": {
			ours: []string{"events", "events/durable/internal/tail", "events/durable/internal/wholelog"}, outside: []string{ulid, sqlite, libc}, tests: []string{"events/logtest", "events/durable/internal/linear", "events/durable/internal/testkit"}, helpers: []string{goleak, rapid, cmp, "golang.org/x/sys"},
		},
		"events/durable/pglog": {
			ours: []string{"events", "events/durable/internal/tail", "events/durable/internal/wholelog"}, outside: []string{ulid, pgx}, tests: []string{"events/logtest", "events/durable/internal/linear", "events/durable/internal/testkit", "events/durable/pgserver"}, helpers: []string{goleak, rapid, cmp},
		},
		"events/durable/pgserver": {},
		"events/durable/natslog": {
			ours: []string{"events", "events/durable/internal/tail"}, outside: []string{ulid, nats}, tests: []string{"events/logtest", "events/durable/internal/linear", "events/durable/internal/testkit", "events/durable/natscluster"}, helpers: []string{goleak, rapid, cmp},
		},
		"events/durable/natscluster":       {outside: []string{server, nats}},
		"events/durable/internal/tail":     {ours: []string{"events"}},
		"events/durable/internal/wholelog": {ours: []string{"events"}},
		"events/durable/internal/linear": {
			ours: []string{"events"}, outside: []string{ulid, porcupine}, testing: true,
		},
		"events/durable/internal/testkit": {
			ours: []string{"events"}, testing: true,
		},
		"events/durable": {
			tests: []string{
				"events", "events/memlog", "events/relay", "events/durable/sqlitelog", "events/durable/pglog", "events/durable/pgserver", "events/durable/natslog", "events/durable/natscluster", "events/durable/internal/testkit",
				"oat", "oat/oattest/invariants", "projection", "projection/projtest", "projection/sqlview", "quota",
			},
			helpers: []string{ulid, uuid, sqlite, pgx, nats, server, watermill, watermill + "-nats", cmp, rapid, goleak},
		},
		"projection": {
			ours: []string{"events", "quota"}, outside: []string{uuid},
			tests: []string{"projection/projtest", "events/memlog"}, helpers: []string{ulid, rapid, cmp},
		},
		"projection/projtest": {
			ours: []string{"projection", "events", "quota"}, outside: []string{uuid, ulid}, tests: []string{"events/memlog"}, testing: true,
		},
		"projection/sqlview": {
			ours: []string{"projection", "events", "quota"}, outside: []string{uuid},
		},
		"oat": {
			ours: []string{"events", "quota"}, outside: []string{uuid, ulid, text},
			tests: []string{"oat/oattest", "oat/oattest/invariants", "events/memlog", "events/logtest", "projection"}, helpers: []string{rapid, cmp},
		},
		"oat/oattest": {
			ours: []string{"oat", "events", "events/memlog", "quota"}, testing: true,
		},
		"oat/oattest/invariants": {
			ours:    []string{"oat", "oat/oattest", "events", "projection", "quota"},
			outside: []string{uuid, ulid, rapid}, tests: []string{"events/memlog"}, testing: true,
		},
		"oat/hubapi": {
			ours: []string{"oat", "projection", "quota", "events"}, outside: []string{uuid, jose},
			tests: []string{"oat/oattest", "events/memlog"}, helpers: []string{rapid, cmp, schema},
		},
		"oat/console": {
			ours: []string{"oat", "projection", "quota", "events"}, outside: []string{uuid},
			tests: []string{"oat/oattest", "events/memlog"}, helpers: []string{rapid, cmp},
		},
		"oat/registryauth": {
			ours: []string{"oat"}, outside: []string{uuid, jose},
			tests: []string{"oat/oattest", "quota", "events", "events/memlog"}, helpers: []string{rapid, cmp},
		},
	}
}

// source is one parsed file and where it stands.
type source struct {
	pkg  string // of the directory, relative to the module: "events/memlog"
	name string
	file *ast.File
}

func (s source) isTest() bool { return strings.HasSuffix(s.name, "_test.go") }

// isExample tells whether the package is of the examples, which may import anything
// public.
func isExample(pkg string) bool { return pkg == "examples" || strings.HasPrefix(pkg, "examples/") }

// sources parses every Go file of the repository.
func sources(t *testing.T) (all []source) {
	t.Helper()
	files := token.NewFileSet()
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata"):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		file, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution|parser.ParseComments)
		if err != nil {
			return err
		}
		dir := strings.TrimPrefix(path.Dir(filepath.ToSlash(name)), ".")
		all = append(all, source{pkg: dir, name: filepath.ToSlash(name), file: file})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// violations says what in the file is not as the floor plan has it.
func violations(plan map[string]room, s source) (found []string) {
	if isExample(s.pkg) {
		return forbiddenIn(plan, s)
	}
	room, ok := plan[s.pkg]
	if !ok {
		return []string{fmt.Sprintf("%s: package %q is not on the floor plan", s.name, s.pkg)}
	}
	for _, imported := range s.file.Imports {
		if target := strings.Trim(imported.Path.Value, `"`); !room.admits(s, target) {
			found = append(found, fmt.Sprintf("%s: may not import %s", s.name, target))
		}
	}
	return append(found, forbiddenIn(plan, s)...)
}

func (r room) admits(s source, target string) bool {
	if ours, ok := strings.CutPrefix(target, module+"/"); ok {
		return slices.Contains(r.ours, ours) || s.isTest() && (ours == s.pkg || slices.Contains(r.tests, ours))
	}
	if target == "testing" || strings.HasPrefix(target, "testing/") {
		return r.testing || s.isTest()
	}
	if first, _, _ := strings.Cut(target, "/"); !strings.Contains(first, ".") {
		return true // the standard library
	}
	outside := r.outside
	if s.isTest() {
		outside = append(slices.Clone(outside), r.helpers...)
	}
	return slices.ContainsFunc(outside, func(allowed string) bool {
		return target == allowed || strings.HasPrefix(target, allowed+"/")
	})
}

// forbiddenIn finds what no file but a test's may have: an init function, an import of a
// package for tests, and, in the library itself, a variable that is neither an error nor
// constant.
func forbiddenIn(plan map[string]room, s source) (found []string) {
	if s.isTest() {
		return nil
	}
	production := !plan[s.pkg].testing && !isExample(s.pkg)
	if !plan[s.pkg].testing {
		for _, imported := range s.file.Imports {
			target := strings.TrimPrefix(strings.Trim(imported.Path.Value, `"`), module+"/")
			if plan[target].testing {
				found = append(found, fmt.Sprintf("%s: imports %s, which is for tests", s.name, target))
			}
		}
	}
	for _, declaration := range s.file.Decls {
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.Name == "init" {
				found = append(found, fmt.Sprintf("%s: has an init function", s.name))
			}
		case *ast.GenDecl:
			if production {
				found = append(found, globals(s, d)...)
			}
		}
	}
	return found
}

// constants are package-level variables that Go cannot declare constant, and that are
// never written to.
func constants() []string {
	return []string{"oat.base62Values", "oat.tombstone"}
}

func globals(s source, d *ast.GenDecl) (found []string) {
	if d.Tok != token.VAR {
		return nil
	}
	if d.Doc != nil && strings.HasPrefix(d.Doc.List[len(d.Doc.List)-1].Text, "//go:embed ") {
		return nil // a file of the package
	}
	for _, spec := range d.Specs {
		for _, name := range spec.(*ast.ValueSpec).Names {
			isError := strings.HasPrefix(strings.ToLower(name.Name), "err")
			if name.Name != "_" && !isError && !slices.Contains(constants(), path.Base(s.pkg)+"."+name.Name) {
				found = append(found, fmt.Sprintf("%s: %s is a package-level variable", s.name, name.Name))
			}
		}
	}
	return found
}

func TestFloorPlan(t *testing.T) {
	plan := floorPlan()
	seen := make(map[string]bool)
	for _, s := range sources(t) {
		seen[s.pkg] = true
		for _, v := range violations(plan, s) {
			t.Error(v)
		}
	}
	for pkg := range plan {
		if !seen[pkg] {
			t.Errorf("%q is on the floor plan and not in the house", pkg)
		}
	}
}

// TestFloorPlanSeesWhatIsWrong plants what the floor plan forbids, one at a time.
func TestFloorPlanSeesWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ pkg, name, code string }{
		{"events", "x.go", `package events; import _ "github.com/oatmill/oatmill/oat"`},
		{"events", "x.go", `package events; import _ "github.com/google/uuid"`},
		{"quota", "x.go", `package quota; import _ "github.com/oatmill/oatmill/events"`},
		{"oat", "x.go", `package oat; import _ "github.com/oatmill/oatmill/projection"`},
		{"oat", "x.go", `package oat; import _ "github.com/oatmill/oatmill/events/memlog"`},
		{"oat", "x.go", `package oat; import _ "testing"`},
		{"oat", "x.go", `package oat; import _ "pgregory.net/rapid"`},
		{"oat", "x.go", `package oat; import _ "github.com/stretchr/testify/require"`},
		{"oat", "x_test.go", `package oat; import _ "github.com/stretchr/testify/require"`},
		{"oat", "x.go", `package oat; func init() {}`},
		{"oat", "x.go", `package oat; var registry = map[string]int{}`},
		{"projection", "x.go", `package projection; import _ "github.com/ThreeDotsLabs/watermill/message"`},
		{"examples/shop", "x.go", `package main; import _ "github.com/oatmill/oatmill/oat/oattest"`},
		{"tools", "x.go", `package tools`},
	} {
		file, err := parser.ParseFile(token.NewFileSet(), c.name, c.code, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if len(violations(floorPlan(), source{c.pkg, c.pkg + "/" + c.name, file})) == 0 {
			t.Errorf("nothing is wrong with %q in %s/%s", c.code, c.pkg, c.name)
		}
	}
}
