package architecture

import (
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestImportsFollowTheRules(t *testing.T) {
	tree := module(t)
	table, err := parseRules(read(t, tree, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	packages, err := imports(tree)
	if err != nil {
		t.Fatal(err)
	}
	for _, violation := range append(checkImports(table, packages), checkSize(packages)...) {
		t.Error(violation)
	}
}

// A small module that keeps these rules.
const fakeRules = "# Architecture\n\n```\nsomething else\n```\n\n```text\n" + heading + `
internal/low      x/sys in low_unix.go  std: errors time
internal/sys      x/sys
internal/policy   low

autorestart       internal/policy sys
                  x/sys in *_linux.go fallback_*.go
face              autorestart
` + "```\n\nProse.\n"

func fakeTree() fstest.MapFS {
	return fstest.MapFS{
		"go.mod":                             source("module " + modulePath),
		"autorestart.go":                     goFile("context", modulePath+"/internal/policy"),
		"exec_linux.go":                      goFile("golang.org/x/sys/unix"),
		"fallback_other.go":                  goFile("golang.org/x/sys/unix"),
		"exec_test.go":                       goFile("golang.org/x/sys/unix", "example.org/anything"),
		"internal/low/low.go":                goFile("errors", "time"),
		"internal/low/low_unix.go":           goFile("golang.org/x/sys/unix"),
		"internal/sys/sys.go":                goFile("golang.org/x/sys/unix", "os"),
		"internal/policy/policy.go":          goFile("fmt", modulePath+"/internal/low"),
		"internal/policy/testdata/x/main.go": goFile("example.org/anything"),
		"internal/onlytests/a_test.go":       goFile("fmt"),
		"face/face.go":                       goFile(modulePath),
		"contrib/other/go.mod":               source("module other"),
		"contrib/other/x/other.go":           goFile("example.org/anything"),
		".ci/tool.go":                        goFile("example.org/anything"),
		"README.md":                          source("# Title"),
	}
}

func source(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }

func goFile(imports ...string) *fstest.MapFile {
	text := "//go:build sometag && !linux\n\npackage p\n"
	for _, i := range imports {
		text += "import _ \"" + i + "\"\n"
	}
	return source(text)
}

func TestCheckImports(t *testing.T) {
	tests := map[string]struct {
		file string // added to the tree
		src  *fstest.MapFile
		want []string // violations
	}{
		"nothing": {},
		"package above": {
			"internal/low/more.go", goFile(modulePath + "/internal/policy"),
			[]string{"internal/low: more.go imports internal/policy"},
		},
		"root": {
			"internal/policy/more.go", goFile(modulePath),
			[]string{"internal/policy: more.go imports autorestart"},
		},
		"package beside": {
			"internal/policy/more.go", goFile(modulePath + "/internal/sys"),
			[]string{"internal/policy: more.go imports internal/sys"},
		},
		"package that the root may import": {
			"face/more.go", goFile(modulePath + "/internal/policy"),
			[]string{"face: more.go imports internal/policy"},
		},
		"x/sys in another file": {
			"more.go", goFile("golang.org/x/sys/unix"),
			[]string{"autorestart: more.go imports golang.org/x/sys/unix"},
		},
		"x/sys in a policy": {
			"internal/policy/more_linux.go", goFile("golang.org/x/sys/unix"),
			[]string{"internal/policy: more_linux.go imports golang.org/x/sys/unix"},
		},
		"x/sys in another file of a frugal package": {
			"internal/low/more.go", goFile("golang.org/x/sys/unix"),
			[]string{"internal/low: more.go imports golang.org/x/sys/unix"},
		},
		"standard package of a frugal package": {
			"internal/low/more.go", goFile("time", "strings"),
			[]string{"internal/low: more.go imports strings"},
		},
		"another module": {
			"face/more.go", goFile("example.org/anything"),
			[]string{"face: more.go imports example.org/anything"},
		},
		"package without a line": {
			"internal/policy/part/part.go", goFile(),
			[]string{"internal/policy/part: a line is missing"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tree := fakeTree()
			if tt.file != "" {
				tree[tt.file] = tt.src
			}
			wantViolations(t, fakeRules, tree, tt.want)
		})
	}
	t.Run("line without a package", func(t *testing.T) {
		tree := fakeTree()
		delete(tree, "face/face.go")
		wantViolations(t, fakeRules, tree, []string{"face: in ARCHITECTURE.md, but there is no such package"})
	})
}

func TestCheckSize(t *testing.T) {
	tree := fakeTree() // internal/policy imports fmt
	tree["more.go"] = goFile("log/slog", "strings")
	tree["face/more.go"] = goFile("net/http")
	packages, err := imports(tree)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"autorestart: more.go imports log/slog", "internal/policy: policy.go imports fmt"}
	if got := checkSize(packages); !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// wantViolations compares the violations with the beginnings of those expected.
func wantViolations(t *testing.T, markdown string, tree fs.FS, want []string) {
	t.Helper()
	table, err := parseRules(markdown)
	if err != nil {
		t.Fatal(err)
	}
	packages, err := imports(tree)
	if err != nil {
		t.Fatal(err)
	}
	got := checkImports(table, packages)
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestParseRulesRejects(t *testing.T) {
	tests := map[string]struct{ lines, want string }{
		"two lines":              {"a\na\n", "a stands in the table twice"},
		"package further down":   {"a  b\nb\n", "a: b is the name of 0 packages further up in the table"},
		"itself":                 {"a  a\n", "a: a is the name of 0 packages further up in the table"},
		"two of that name":       {"a/x\nb/x\nc  x\n", "c: x is the name of 2 packages further up in the table"},
		"files that are missing": {"a  x/sys in\n", "a: no file after in"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parseRules("```\n" + heading + "\n" + tt.lines + "```\n")
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	for name, markdown := range map[string]string{
		"no block":       "# Architecture\n",
		"no fence":       heading + "\na\n",
		"block unclosed": "```\n" + heading + "\na\n",
	} {
		t.Run(name, func(t *testing.T) {
			if table, err := parseRules(markdown); err == nil {
				t.Errorf("got %v, want an error", table)
			}
		})
	}
}
