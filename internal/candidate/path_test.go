package candidate

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// fakeLinks is a file system for [PathSteps]: the targets of its symbolic
// links, and "" for everything else that is there.
type fakeLinks map[string]string

func (f fakeLinks) link(name string) (string, error) {
	target, ok := f[name]
	if !ok {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrNotExist}
	}
	return target, nil
}

func TestPathSteps(t *testing.T) {
	files := fakeLinks{
		"/app": "", "/opt": "", "/opt/app": "", "/opt/bin": "", "/opt/bin/app": "",

		// One release of many.
		"/srv": "", "/srv/releases": "", "/srv/releases/1": "", "/srv/releases/1/app": "",
		"/srv/current":  "releases/1",
		"/srv/absolute": "/srv/releases/1",
		"/srv/slash":    "releases/1/",
		"/srv/dots":     "./releases//../releases/./1",
		"/srv/app":      "current/app",
		"/link":         "/srv/app",
		"/up":           "../../opt/../opt/bin",
		"/top":          "/",
		"/here":         ".",
		"/above":        "..",
		"/dangling":     "opt/missing",
		"/lost":         "missing/app",

		// A Kubernetes volume.
		"/vol": "", "/vol/app": "..data/app", "/vol/..data": "..2026_01", "/vol/..2026_01": "", "/vol/..2026_01/app": "",

		"/self": "self", "/a": "b", "/b": "a", "/deep": "deep/deep",
	}
	tests := []struct{ path, want string }{
		{"/", ""},
		{"//", ""},
		{"/.", ""},
		{"/..", ""},
		{"/app", "/:app"},
		{"//app", "/:app"},
		{"/./app", "/:app"},
		{"/../app", "/:app"},
		{"/app/", "/:app"},
		{"/app/.", "/:app"},
		{"/opt/bin/app", "/:opt /opt:bin /opt/bin:app"},
		{"/opt//bin///app", "/:opt /opt:bin /opt/bin:app"},
		{"/opt/./bin/./app", "/:opt /opt:bin /opt/bin:app"},
		{"/opt/bin/../app", "/:opt /opt:bin /opt:app"},
		{"/opt/bin/../../app", "/:opt /opt:bin /:app"},
		{"/opt/bin/../../../../app", "/:opt /opt:bin /:app"},

		{"/srv/releases/1/app", "/:srv /srv:releases /srv/releases:1 /srv/releases/1:app"},
		{"/srv/current/app", "/:srv /srv:current /srv:releases /srv/releases:1 /srv/releases/1:app"},
		{"/srv/absolute/app", "/:srv /srv:absolute /:srv /srv:releases /srv/releases:1 /srv/releases/1:app"},
		{"/srv/slash/app", "/:srv /srv:slash /srv:releases /srv/releases:1 /srv/releases/1:app"},
		{"/srv/dots/app", "/:srv /srv:dots /srv:releases /srv:releases /srv/releases:1 /srv/releases/1:app"},
		{"/srv/app", "/:srv /srv:app /srv:current /srv:releases /srv/releases:1 /srv/releases/1:app"},
		{"/link", "/:link /:srv /srv:app /srv:current /srv:releases /srv/releases:1 /srv/releases/1:app"},
		// The dots belong to what the link leads to.
		{"/srv/current/../1/app", "/:srv /srv:current /srv:releases /srv/releases:1 /srv/releases:1 /srv/releases/1:app"},
		{"/srv/current/", "/:srv /srv:current /srv:releases /srv/releases:1"},
		{"/up/app", "/:up /:opt /:opt /opt:bin /opt/bin:app"},
		{"/top/app", "/:top /:app"},
		{"/top", "/:top"},
		{"/here/app", "/:here /:app"},
		{"/above/app", "/:above /:app"},
		{"/vol/app", "/:vol /vol:app /vol:..data /vol:..2026_01 /vol/..2026_01:app"},

		// The last step is the one that would have to succeed.
		{"/missing", "/:missing"},
		{"/missing/app", "/:missing"},
		{"/missing/../app", "/:missing"},
		{"/opt/missing/bin/app", "/:opt /opt:missing"},
		{"/dangling", "/:dangling /:opt /opt:missing"},
		{"/dangling/app", "/:dangling /:opt /opt:missing"},
		{"/lost", "/:lost /:missing"},

		{"/self", strings.Repeat("/:self ", 41)},
		{"/self/app", strings.Repeat("/:self ", 41)},
		{"/a", strings.Repeat("/:a /:b ", 20) + "/:a"},
		{"/deep", strings.Repeat("/:deep ", 41)},
	}
	for _, test := range tests {
		var got []string
		for _, step := range PathSteps(test.path, files.link) {
			got = append(got, step.Dir+":"+step.Name)
		}
		if want := strings.Fields(test.want); !slices.Equal(got, want) {
			t.Errorf("%s:\n got %s\nwant %s", test.path, strings.Join(got, " "), strings.Join(want, " "))
		}
	}
}

// TestPathStepsLinkLimit: as many links as the kernel follows, and one more.
func TestPathStepsLinkLimit(t *testing.T) {
	files := fakeLinks{"/0": ""}
	for i := 1; i <= maxSymlinks+1; i++ {
		files["/"+strconv.Itoa(i)] = strconv.Itoa(i - 1)
	}
	for n, want := range map[int]string{maxSymlinks: "0", maxSymlinks + 1: "1"} {
		steps := PathSteps("/"+strconv.Itoa(n), files.link)
		if last := steps[len(steps)-1]; last != (Step{Dir: "/", Name: want}) {
			t.Errorf("%d links: the last step is %v, want %s", n, last, want)
		}
	}
}

// readLink asks the file system.
func readLink(name string) (string, error) {
	target, err := os.Readlink(name)
	if err == nil || os.IsNotExist(err) {
		return target, err
	}
	return "", nil
}

// TestPathStepsOfTrees compares with what the system makes of the same paths, in
// trees of directories, files and links made at random.
func TestPathStepsOfTrees(t *testing.T) {
	if os.PathSeparator != '/' {
		t.Skip("paths have another form here")
	}
	files, missing := 0, 0
	for seed := range uint64(8) {
		root, err := filepath.EvalSymlinks(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(seed, 0))
		dirs := []string{root}
		var all []string
		pick := func(from []string) string { return from[r.IntN(len(from))] }
		for i := range 60 {
			dir := pick(dirs)
			name := filepath.Join(dir, "n"+strconv.Itoa(i))
			switch kind := r.IntN(10); {
			case kind < 3:
				err = os.Mkdir(name, 0o755)
				dirs = append(dirs, name)
			case kind < 6 || len(all) == 0:
				err = os.WriteFile(name, nil, 0o644)
			default:
				target := pick(all)
				if r.IntN(2) == 0 {
					if target, err = filepath.Rel(dir, target); err != nil {
						t.Fatal(err)
					}
				}
				if r.IntN(4) == 0 {
					target += "/" + pick([]string{"n1", "..", ".", "n2/n3", "../n4"})
				}
				err = os.Symlink(target, name)
			}
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, name)
		}
		for range 400 {
			path := pick(dirs)
			for range 1 + r.IntN(3) {
				path += pick([]string{"/", "//", "/./", "/../", "/"}) + filepath.Base(pick(all))
			}
			if r.IntN(2) == 0 {
				path = pick(all)
			}
			steps := PathSteps(path, readLink)
			if len(steps) == 0 {
				t.Fatalf("%s: no steps", path)
			}
			for _, step := range steps {
				if real, err := filepath.EvalSymlinks(step.Dir); err == nil && real != step.Dir {
					t.Errorf("%s: a step in %s, which is %s", path, step.Dir, real)
				}
			}
			info, err := os.Stat(path)
			if err != nil {
				missing++
				continue
			}
			if !info.Mode().IsRegular() {
				continue // may end in dots, which are no step
			}
			files++
			last := steps[len(steps)-1]
			want, err := filepath.EvalSymlinks(path)
			if got := filepath.Join(last.Dir, last.Name); err != nil || got != want {
				t.Errorf("%s: ends at %s, want %s, %v", path, got, want, err)
			}
		}
	}
	if files < 100 || missing < 100 {
		t.Errorf("the trees are too plain: %d files found, %d paths that lead nowhere", files, missing)
	}
}
