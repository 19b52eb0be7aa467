package autorestart

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestAbsolute(t *testing.T) {
	if os.PathSeparator != '/' {
		t.Skip("paths have another form here")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, test := range []struct{ path, want string }{
		{"", ""},
		{"/", "/"},
		{"/srv/app", "/srv/app"},
		{"/srv/../app", "/srv/../app"},
		{"//srv", "//srv"},
		{"app", dir + "/app"},
		{"./app", dir + "/app"},
		{"././app", dir + "/app"},
		{"bin/app", dir + "/bin/app"},
		{"../app", dir + "/../app"},
		{"link/../app", dir + "/link/../app"}, // not cleaned
		{".app", dir + "/.app"},
		{".", dir + "/."},
	} {
		if got := absolute(test.path); got != test.want {
			t.Errorf("%q: got %q, want %q", test.path, got, test.want)
		}
	}
	t.Chdir("/")
	if got := absolute("app"); got != "/app" {
		t.Errorf("in the root directory: got %q", got)
	}
}

// TestExecutablePath: a relative path is taken from the working directory once,
// and what follows is not led astray when that changes.
func TestExecutablePath(t *testing.T) {
	if got, err := executablePath(""); err != nil || got != launch.path {
		t.Errorf("got %q, %v; want this program, %q", got, err, launch.path)
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, path := range []string{"app", filepath.Join("bin", "app"), filepath.Join(dir, "app")} {
		want := path
		if !filepath.IsAbs(path) {
			want = filepath.Join(dir, path)
		}
		if got, err := executablePath(path); err != nil || got != want {
			t.Errorf("%q: got %q, %v; want %q", path, got, err, want)
		}
	}
}

// TestExecutablePathNowhere: the working directory has been removed.
func TestExecutablePathNowhere(t *testing.T) {
	if os.PathSeparator != '/' {
		t.Skip("the working directory can't be removed here")
	}
	dir := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if err := os.Remove(dir); err != nil {
		t.Skip(err)
	}
	if got, err := executablePath("app"); err != errNoDirectory {
		t.Errorf("got %q, %v; want %v", got, err, errNoDirectory)
	}
	if got, err := executablePath("/srv/app"); err != nil || got != "/srv/app" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestExecutablePathUnknown(t *testing.T) {
	old := launch
	defer func() { launch = old }()
	launch.path = ""
	if got, err := executablePath(""); err != errNoPath {
		t.Errorf("got %q, %v; want %v", got, err, errNoPath)
	}
	if err := (&Restarter{}).Restart(t.Context()); err != errNoPath {
		t.Errorf("Restart: %v, want %v", err, errNoPath)
	}
	if _, err := (&Watcher{}).Next(t.Context()); err != errNoPath {
		t.Errorf("Next: %v, want %v", err, errNoPath)
	}
}

// TestLaunchPath: it leads to what runs, from wherever.
func TestLaunchPath(t *testing.T) {
	if !filepath.IsAbs(launch.path) {
		t.Fatalf("launch path %q", launch.path)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	a, errA := os.Stat(launch.path)
	b, errB := os.Stat(self)
	if err := errors.Join(errA, errB); errors.Is(err, fs.ErrNotExist) {
		t.Skip(err)
	} else if err != nil || !os.SameFile(a, b) {
		t.Errorf("%s is not %s, %v", launch.path, self, err)
	}
	if len(launch.args) != len(os.Args) {
		t.Errorf("arguments %q, want %q", launch.args, os.Args)
	}
}
