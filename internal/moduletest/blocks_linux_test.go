//go:build !autorestart_portable

package moduletest

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/doc"
	"go/doc/comment"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A block is code that is printed in a page, or in the documentation of a package.
type block struct {
	at   string // the page and line, or what is documented
	text string
}

// packageOf are the import paths of the packages that a fragment may use.
var packageOf = map[string]string{
	"autorestart":     rootModule,
	"sockets":         rootModule + "/sockets",
	"systemd":         rootModule + "/systemd",
	"httpserve":       rootModule + "/httpserve",
	"verify":          rootModule + "/verify",
	"autorestarttest": rootModule + "/autorestarttest",
	"context":         "context", "errors": "errors", "fmt": "fmt", "log": "log", "slog": "log/slog", "net": "net",
	"http": "net/http", "os": "os", "exec": "os/exec", "strconv": "strconv", "syscall": "syscall", "testing": "testing", "time": "time",
}

// rest is the rest of the program that a fragment is from: what it may use without saying
// what it is.
const rest = `
func serve() {}

func handle(conn net.Conn) { conn.Close() }

var handler = http.NotFoundHandler()

var queue interface {
	autorestart.Drainer
	Accepts() bool
}
`

var selector = regexp.MustCompile(`\b([a-z]+)\.[A-Z]`)

// program returns the block as a whole program. One that begins with package is one. Any
// other is put into a file that imports the packages of packageOf that it names, after what
// is in rest; it is the body of a function, unless it declares functions itself.
func (b block) program() string {
	if strings.HasPrefix(b.text, "package ") {
		return b.text
	}
	imports := []string{"net", "net/http", rootModule} // of rest
	for _, match := range selector.FindAllStringSubmatch(b.text, -1) {
		if p := packageOf[match[1]]; p != "" && !slices.Contains(imports, p) {
			imports = append(imports, p)
		}
	}
	text := "package main\n\n"
	for _, p := range imports {
		text += fmt.Sprintf("import %q\n", p)
	}
	text += rest
	if strings.HasPrefix("\n"+b.text, "\nfunc ") || strings.Contains(b.text, "\nfunc ") {
		text += b.text
	} else {
		text += "func fragment() {\n" + b.text + "}\n"
	}
	if !strings.Contains(text, "\nfunc main()") {
		text += "\nfunc main() {}\n"
	}
	return text
}

// isGo reports whether the block is Go, whatever it is marked as.
func (b block) isGo() bool {
	_, err := parser.ParseFile(token.NewFileSet(), "", b.program(), 0)
	return err == nil
}

// check returns what is wrong with the block as a reader sees it.
func (b block) check() error {
	formatted, err := format.Source([]byte(b.text))
	if err != nil {
		return err
	}
	if string(formatted) != b.text {
		return fmt.Errorf("not formatted by gofmt; want\n%s", formatted)
	}
	return checkExits(b.program())
}

// checkExits fails for code that ends the process where no deferred function of main runs: a
// version that does so is not rolled back, so no example may show it.
func checkExits(src string) error {
	f, err := parser.ParseFile(token.NewFileSet(), "", src, 0)
	if err != nil {
		return err
	}
	var found error
	ast.Inspect(f, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.CallExpr:
			if name := calledName(node); name == "os.Exit" || strings.HasPrefix(name, "log.Fatal") {
				found = fmt.Errorf("%s ends the daemon before a version can be rolled back; use log.Panic", name)
			}
		case *ast.GoStmt:
			ast.Inspect(node, func(node ast.Node) bool {
				if call, ok := node.(*ast.CallExpr); ok {
					if name := calledName(call); name == "panic" || strings.HasPrefix(name, "log.Panic") {
						found = fmt.Errorf("%s in another goroutine than that of main can't be rolled back; use log.Print", name)
					}
				}
				return true
			})
		}
		return true
	})
	return found
}

// calledName returns the name of a function as it is called, of another package with that of
// the package.
func calledName(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			return x.Name + "." + f.Sel.Name
		}
	}
	return ""
}

// fence is a code block of Markdown, with its language.
var fence = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

// pageBlocks returns the Go blocks of a page.
func pageBlocks(name, page string) (blocks []block, err error) {
	for _, match := range fence.FindAllStringSubmatchIndex(page, -1) {
		line := 1 + strings.Count(page[:match[0]], "\n")
		b := block{fmt.Sprintf("%s:%d", name, line), page[match[4]:match[5]]}
		switch language := page[match[2]:match[3]]; {
		case language == "go":
			blocks = append(blocks, b)
		case b.isGo():
			return nil, fmt.Errorf("%s: a block of Go that is not marked as go", b.at)
		}
	}
	return blocks, nil
}

// docBlocks returns the code blocks in the documentation of a package. All of them are Go,
// but for the commands that sign.
func docBlocks(tree fs.FS, folder string) ([]block, error) {
	names, err := fs.Glob(tree, path.Join(folder, "*.go"))
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		if matches, err := build.Default.MatchFile(repository+"/"+folder, path.Base(name)); err != nil || !matches {
			continue
		}
		src, err := fs.ReadFile(tree, name)
		if err != nil {
			return nil, err
		}
		f, err := parser.ParseFile(fset, name, src, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	p, err := doc.NewFromFiles(fset, files, path.Join(rootModule, folder))
	if err != nil {
		return nil, err
	}
	var blocks []block
	add := func(name, text string) {
		for _, content := range p.Parser().Parse(text).Content {
			if code, ok := content.(*comment.Code); ok && !strings.HasPrefix(code.Text, "openssl ") {
				blocks = append(blocks, block{"documentation of " + p.Name + "." + name, code.Text})
			}
		}
	}
	values := func(values []*doc.Value) {
		for _, v := range values {
			add(v.Names[0], v.Doc)
		}
	}
	functions := func(functions []*doc.Func) {
		for _, f := range functions {
			add(f.Name, f.Doc)
		}
	}
	add("", p.Doc)
	values(p.Consts)
	values(p.Vars)
	functions(p.Funcs)
	for _, t := range p.Types {
		add(t.Name, t.Doc)
		values(t.Consts)
		values(t.Vars)
		functions(t.Funcs)
		functions(t.Methods)
	}
	return blocks, nil
}

// allBlocks returns the Go blocks of all pages, and of the documentation of all packages
// that users import.
func allBlocks(t *testing.T) []block {
	t.Helper()
	tree := os.DirFS(repository)
	var blocks []block
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || path.Ext(name) != ".md" {
			return err
		}
		page, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		found, err := pageBlocks(name, string(page))
		blocks = append(blocks, found...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{".", "sockets", "httpserve", "verify", "autorestarttest"} {
		found, err := docBlocks(tree, folder)
		if err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, found...)
	}
	return blocks
}
