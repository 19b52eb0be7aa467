package architecture

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// An object may move while its address is a uintptr: the stack grows. Only in the argument list
// of a raw system call itself does the compiler keep it where it is. Every other function, as
// unix.Prctl, may begin by growing the stack.
func TestPointersBecomeNumbersInSystemCallsOnly(t *testing.T) { wantNone(t, pointers) }

// rawCalls are the functions of packages syscall and unix that have this property: pattern 4 of
// unsafe.Pointer.
var rawCalls = []string{"Syscall", "Syscall6", "RawSyscall", "RawSyscall6"}

// pointers checks all Go files, also of tests and of nested modules: each conversion of an
// unsafe.Pointer to uintptr has to be an argument of a raw call, as a whole.
func pointers(tree fs.FS) (violations []string, err error) {
	files := token.NewFileSet()
	packages := make(map[string][]*ast.File)
	err = walk(tree, func(name string) error {
		if path.Ext(name) != ".go" {
			return nil
		}
		src, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(files, name, src, parser.SkipObjectResolution)
		if err == nil {
			key := path.Dir(name) + " " + f.Name.Name
			packages[key] = append(packages[key], f)
		}
		return err
	})
	for _, key := range slices.Sorted(maps.Keys(packages)) {
		for _, call := range numbersOf(files, packages[key]) {
			violations = append(violations, fmt.Sprintf("%s: a pointer becomes a uintptr outside of the arguments of a raw system call",
				files.Position(call.Pos())))
		}
	}
	return violations, err
}

// numbersOf returns the conversions in a package that are not allowed. Files for all systems
// are one package here, and imports are not resolved: types that can't be told for these
// reasons are no pointers, see isPointer.
func numbersOf(files *token.FileSet, pkg []*ast.File) (found []*ast.CallExpr) {
	info := &types.Info{Types: make(map[ast.Expr]types.TypeAndValue)}
	lenient := types.Config{Importer: noImporter{}, Error: func(error) {}}
	lenient.Check("p", files, pkg, info)
	for _, f := range pkg {
		allowed := make(map[ast.Expr]bool)
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if isRawCall(call) {
				for _, arg := range call.Args {
					allowed[ast.Unparen(arg)] = true
				}
			}
			if len(call.Args) == 1 && isBasic(info, call.Fun, types.Uintptr) && isPointer(info, call.Args[0]) && !allowed[call] {
				found = append(found, call)
			}
			return true
		})
	}
	return found
}

func isRawCall(call *ast.CallExpr) bool {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !slices.Contains(rawCalls, f.Sel.Name) {
		return false
	}
	from, ok := f.X.(*ast.Ident)
	return ok && (from.Name == "syscall" || from.Name == "unix")
}

// isPointer reports whether an expression is an unsafe.Pointer. That of something with an
// unknown type is one by its name alone.
func isPointer(info *types.Info, e ast.Expr) bool {
	if isBasic(info, e, types.UnsafePointer) {
		return true
	}
	call, ok := ast.Unparen(e).(*ast.CallExpr)
	if !ok {
		return false
	}
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || f.Sel.Name != "Pointer" && f.Sel.Name != "Add" {
		return false
	}
	from, ok := f.X.(*ast.Ident)
	return ok && from.Name == "unsafe"
}

func isBasic(info *types.Info, e ast.Expr, kind types.BasicKind) bool {
	t := info.Types[e].Type
	if t == nil {
		return false
	}
	basic, ok := t.Underlying().(*types.Basic)
	return ok && basic.Kind() == kind
}

type noImporter struct{}

func (noImporter) Import(name string) (*types.Package, error) {
	if name == "unsafe" {
		return types.Unsafe, nil
	}
	return nil, fmt.Errorf("%s is not read", name)
}

func TestPointers(t *testing.T) {
	for _, test := range []struct {
		line string
		ok   bool
	}{
		{"syscall.RawSyscall(1, uintptr(unsafe.Pointer(&x)), 0, 0)", true},
		{"unix.Syscall6(1, 2, uintptr(unsafe.Pointer(f())), (uintptr(p)), 0, 0, uintptr(unsafe.Add(p, 1)))", true},
		{"f(uintptr(x))", true},
		{"unix.Prctl(1, uintptr(unsafe.Pointer(&x)), 0, 0, 0)", false},
		{"unix.RawSyscall(1, uintptr(unsafe.Pointer(&x))+8, 0, 0)", false},
		{"n := uintptr(unsafe.Pointer(&x)); _ = n", false},
		{"n := uintptr(p); unix.Syscall(1, n, 0, 0)", false},
		{"_ = uintptr(elsewhere)", false},
		{"_ = uintptr(unsafe.Pointer(other.Value))", false},
		{"unix.Prctl(1, uintptr(unsafe.Add(other.Value, 1)), 0, 0, 0)", false},
		{"func() { unix.Syscall(wrap(uintptr(unsafe.Add(p, 1))), 0, 0, 0) }()", false},
		{"other.Syscall(1, uintptr(p), 0, 0)", false},
		{"type number uintptr; _ = number(p)", false},
	} {
		tree := fstest.MapFS{
			"a.go":       source("package p\nimport (\"unsafe\"; \"golang.org/x/sys/unix\"; \"syscall\"; \"other\")\nfunc g(p unsafe.Pointer, x int) {\n" + test.line + "\n}\n"),
			"a_linux.go": source("package p\nimport \"unsafe\"\nfunc g() {}\nvar elsewhere unsafe.Pointer\n"),
		}
		violations, err := pointers(tree)
		if err != nil || test.ok != (len(violations) == 0) || !test.ok && !strings.HasPrefix(violations[0], "a.go:4:") {
			t.Errorf("%s: %q, %v", test.line, violations, err)
		}
	}
}
