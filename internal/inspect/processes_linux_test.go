//go:build !autorestart_portable

package inspect

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// TestLocate: links lead below the root directory, wherever they say.
func TestLocate(t *testing.T) {
	root := testprocess.MemoryDir(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(root, "srv/releases/1"), 0o755))
	must(os.WriteFile(filepath.Join(root, "srv/releases/1/app"), nil, 0o755))
	for name, target := range map[string]string{
		"srv/current": "releases/1", "absolute": "/srv/current", "up": "../../srv", "dangling": "/nowhere", "loop": "loop",
	} {
		must(os.Symlink(target, filepath.Join(root, name)))
	}
	for path, want := range map[string]string{
		"/srv/releases/1/app":         "/srv/releases/1/app",
		"/srv/current/app":            "/srv/releases/1/app",
		"/absolute/app":               "/srv/releases/1/app",
		"/up/../up//./current/app":    "/srv/releases/1/app",
		"/../../srv/current/../1/app": "/srv/releases/1/app",
		"/srv/current":                "/srv/releases/1",
		"/dangling":                   "/nowhere",
		"/srv/none/app":               "/srv/none",
	} {
		if got, err := locate(root, path); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", path, got, err, want)
		}
	}
	for path, want := range map[string]error{"/loop": unix.ELOOP, "/": unix.EISDIR, "/..": unix.EISDIR} {
		if got, err := locate(root, path); !errors.Is(err, want) {
			t.Errorf("%s: %q, %v, want %v", path, got, err, want)
		}
	}
}

// TestRealPath: the links of proc(5) lead where the kernel says, and not where their text says.
func TestRealPath(t *testing.T) {
	dir := testprocess.MemoryDir(t)
	path := filepath.Join(dir, "app")
	if err := os.WriteFile(path, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("app", path+".link"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + ".link", "/proc/self/root" + path} {
		if got, err := realPath(name); err != nil || got != path {
			t.Errorf("%s: %q, %v, want %q", name, got, err, path)
		}
	}
	e, err := findExecutable(filepath.Join(dir, "none"))
	if err != nil || e.real != filepath.Join(dir, "none") || e.id.Ino != 0 {
		t.Errorf("of no file: %+v, %v", e, err)
	}
}

// TestHiddenProcessIsNamed: of a process that this user can't look at, its arguments and its name tell.
func TestHiddenProcessIsNamed(t *testing.T) {
	dir := testprocess.MemoryDir(t)
	path := filepath.Join(dir, "app-with-a-long-name")
	if err := os.WriteFile(path, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	e, err := findExecutable(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		cmdline, comm string
		is            bool
	}{
		{path + "\x00-v\x00", "app-with-a-long", true},
		{path + "\x00-v\x00", "renamed", true},
		{filepath.Join(dir, "link") + "\x00", "link", true},
		{"/opt/app-with-a-long-name\x00", "app-with-a-long", false},
		{"app-with-a-long-name\x00", "app-with-a-long", true},
		{"app: main process", "app-with-a-long", true},
		{"./other\x00", "other", false},
		{"\x00", "app-with-a-long", true},
		{"", "app-with-a-long", false},
	} {
		if is := e.isNamed([]byte(test.cmdline), []byte(test.comm+"\n")); is != test.is {
			t.Errorf("%q, %q: %t", test.cmdline, test.comm, is)
		}
	}
}
