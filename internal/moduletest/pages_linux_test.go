//go:build !autorestart_portable

package moduletest

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Each block of Go on a page or in the documentation of a package is formatted, and ends
// no daemon.
func TestBlocks(t *testing.T) {
	for _, b := range allBlocks(t) {
		if err := b.check(); err != nil {
			t.Errorf("%s: %v", b.at, err)
		}
	}
}

// Each of these blocks compiles as it is printed.
func TestBlocksCompile(t *testing.T) {
	needTools(t)
	blocks := allBlocks(t)
	if len(blocks) < 5 {
		t.Errorf("found %d blocks only: %v", len(blocks), blocks)
	}
	if err := compile(t, blocks); err != nil {
		t.Error(err)
	}
}

// compile compiles and vets blocks, each as a program of its own.
func compile(t *testing.T, blocks []block) error {
	t.Helper()
	o := &outside{folder: t.TempDir(), env: append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")}
	library, err := filepath.Abs(repository)
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(library, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	o.write(t, "go.sum", string(sums))
	o.write(t, "go.mod", blockModule(library))
	for i, b := range blocks {
		folder := fmt.Sprintf("block%d", i)
		if err := os.Mkdir(filepath.Join(o.folder, folder), 0o755); err != nil {
			t.Fatal(err)
		}
		o.write(t, folder+"/main.go", "// From "+b.at+".\n"+b.program())
	}
	if _, err := o.run("build", "./..."); err != nil {
		return fmt.Errorf("%w\nblocks are %v", err, places(blocks))
	}
	if _, err := o.run("vet", "./..."); err != nil {
		return fmt.Errorf("%w\nblocks are %v", err, places(blocks))
	}
	return nil
}

// blockModule returns the go.mod of a module whose programs use the library in a folder.
func blockModule(library string) string {
	return fmt.Sprintf("module example.org/blocks\n\ngo 1.26.0\n\nrequire %s %s\n\nreplace %s => %s\n",
		rootModule, firstOne, rootModule, library)
}

func places(blocks []block) (at []string) {
	for i, b := range blocks {
		at = append(at, fmt.Sprintf("block%d: %s", i, b.at))
	}
	return at
}

// No example, and no program in benchmarks that uses the library, ends the process where
// its version can't be rolled back.
func TestExamplesEndNoDaemon(t *testing.T) {
	tree := os.DirFS(repository)
	var checked []string
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || path.Ext(name) != ".go" || !isExample(name) {
			return err
		}
		src, err := fs.ReadFile(tree, name)
		if err != nil || !strings.Contains(string(src), `"`+rootModule+`"`) {
			return err
		}
		checked = append(checked, name)
		if err := checkExits(string(src)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"example_test.go", "sockets/example_test.go", "examples/demo/daemon/main.go", "benchmarks/restart/ours/main.go"} {
		if !slices.Contains(checked, name) {
			t.Errorf("%s is not among the examples %q", name, checked)
		}
	}
}

// isExample reports whether a Go file shows how to use the library.
func isExample(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	return path.Base(name) == "example_test.go" ||
		slices.Contains([]string{"examples", "contrib", "benchmarks"}, first) && !strings.HasSuffix(name, "_test.go")
}

func TestBlockChecks(t *testing.T) {
	const page = "# Page\n\n```go\nx := 1\n```\n\n```sh\ngo run .\n```\n\n```\na table\n```\n"
	blocks, err := pageBlocks("p.md", page)
	if want := []block{{"p.md:3", "x := 1\n"}}; err != nil || !slices.Equal(blocks, want) {
		t.Errorf("got %q, %v; want %q", blocks, err, want)
	}
	if _, err := pageBlocks("p.md", "\n```\nautorestart.Ready()\n```\n"); err == nil || !strings.HasPrefix(err.Error(), "p.md:2: ") {
		t.Errorf("without a language: got %v", err)
	}
	for text, want := range map[string]string{
		"defer autorestart.RollbackUnlessReady()\n":                         "",
		"func main() {\n\tgo serve()\n}\n":                                  "",
		"func  main() {}\n":                                                 "not formatted",
		"go serve()\n...\n":                                                 "expected",
		"log.Fatal(1)\n":                                                    "log.Fatal ends the daemon",
		"go func() { log.Panic(1) }()\n":                                    "log.Panic in another goroutine",
		"go func() { log.Print(1) }()\nlog.Panic(2)\n":                      "",
		"package main\n\nimport \"os\"\n\nfunc main() {\n\tos.Exit(1)\n}\n": "os.Exit ends the daemon",
	} {
		if err := (block{"p.md:1", text}).check(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
	needTools(t)
	err = compile(t, []block{{"p.md:1", "autorestart.Ready()\n"}, {"p.md:9", "var err = sockets.Missing()\n"}})
	if err == nil || !strings.Contains(err.Error(), "undefined: sockets.Missing") || !strings.Contains(err.Error(), "block1: p.md:9") {
		t.Errorf("a block that does not compile: got %v", err)
	}
}
