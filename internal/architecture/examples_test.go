package architecture

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// withoutExample are the exported names that no example has to show, with the reason.
var withoutExample = map[string]string{}

// Each exported type and function is in an example of its package, or of another one.
func TestExamples(t *testing.T) {
	wantNone(t, func(tree fs.FS) ([]string, error) { return examples(tree, withoutExample) })
}

func examples(tree fs.FS, without map[string]string) (violations []string, err error) {
	lines, err := api(tree)
	if err != nil {
		return nil, err
	}
	shown, err := shownNames(tree)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, line := range lines {
		pkg, what, _ := strings.Cut(strings.TrimPrefix(line, "pkg "), ", ")
		fields := strings.FieldsFunc(what, func(r rune) bool { return r == ' ' || r == '(' || r == '[' })
		if fields[0] != "func" && fields[0] != "type" || strings.Contains(what, " struct,") || strings.Contains(what, " interface,") {
			continue
		}
		names = append(names, path.Base(pkg)+"."+fields[1])
	}
	for _, name := range names {
		if !shown[name] && without[name] == "" {
			violations = append(violations, fmt.Sprintf("%s is in no example", name))
		}
	}
	for name := range without {
		if shown[name] || !slices.Contains(names, name) {
			violations = append(violations, name+" needs no exception")
		}
	}
	slices.Sort(violations)
	return violations, nil
}

// shownNames returns the names of packages' types and functions in example_test.go files.
func shownNames(tree fs.FS) (map[string]bool, error) {
	shown := make(map[string]bool)
	err := walk(tree, func(name string) error {
		if path.Base(name) != "example_test.go" {
			return nil
		}
		src, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		folders := make(map[string]string) // by the name of an import, if that is given
		for _, spec := range f.Imports {
			if spec.Name != nil {
				folders[spec.Name.Name] = path.Base(strings.Trim(spec.Path.Value, `"`))
			}
		}
		ast.Inspect(f, func(node ast.Node) bool {
			if s, ok := node.(*ast.SelectorExpr); ok {
				if pkg, ok := s.X.(*ast.Ident); ok {
					shown[cmp.Or(folders[pkg.Name], pkg.Name)+"."+s.Sel.Name] = true
				}
			}
			return true
		})
		return nil
	})
	return shown, err
}

func TestExamplesCheck(t *testing.T) {
	tree := fstest.MapFS{
		"p/p.go": source("package p\n\ntype Shown struct{ X int }\n\nfunc (Shown) Method() {}\n\ntype Not interface{ M() }\n\n" +
			"func Called[T any](T) {}\n\nfunc Excused() {}\n\nfunc Missing() {}\n\nconst C = 1\n\nvar V int\n"),
		"p/example_test.go":   source("package p_test\n\nfunc Example() {\n\tp.Called(p.Shown{})\n}\n"),
		"c/q/q.go":            source("package named\n\nfunc Called() {}\n"),
		"c/q/example_test.go": source("package named_test\n\nimport named \"example.org/c/q\"\n\nfunc Example() {\n\tnamed.Called()\n}\n"),
	}
	want := []string{"p.Called needs no exception", "p.Gone needs no exception", "p.Missing is in no example", "p.Not is in no example"}
	got, err := examples(tree, map[string]string{"p.Excused": "a reason", "p.Called": "a reason", "p.Gone": "a reason"})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}
