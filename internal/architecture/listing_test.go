package architecture

import (
	"errors"
	"go/ast"
	"go/constant"
	"go/format"
	"go/parser"
	"go/token"
	"go/types"
	"path"
	"strings"
)

// A listing has a line for each exported name of a package.
type listing struct {
	prefix   string // of each line
	fset     *token.FileSet
	lines    []string
	problems []error
}

func newListing(folder string) *listing {
	name := folder
	if folder == "." {
		name = path.Base(modulePath)
	}
	return &listing{prefix: "pkg " + name + ", ", fset: token.NewFileSet()}
}

func (l *listing) line(words ...string) { l.lines = append(l.lines, l.prefix+strings.Join(words, " ")) }

func (l *listing) problem(text string) {
	l.problems = append(l.problems, errors.New(l.prefix+text))
}

// add lists what a file exports.
func (l *listing) add(name string, src []byte) error {
	f, err := parser.ParseFile(l.fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	for _, decl := range f.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			l.function(decl)
		case *ast.GenDecl:
			switch decl.Tok {
			case token.CONST:
				l.constants(decl.Specs)
			case token.VAR:
				for _, spec := range decl.Specs {
					l.variables(spec.(*ast.ValueSpec))
				}
			case token.TYPE:
				for _, spec := range decl.Specs {
					l.typ(spec.(*ast.TypeSpec))
				}
			}
		}
	}
	return nil
}

// text returns the source of a node, on one line.
func (l *listing) text(node any) string {
	var b strings.Builder
	if err := format.Node(&b, l.fset, node); err != nil {
		l.problem(err.Error())
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func (l *listing) function(decl *ast.FuncDecl) {
	if !decl.Name.IsExported() {
		return
	}
	if decl.Recv == nil {
		l.line("func", decl.Name.Name+l.parameters(decl.Type.TypeParams)+l.signature(decl.Type))
		return
	}
	receiver := l.text(decl.Recv.List[0].Type)
	if ast.IsExported(strings.TrimPrefix(receiver, "*")) {
		l.line("method", "("+receiver+")", decl.Name.Name+l.signature(decl.Type))
	}
}

// signature returns the types of a function. The names of parameters are not a part of
// what programs depend on.
func (l *listing) signature(f *ast.FuncType) string {
	ast.Inspect(f, func(node ast.Node) bool {
		if inner, ok := node.(*ast.FuncType); ok {
			for _, list := range []*ast.FieldList{inner.Params, inner.Results} {
				withoutNames(list)
			}
		}
		return true
	})
	return strings.TrimPrefix(l.text(&ast.FuncType{Params: f.Params, Results: f.Results}), "func")
}

func withoutNames(list *ast.FieldList) {
	if list == nil {
		return
	}
	var fields []*ast.Field
	for _, field := range list.List {
		for range max(1, len(field.Names)) {
			fields = append(fields, &ast.Field{Type: field.Type})
		}
	}
	list.List = fields
}

// parameters returns the type parameters of a function or type, with their names.
func (l *listing) parameters(list *ast.FieldList) string {
	if list == nil {
		return ""
	}
	var texts []string
	for _, field := range list.List {
		var names []string
		for _, name := range field.Names {
			names = append(names, name.Name)
		}
		texts = append(texts, strings.Join(names, ", ")+" "+l.text(field.Type))
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

// constants lists those of one declaration, in which iota counts and a value that is not
// there is that of the line before.
func (l *listing) constants(specs []ast.Spec) {
	var typ ast.Expr
	var values []ast.Expr
	for number, spec := range specs {
		spec := spec.(*ast.ValueSpec)
		if spec.Values != nil {
			typ, values = spec.Type, spec.Values
		}
		for i, name := range spec.Names {
			if !name.IsExported() {
				continue
			}
			words := []string{"const", name.Name}
			if typ != nil {
				words = append(words, l.text(typ))
			}
			l.line(append(words, "=", l.value(values[i], number))...)
		}
	}
}

// value returns the value of a constant, or its expression if that has other constants
// in it.
func (l *listing) value(expr ast.Expr, iota int) string {
	scope := types.NewPackage("p", "p")
	scope.Scope().Insert(types.NewConst(token.NoPos, scope, "iota", types.Typ[types.UntypedInt], constant.MakeInt64(int64(iota))))
	text := l.text(expr)
	v, err := types.Eval(l.fset, scope, token.NoPos, text)
	if err != nil || v.Value == nil {
		return text
	}
	return v.Value.ExactString()
}

func (l *listing) variables(spec *ast.ValueSpec) {
	for i, name := range spec.Names {
		switch {
		case !name.IsExported():
		case spec.Type != nil:
			l.line("var", name.Name, l.text(spec.Type))
		case i < len(spec.Values) && strings.HasPrefix(l.text(spec.Values[i]), "errors.New("):
			l.line("var", name.Name, "error")
		default:
			l.problem(name.Name + ": a variable that is exported needs a type in its declaration")
		}
	}
}

func (l *listing) typ(spec *ast.TypeSpec) {
	if !spec.Name.IsExported() {
		return
	}
	name := "type " + spec.Name.Name + l.parameters(spec.TypeParams)
	if spec.Assign.IsValid() {
		name += " ="
	}
	switch t := spec.Type.(type) {
	case *ast.StructType:
		l.line(name, "struct")
		l.fields(spec.Name.Name, name+" struct,", t)
	case *ast.InterfaceType:
		l.line(name, "interface")
		l.methods(name+" interface,", t)
	case *ast.FuncType:
		l.line(name, "func"+l.signature(t))
	default:
		l.line(name, l.text(t))
	}
}

func (l *listing) fields(name, prefix string, t *ast.StructType) {
	for _, field := range t.Fields.List {
		typ := field.Type
		if f, ok := typ.(*ast.FuncType); ok {
			typ = ast.NewIdent("func" + l.signature(f))
		}
		if field.Names == nil {
			embedded := strings.TrimPrefix(l.text(typ), "*")
			if !ast.IsExported(embedded[strings.LastIndexByte(embedded, '.')+1:]) {
				l.problem(name + ": embeds " + embedded + ", whose methods are not listed")
			}
			l.line(prefix, "embedded", l.text(typ))
		}
		for _, id := range field.Names {
			if id.IsExported() {
				l.line(prefix, id.Name, l.text(typ))
			}
		}
	}
}

func (l *listing) methods(prefix string, t *ast.InterfaceType) {
	var hidden bool
	for _, field := range t.Methods.List {
		switch f, ok := field.Type.(*ast.FuncType); {
		case !ok:
			l.line(prefix, "embedded", l.text(field.Type))
		case field.Names[0].IsExported():
			l.line(prefix, field.Names[0].Name+l.signature(f))
		default:
			hidden = true
		}
	}
	if hidden {
		l.line(prefix, "unexported", "methods")
	}
}
