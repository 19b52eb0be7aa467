package architecture

import (
	"errors"
	"flag"
	"go/build"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// apiFile lists all that users of this module can name, one thing a line, in the manner of
// Go's api/*.txt.
const apiFile = "docs/api.txt"

const apiUpdate = "go test ./internal/architecture -run '^TestAPI$' -update"

var update = flag.Bool("update", false, "write "+apiFile+" anew")

// A change of the API changes docs/api.txt, too.
func TestAPI(t *testing.T) {
	tree := module(t)
	listed, err := api(tree)
	if err != nil {
		t.Error(err)
	}
	if *update {
		if err := os.WriteFile(filepath.Join("../..", filepath.FromSlash(apiFile)), []byte(strings.Join(listed, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed := strings.Split(strings.TrimSuffix(read(t, tree, apiFile), "\n"), "\n")
	for _, line := range difference(committed, listed) {
		t.Errorf("removed from the API: %s", line)
	}
	for _, line := range difference(listed, committed) {
		t.Errorf("added to the API: %s", line)
	}
	if t.Failed() {
		t.Logf("if that is meant, update %s:\n\t%s", apiFile, apiUpdate)
	} else if !slices.Equal(listed, committed) {
		t.Errorf("%s is not sorted, update it:\n\t%s", apiFile, apiUpdate)
	}
}

// difference returns the lines of a that are not in b.
func difference(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(line string) bool { return slices.Contains(b, line) })
}

// apiSystems are the systems on which the API has to be the same.
var apiSystems = []build.Context{
	{GOOS: "linux", GOARCH: "amd64"},
	{GOOS: "linux", GOARCH: "386", BuildTags: []string{"autorestart_portable"}},
	{GOOS: "darwin", GOARCH: "arm64"},
	{GOOS: "windows", GOARCH: "amd64"},
}

// api lists what is exported by all packages that users can import, sorted.
func api(tree fs.FS) ([]string, error) {
	folders, err := publicFolders(tree)
	if err != nil {
		return nil, err
	}
	var all []string
	var problems []error
	for _, folder := range folders {
		var first []string
		for i, system := range apiSystems {
			lines, err := packageAPI(tree, folder, system)
			if err != nil {
				return nil, err
			}
			if i == 0 {
				first = lines
			}
			for _, line := range append(difference(first, lines), difference(lines, first)...) {
				problems = append(problems, errors.New(line+": not the same on "+apiSystems[0].GOOS+" and "+
					strings.Join(append([]string{system.GOOS}, system.BuildTags...), " ")))
			}
		}
		all = append(all, first...)
	}
	slices.Sort(all)
	return all, errors.Join(problems...)
}

// publicFolders returns the folders of the packages that users can import: of this module,
// and of those in contrib.
func publicFolders(tree fs.FS) ([]string, error) {
	var folders, foreign []string
	err := walk(tree, func(name string) error {
		folder := path.Dir(name)
		if path.Base(name) == "go.mod" && folder != "." && !strings.HasPrefix(folder, "contrib/") {
			foreign = append(foreign, folder)
		}
		hidden := slices.ContainsFunc(strings.Split(folder, "/"), func(element string) bool {
			return element == "internal" || element == "testdata"
		})
		if !isSource(name) || hidden || slices.Contains(folders, folder) {
			return nil
		}
		b, err := fs.ReadFile(tree, name)
		if !strings.Contains("\n"+string(b), "\npackage main\n") {
			folders = append(folders, folder)
		}
		return err
	})
	folders = slices.DeleteFunc(folders, func(folder string) bool {
		return slices.ContainsFunc(foreign, func(module string) bool {
			return folder == module || strings.HasPrefix(folder, module+"/")
		})
	})
	return folders, err
}

// packageAPI lists what the package in a folder exports on a system.
func packageAPI(tree fs.FS, folder string, system build.Context) ([]string, error) {
	system.Compiler = "gc"
	system.ReleaseTags = build.Default.ReleaseTags
	system.OpenFile = func(name string) (io.ReadCloser, error) { return tree.Open(filepath.ToSlash(name)) }
	names, err := fs.Glob(tree, path.Join(folder, "*.go"))
	if err != nil {
		return nil, err
	}
	l := newListing(folder)
	for _, name := range names {
		if !isSource(name) {
			continue
		}
		if matches, err := system.MatchFile(folder, path.Base(name)); err != nil {
			return nil, err
		} else if !matches {
			continue
		}
		src, err := fs.ReadFile(tree, name)
		if err == nil {
			err = l.add(name, src)
		}
		if err != nil {
			return nil, err
		}
	}
	return l.lines, errors.Join(l.problems...)
}

func TestAPIListing(t *testing.T) {
	const p = `package p

import (
	"errors"
	"time"
)

const (
	A Kind = iota + 1
	B
	c
	D
)

const Large int64 = 4 << 30

const Suffix, other = ".sig", ".x"

type Kind int

func (k Kind) String() string { return "" }
func (k *Kind) hidden()       {}

var ErrX = errors.New("x")
var Y, z time.Duration

type Func = func(name string, _ ...any) (n int, err error)

type hidden struct{ Z int }

func (hidden) Exported() {}

// T is a structure.
type T struct {
	E, F time.Duration // in seconds
	g    int
	time.Time
	*Kind
	Inner struct {
		H int
	}
}

func (t *T) Do(first, second int, f func(ctx any) error) (<-chan struct{}, error) { return nil, nil }

type I interface {
	Kind | ~int
	Do(x, y int) error
	hide()
}

type Pair[K comparable, V any] struct{ Key K }

func (p Pair[K, V]) Get() V { panic(0) }

func Map[T, U any](in []T, f func(t T) U) []U { return nil }
func unexported()                             {}
`
	want := []string{
		"pkg p, const A Kind = 1",
		"pkg p, const B Kind = 2",
		"pkg p, const D Kind = 4",
		"pkg p, const Large int64 = 4294967296",
		`pkg p, const Suffix = ".sig"`,
		"pkg p, func Map[T, U any]([]T, func(T) U) []U",
		"pkg p, method (*T) Do(int, int, func(any) error) (<-chan struct{}, error)",
		"pkg p, method (Kind) String() string",
		"pkg p, method (Pair[K, V]) Get() V",
		"pkg p, type Func = func(string, ...any) (int, error)",
		"pkg p, type I interface",
		"pkg p, type I interface, Do(int, int) error",
		"pkg p, type I interface, embedded Kind | ~int",
		"pkg p, type I interface, unexported methods",
		"pkg p, type Kind int",
		"pkg p, type Pair[K comparable, V any] struct",
		"pkg p, type Pair[K comparable, V any] struct, Key K",
		"pkg p, type T struct",
		"pkg p, type T struct, E time.Duration",
		"pkg p, type T struct, F time.Duration",
		"pkg p, type T struct, Inner struct { H int }",
		"pkg p, type T struct, embedded *Kind",
		"pkg p, type T struct, embedded time.Time",
		"pkg p, var ErrX error",
		"pkg p, var Y time.Duration",
		"pkg p/q, func Both()",
	}
	tree := fstest.MapFS{
		"p/p.go":              source(p),
		"p/p_test.go":         source("package p\n\nfunc Test() {}\n"),
		"p/q/all.go":          source("package q\n\nfunc no() {}\n"),
		"p/q/both_linux.go":   source("package q\n\nfunc Both() {}\n"),
		"p/q/both_other.go":   source("//go:build !linux\n\npackage q\n\nfunc Both() {}\n"),
		"p/internal/i.go":     source("package internal\n\nfunc Hidden() {}\n"),
		"p/testdata/t.go":     source("package testdata\n\nfunc Hidden() {}\n"),
		"cmd/main.go":         source("package main\n\nfunc Hidden() {}\n"),
		"bench/go.mod":        source("module bench\n"),
		"bench/sub/bench.go":  source("package sub\n\nfunc Hidden() {}\n"),
		"p/.hidden/hidden.go": source("package hidden\n\nfunc Hidden() {}\n"),
	}
	got, err := api(tree)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got\n%s\nerror %v, want\n%s", strings.Join(got, "\n"), err, strings.Join(want, "\n"))
	}

	for src, want := range map[string]string{
		"package p\n\nvar X = 3\n":                              "X: a variable that is exported needs a type",
		"package p\n\ntype t struct{}\n\ntype T struct{ t }\n":  "T: embeds t, whose methods are not listed",
		"package p\n\ntype t struct{}\n\ntype T struct{ *t }\n": "T: embeds t, whose methods are not listed",
	} {
		if _, err := api(fstest.MapFS{"p/p.go": source(src)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", src, err, want)
		}
	}
	for file, want := range map[string]string{
		"p/p_linux.go":   "pkg p, func F(): not the same on linux and darwin",
		"p/p_windows.go": "pkg p, func F(): not the same on linux and windows",
	} {
		tree := fstest.MapFS{"p/p.go": source("package p\n"), file: source("package p\n\nfunc F() {}\n")}
		if _, err := api(tree); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", file, err, want)
		}
	}
	tree = fstest.MapFS{"p/p.go": source("//go:build !autorestart_portable\n\npackage p\n\nfunc F() {}\n")}
	if _, err := api(tree); err == nil || !strings.Contains(err.Error(), "linux autorestart_portable") {
		t.Errorf("tag: got %v", err)
	}
}
