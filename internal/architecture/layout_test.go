package architecture

import (
	"bytes"
	"fmt"
	"go/build"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

const (
	maxTopLevel    = 45 // entries, without those that begin with a dot
	maxSourceLines = 400
	maxTestLines   = 600
	maxKernel      = 6 // files *_linux.go, with those of kernelFiles
)

// The design's names, which stay.
const fallbackFile = "fallback_other.go"

var kernelFiles = []string{"exec_linux.go", "inotify_linux.go", "pidfd_linux.go", "procfs_linux.go"}

func TestLayout(t *testing.T) {
	tree := module(t)
	for _, check := range []func(fs.FS) ([]string, error){topLevel, lengths, kernel} {
		violations, err := check(tree)
		if err != nil {
			t.Fatal(err)
		}
		for _, violation := range violations {
			t.Error(violation)
		}
	}
}

// topLevel checks the number of entries. It does not count files of kinds that git
// ignores.
func topLevel(tree fs.FS) ([]string, error) {
	entries, err := fs.ReadDir(tree, ".")
	if err != nil {
		return nil, err
	}
	entries = slices.DeleteFunc(entries, func(entry fs.DirEntry) bool {
		name := entry.Name()
		return strings.HasPrefix(name, ".") || name == "bin" ||
			slices.Contains([]string{".test", ".out", ".prof"}, path.Ext(name))
	})
	if n := len(entries); n > maxTopLevel {
		return []string{fmt.Sprintf("%d entries at the top level, at most %d are allowed", n, maxTopLevel)}, nil
	}
	return nil, nil
}

// lengths checks the number of lines of each Go file, in nested modules, too.
func lengths(tree fs.FS) (violations []string, err error) {
	err = walk(tree, func(name string) error {
		limit := maxSourceLines
		switch {
		case path.Ext(name) != ".go":
			return nil
		case strings.HasSuffix(name, "_test.go"):
			limit = maxTestLines
		}
		b, err := fs.ReadFile(tree, name)
		if n := bytes.Count(b, []byte("\n")); n > limit {
			violations = append(violations, fmt.Sprintf("%s has %d lines, at most %d are allowed", name, n, limit))
		}
		return err
	})
	return violations, err
}

// kernel checks that only the kernel files and the fallback file of the root package depend
// on the system or on tags, and how many kernel files there are.
func kernel(tree fs.FS) (violations []string, err error) {
	names, err := fs.Glob(tree, "*.go")
	if err != nil {
		return nil, err
	}
	linux := 0
	for _, name := range names {
		switch {
		case !isSource(name), name == fallbackFile:
		case strings.HasSuffix(name, "_linux.go"):
			linux++
		default:
			everywhere, err := isEverywhere(tree, name)
			if err != nil {
				return nil, err
			}
			if !everywhere {
				violations = append(violations, name+" depends on the system, but is neither *_linux.go nor "+fallbackFile)
			}
		}
	}
	if linux > maxKernel {
		violations = append(violations, fmt.Sprintf("%d files *_linux.go at the top level, at most %d are allowed", linux, maxKernel))
	}
	for _, name := range append(slices.Clone(kernelFiles), fallbackFile) {
		if !slices.Contains(names, name) {
			violations = append(violations, name+" is missing")
		}
	}
	return violations, nil
}

// isEverywhere reports whether a file belongs to the package on every system.
func isEverywhere(tree fs.FS, name string) (bool, error) {
	context := build.Default
	context.OpenFile = func(name string) (io.ReadCloser, error) { return tree.Open(path.Base(name)) }
	for _, system := range []string{"linux", "darwin", "freebsd", "solaris", "aix", "windows", "plan9"} {
		for _, tags := range [][]string{nil, {"autorestart_portable"}} {
			context.GOOS, context.BuildTags = system, tags
			if ok, err := context.MatchFile(".", name); !ok || err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

func TestLayoutChecks(t *testing.T) {
	lines := func(n int) *fstest.MapFile {
		return source("package p\n" + strings.Repeat("\n", n-1))
	}
	tests := map[string]struct {
		check func(fs.FS) ([]string, error)
		add   fstest.MapFS // to the tree, which is as it should be
		want  []string
	}{
		"top level":          {topLevel, numbered("paper%d.md", maxTopLevel-8), nil},
		"top level too full": {topLevel, numbered("paper%d.md", maxTopLevel-7), []string{"46 entries at the top level"}},
		"ignored":            {topLevel, fstest.MapFS{"x.test": lines(1), ".git/x": lines(1)}, nil},
		"lengths":            {lengths, nil, nil},
		"shortest":           {lengths, fstest.MapFS{"x.go": lines(maxSourceLines), "x_test.go": lines(maxTestLines)}, nil},
		"long": {
			lengths, fstest.MapFS{"x/y.go": lines(maxSourceLines + 1), "x_test.go": lines(maxTestLines + 1)},
			[]string{"x/y.go has 401 lines", "x_test.go has 601 lines"},
		},
		"kernel":       {kernel, nil, nil},
		"kernel full":  {kernel, numbered("k%d_linux.go", 2), nil},
		"kernel files": {kernel, numbered("k%d_linux.go", 3), []string{"7 files *_linux.go at the top level"}},
		"fallback": {
			kernel, fstest.MapFS{"fallback_unix.go": source("//go:build unix\n\npackage p\n")},
			[]string{"fallback_unix.go depends on the system"},
		},
		"file missing": {kernel, fstest.MapFS{"pidfd_linux.go": nil}, []string{"pidfd_linux.go is missing"}},
		"tag": {
			kernel, fstest.MapFS{"x.go": source("//go:build unix\n\npackage p\n")},
			[]string{"x.go depends on the system"},
		},
		"own tag": {
			kernel, fstest.MapFS{"x.go": source("//go:build !autorestart_portable\n\npackage p\n")},
			[]string{"x.go depends on the system"},
		},
		"suffix": {kernel, fstest.MapFS{"x_windows.go": lines(1)}, []string{"x_windows.go depends on the system"}},
		"test":   {kernel, fstest.MapFS{"x_windows_test.go": lines(1)}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tree := fstest.MapFS{"go.mod": source(""), "autorestart.go": lines(1), fallbackFile: lines(1), "internal/p/p.go": lines(1)}
			for _, name := range kernelFiles {
				tree[name] = lines(1)
			}
			for name, file := range tt.add {
				tree[name] = file
				if file == nil {
					delete(tree, name)
				}
			}
			got, err := tt.check(tree)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.EqualFunc(got, tt.want, strings.HasPrefix) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// numbered returns n files with the numbers from 0 in their names.
func numbered(name string, n int) fstest.MapFS {
	files := make(fstest.MapFS)
	for i := range n {
		files[fmt.Sprintf(name, i)] = source("package p\n")
	}
	return files
}
