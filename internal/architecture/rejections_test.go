package architecture

import (
	"fmt"
	"go/ast"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// A rejectionText is a text of a field Found or Expected, see autorestart.RejectedError.
type rejectionText struct{ column, text string }

// rejectionTexts returns what the library sets the fields Found and Expected to, directly or by
// an argument, a result or a variable that is named found or expected. A text has to have a
// constant part, so that it can be looked up.
func rejectionTexts(tree fs.FS) (texts []rejectionText, violations []string, err error) {
	packages, err := parseLibrary(tree)
	if err != nil {
		return nil, nil, err
	}
	for _, pkg := range packages {
		for _, fn := range pkg.all {
			add := func(column string, x ast.Expr) {
				for _, text := range fn.texts(x) {
					switch {
					case text != "" && text != ellipsis:
						texts = append(texts, rejectionText{column, text})
					case !mentions(x, column):
						violations = append(violations, fmt.Sprintf("%v: the text of %s has no constant part", fn.position(x), column))
					}
				}
			}
			ast.Inspect(fn.decl.Body, func(n ast.Node) bool {
				fn.eachRejectionText(n, packages, add)
				return true
			})
		}
	}
	slices.Sort(violations)
	return texts, violations, nil
}

// eachRejectionText calls add for each text that a node sets.
func (fn *function) eachRejectionText(n ast.Node, packages map[string]*library, add func(column string, x ast.Expr)) {
	switch n := n.(type) {
	case *ast.KeyValueExpr:
		if column := columnOf(n.Key); column != "" {
			add(column, n.Value)
		}
	case *ast.AssignStmt:
		for i, left := range n.Lhs {
			if _, isField := left.(*ast.SelectorExpr); isField && columnOf(left) != "" && len(n.Lhs) == len(n.Rhs) {
				add(columnOf(left), n.Rhs[i])
			}
		}
	case *ast.ReturnStmt:
		for i, name := range stringNames(fn.decl.Type.Results) {
			if column := columnOf(name); column != "" && i < len(n.Results) {
				add(column, n.Results[i])
			}
		}
	case *ast.CallExpr:
		if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "append" && columnOf(n.Args[0]) != "" {
			for _, text := range n.Args[1:] { // of texts, or of anything else
				if !slices.Contains(fn.texts(text), ellipsis) {
					add(columnOf(n.Args[0]), text)
				}
			}
		}
		called, sure := fn.calledType(n, packages)
		if called == nil {
			return
		}
		for i, name := range stringNames(called.Params) {
			if column := columnOf(name); column != "" && i < len(n.Args) && (sure || !slices.Contains(fn.texts(n.Args[i]), ellipsis)) {
				add(column, n.Args[i])
			}
		}
	}
}

// calledType returns the type of the function of this module that a call is of, or nil. It is not
// sure of a method, because several types may have one of that name.
func (fn *function) calledType(call *ast.CallExpr, packages map[string]*library) (typ *ast.FuncType, sure bool) {
	var called *function
	sure = true
	switch fun := call.Fun.(type) {
	case *ast.Ident:
		if set := fn.set[fun.Name]; len(set) == 1 {
			if literal, ok := set[0].(*ast.FuncLit); ok {
				return literal.Type, true
			}
		}
		called = fn.funcs[fun.Name]
	case *ast.SelectorExpr:
		switch name, ok := fn.imported(fun.X); {
		case !ok:
			called, sure = fn.methodWithText(fun.Sel.Name), false
		case packages[name] != nil:
			called = packages[name].funcs[fun.Sel.Name]
		}
	}
	if called == nil {
		return nil, false
	}
	return called.decl.Type, sure
}

// methodWithText returns the method of the given name that gets a text of a column, or nil.
func (l *library) methodWithText(name string) *function {
	for _, fn := range l.all {
		if fn.decl.Recv == nil || fn.decl.Name.Name != name {
			continue
		}
		if slices.ContainsFunc(stringNames(fn.decl.Type.Params), func(param *ast.Ident) bool { return columnOf(param) != "" }) {
			return fn
		}
	}
	return nil
}

// columnOf returns the column that a name stands for, or "".
func columnOf(x ast.Expr) string {
	name := ""
	switch x := x.(type) {
	case *ast.Ident:
		if x != nil {
			name = x.Name
		}
	case *ast.SelectorExpr:
		name = x.Sel.Name
	}
	for _, column := range []string{"Found", "Expected"} {
		if strings.EqualFold(name, column) {
			return column
		}
	}
	return ""
}

// mentions reports whether an expression has a text of the column in it, which was counted
// elsewhere.
func mentions(x ast.Expr, column string) (found bool) {
	ast.Inspect(x, func(n ast.Node) bool {
		if x, ok := n.(ast.Expr); ok && columnOf(x) == column {
			found = true
		}
		return true
	})
	return found
}

// stringNames returns the names of parameters or results; nil for those that are no strings.
func stringNames(fields *ast.FieldList) (all []*ast.Ident) {
	if fields == nil {
		return nil
	}
	for _, field := range fields.List {
		typ, _ := field.Type.(*ast.Ident)
		for _, name := range field.Names {
			if typ == nil || typ.Name != "string" {
				name = nil
			}
			all = append(all, name)
		}
	}
	return all
}

func TestRejectionTextsAreFound(t *testing.T) {
	tree := fstest.MapFS{
		"a.go": source(`package autorestart
import "` + modulePath + `/internal/candidate"
func f(err error) error {
	candidate.Reject("a file", "a " + "program")
	wrong := func(found, expected string) error { return nil }
	wrong("a literal", "a function")
	return &RejectedError{Found: "an exec that fails (" + err.Error() + ")", Expected: "one that succeeds"}
}
func (o *other) rejected(found string) error { return nil }
func (o *other) use() { o.rejected("an argument of a method") }
func (o *another) rejected(err error) { o.rejected(errors.New("no text")) }
func g(r *candidate.Rejection) error {
	r.Expected = "an exec"
	var found []string
	found = append(found, "a part "+r.Path)
	r.Found = strings.Join(found, ", ")
	return &RejectedError{Found: r.Found, Expected: r.Expected}
}
`),
		"internal/candidate/c.go": source(`package candidate
func Reject(found, expected string) *Rejection { return &Rejection{Found: found, Expected: expected} }
func describe(path string) (found, expected string) {
	const owner = "one of root"
	if path == "" { return "no path", owner }
	return "the file " + path + ", which is new", owner
}
func number() (found int, ok bool) { return 1, true }
func h() { Reject("x" + kind.String(), kind.String()) }
`),
	}
	texts, violations, err := rejectionTexts(tree)
	var got []string
	for _, text := range texts {
		got = append(got, text.column+" "+text.text)
	}
	slices.Sort(got)
	got = slices.Compact(got)
	want := []string{
		"Expected a function", "Expected a program", "Expected an exec", "Expected one of root", "Expected one that succeeds",
		"Found a file", "Found a literal", "Found a part …", "Found an argument of a method", "Found an exec that fails (…)", "Found no path", "Found the file …, which is new", "Found x…",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got  %q, %v\nwant %q", got, err, want)
	}
	if want := []string{"internal/candidate/c.go:9:40: the text of Expected has no constant part"}; !slices.Equal(violations, want) {
		t.Errorf("got violations %q, want %q", violations, want)
	}
}
