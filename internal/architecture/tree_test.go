// Package architecture has tests that compare the source of this module with the
// rules for it in ARCHITECTURE.md and docs/CONTRIBUTING.md.
package architecture

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"testing"
)

const modulePath = "github.com/autorestart-go/autorestart"

// module returns the files of this module. Tests run in the folder of their package.
func module(t *testing.T) fs.FS {
	t.Helper()
	const root = "../.."
	if _, err := os.Stat(root + "/go.mod"); err != nil {
		t.Fatal(err)
	}
	return os.DirFS(root)
}

// wantNone fails for each violation that a check finds in this module.
func wantNone(t *testing.T, check func(fs.FS) (violations []string, err error)) {
	t.Helper()
	violations, err := check(module(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, violation := range violations {
		t.Error(violation)
	}
}

func read(t *testing.T, tree fs.FS, name string) string {
	t.Helper()
	b, err := fs.ReadFile(tree, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// walk calls f for each regular file, with its slash-separated path. It skips what
// begins with a dot.
func walk(tree fs.FS, f func(name string) error) error {
	return fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name != "." && strings.HasPrefix(entry.Name(), "."):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.Type().IsRegular():
			return f(name)
		}
		return nil
	})
}

// The kinds of packages that are imported.
const (
	ours    = "this module's" // path is the name in the table
	sys     = "golang.org/x/sys"
	std     = "standard library"
	foreign = "another module's"
)

type fileImport struct {
	file string // without its folder
	kind string
	path string
}

// imports returns the imports of every package of the module, of files for all
// systems and with all tags. Tests, testdata and nested modules are left out.
func imports(tree fs.FS) (map[string][]fileImport, error) {
	nested := make(map[string]bool)
	var files []string
	err := walk(tree, func(name string) error {
		switch {
		case path.Base(name) == "go.mod" && name != "go.mod":
			nested[path.Dir(name)] = true
		case isSource(name):
			files = append(files, name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	packages := make(map[string][]fileImport)
	for _, name := range files {
		if isBelow(name, func(folder string) bool { return nested[folder] || path.Base(folder) == "testdata" }) {
			continue
		}
		src, err := fs.ReadFile(tree, name)
		if err != nil {
			return nil, err
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
		if err != nil {
			return nil, err
		}
		pkg := tableName(path.Join(modulePath, path.Dir(name)))
		if packages[pkg] == nil {
			packages[pkg] = []fileImport{}
		}
		for _, spec := range f.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return nil, err
			}
			packages[pkg] = append(packages[pkg], newImport(path.Base(name), imported))
		}
	}
	return packages, nil
}

func newImport(file, imported string) fileImport {
	first, _, _ := strings.Cut(imported, "/")
	switch {
	case imported == modulePath, strings.HasPrefix(imported, modulePath+"/"):
		return fileImport{file, ours, tableName(imported)}
	case strings.HasPrefix(imported, "golang.org/x/sys/"):
		return fileImport{file, sys, imported}
	case strings.Contains(first, "."):
		return fileImport{file, foreign, imported}
	}
	return fileImport{file, std, imported}
}

// tableName returns the name of a package of this module in the table.
func tableName(importPath string) string {
	if importPath == modulePath {
		return "autorestart"
	}
	return strings.TrimPrefix(importPath, modulePath+"/")
}

// isSource reports whether a file is Go source but no test.
func isSource(name string) bool {
	return strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
}

// isBelow reports whether one of the folders that a file is in matches.
func isBelow(name string, match func(folder string) bool) bool {
	for folder := path.Dir(name); folder != "."; folder = path.Dir(folder) {
		if match(folder) {
			return true
		}
	}
	return false
}
