package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// roots are the packages that programs import, and what only modules in contrib import.
var roots = []string{"autorestart", "sockets", "httpserve", "verify", "systemd", "internal/telemetry"}

// A library is a package of this module that programs may contain.
type library struct {
	fset   *token.FileSet
	funcs  map[string]*function // functions and methods, the last of each name
	all    []*function
	consts map[string]ast.Expr // of the package
}

type function struct {
	*library
	decl    *ast.FuncDecl
	imports map[string]string     // from the name in this file to the name in the table, "" for others
	set     map[string][]ast.Expr // what variables and constants of the function are set to

	visiting map[string]bool // variables whose texts are being looked up
}

func (l *library) eachFunc(f func(*function)) {
	for _, fn := range l.all {
		f(fn)
	}
}

func (l *library) position(n ast.Node) token.Position { return l.fset.Position(n.Pos()) }

// isImport reports whether x is the name of a package.
func (fn *function) isImport(x ast.Expr) bool {
	_, ok := fn.imported(x)
	return ok
}

// imported returns the package that x is the name of; "" for one of another module.
func (fn *function) imported(x ast.Expr) (name string, ok bool) {
	if id, isIdent := x.(*ast.Ident); isIdent {
		name, ok = fn.imports[id.Name]
	}
	return name, ok
}

// paramAt returns the index of a parameter of type string, or -1.
func paramAt(f *ast.FuncType, name string) int {
	i := 0
	for _, field := range f.Params.List {
		typ, _ := field.Type.(*ast.Ident)
		for _, id := range field.Names {
			if id.Name == name && typ != nil && typ.Name == "string" {
				return i
			}
			i++
		}
	}
	return -1
}

// paramNamed reports whether a parameter has the name.
func paramNamed(f *ast.FuncType, name string) bool {
	return slices.ContainsFunc(f.Params.List, func(field *ast.Field) bool {
		return slices.ContainsFunc(field.Names, func(id *ast.Ident) bool { return id.Name == name })
	})
}

// ellipsis stands for a variable part of a text.
const ellipsis = "…"

// texts returns the texts that x may be, as far as they are constant.
func (fn *function) texts(x ast.Expr) []string {
	switch x := x.(type) {
	case *ast.ParenExpr:
		return fn.texts(x.X)
	case *ast.BasicLit:
		if text, err := strconv.Unquote(x.Value); err == nil && x.Kind == token.STRING {
			return []string{verbs.ReplaceAllString(text, ellipsis)}
		}
	case *ast.BinaryExpr:
		var all []string
		for _, left := range fn.texts(x.X) {
			for _, right := range fn.texts(x.Y) {
				all = append(all, strings.ReplaceAll(left+right, ellipsis+ellipsis, ellipsis))
			}
		}
		return all
	case *ast.Ident:
		if c := fn.consts[x.Name]; c != nil && len(fn.set[x.Name]) == 0 {
			return fn.texts(c)
		}
		return fn.variable(x.Name)
	}
	return []string{ellipsis}
}

// variable returns the texts of a variable that is only set to constants.
func (fn *function) variable(name string) (all []string) {
	if fn.visiting[name] { // text = text + x
		return []string{ellipsis}
	}
	fn.visiting[name] = true
	defer delete(fn.visiting, name)
	for _, value := range fn.set[name] {
		switch value.(type) {
		case *ast.BasicLit, *ast.BinaryExpr:
			all = append(all, fn.texts(value)...)
		default:
			return []string{ellipsis}
		}
	}
	if len(all) == 0 {
		return []string{ellipsis}
	}
	return all
}

// values returns what a variable is set to.
func (fn *function) values(x ast.Expr) []ast.Expr {
	if id, ok := x.(*ast.Ident); ok {
		return fn.set[id.Name]
	}
	return []ast.Expr{x}
}

// newFunction notes what the local variables and constants are set to. One that is changed in
// another way is set to nil.
func newFunction(l *library, decl *ast.FuncDecl, imports map[string]string) *function {
	fn := &function{l, decl, imports, make(map[string][]ast.Expr), make(map[string]bool)}
	set := func(names []ast.Expr, values []ast.Expr) {
		for i, name := range names {
			if id, ok := name.(*ast.Ident); ok {
				var value ast.Expr = &ast.BadExpr{}
				if len(values) == len(names) {
					value = values[i]
				}
				fn.set[id.Name] = append(fn.set[id.Name], value)
			}
		}
	}
	ast.Inspect(decl.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok == token.ASSIGN || n.Tok == token.DEFINE {
				set(n.Lhs, n.Rhs)
			} else {
				set(n.Lhs, nil)
			}
		case *ast.RangeStmt:
			set([]ast.Expr{n.Key, n.Value}, nil)
		case *ast.ValueSpec:
			for i, name := range n.Names {
				if len(n.Values) == len(n.Names) {
					set([]ast.Expr{name}, n.Values[i:i+1])
				}
			}
		}
		return true
	})
	return fn
}

// addConsts adds the constants of a declaration.
func (l *library) addConsts(decl *ast.GenDecl) {
	for _, spec := range decl.Specs {
		if spec, ok := spec.(*ast.ValueSpec); ok && decl.Tok == token.CONST && len(spec.Values) == len(spec.Names) {
			for i, name := range spec.Names {
				l.consts[name.Name] = spec.Values[i]
			}
		}
	}
}

func (l *library) addFile(f *ast.File) {
	names := make(map[string]string)
	for _, spec := range f.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		name := path.Base(imported)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = ""
		if i := newImport("", imported); i.kind == ours {
			names[name] = i.path
		}
	}
	for _, decl := range f.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Body == nil {
				continue
			}
			fn := newFunction(l, decl, names)
			l.all = append(l.all, fn)
			if other := l.funcs[decl.Name.Name]; other == nil || paramAt(other.decl.Type, "msg") < 0 {
				l.funcs[decl.Name.Name] = fn
			}
		case *ast.GenDecl:
			l.addConsts(decl)
		}
	}
}

// verbs are those of package fmt.
var verbs = regexp.MustCompile(`%[-+# 0]*[0-9]*[a-zA-Z]`)

// parseLibrary parses the packages that programs may contain, with files for all systems.
func parseLibrary(tree fs.FS) (map[string]*library, error) {
	all, err := imports(tree)
	if err != nil {
		return nil, err
	}
	packages := make(map[string]*library)
	var add func(name string) error
	add = func(name string) error {
		found, ok := all[name]
		if !ok || packages[name] != nil {
			return nil
		}
		packages[name] = &library{fset: token.NewFileSet(), funcs: map[string]*function{}, consts: map[string]ast.Expr{}}
		if err := packages[name].addFolder(tree, strings.TrimPrefix(name, "autorestart")); err != nil {
			return err
		}
		for _, i := range found {
			if i.kind == ours {
				if err := add(i.path); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for _, name := range roots {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return packages, nil
}

func (l *library) addFolder(tree fs.FS, folder string) error {
	names, err := fs.Glob(tree, path.Join(folder, "*.go"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if !isSource(name) {
			continue
		}
		src, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(l.fset, name, src, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		l.addFile(f)
	}
	return nil
}
