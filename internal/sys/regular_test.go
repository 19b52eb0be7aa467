//go:build linux

package sys

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/forcefallback"
)

func TestOpenRegular(t *testing.T) {
	testOpenRegular(t)
	for name, change := range map[string]func() error{
		"without /proc": forcefallback.NoProc, "with a closed /proc": forcefallback.ClosedProc,
	} {
		t.Run(name, func(t *testing.T) {
			runtime.LockOSThread() // for good: the thread has mounts of its own
			if err := change(); err != nil {
				t.Skip(err)
			}
			testOpenRegular(t)
		})
	}
}

func testOpenRegular(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	listener, err := net.Listen("unix", in("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := errors.Join(
		os.WriteFile(in("file"), []byte("content"), 0o755),
		os.Symlink("file", in("link")),
		os.Symlink("/dev/null", in("device")),
		os.Mkdir(in("dir"), 0o755),
		unix.Mkfifo(in("fifo"), 0o755),
	); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{
		"file": nil, "link": nil,
		"dir": ErrNotRegular, "device": ErrNotRegular, "fifo": ErrNotRegular, "socket": ErrNotRegular,
		"missing": fs.ErrNotExist, "file/x": syscall.ENOTDIR,
	} {
		f, err := OpenRegular(in(name))
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		if err != nil {
			if p, ok := errors.AsType[*os.PathError](err); !ok || p.Path != in(name) {
				t.Errorf("%s: %v has no path", name, err)
			}
			continue
		}
		content, err := io.ReadAll(f)
		if string(content) != "content" || err != nil || f.Name() != in(name) {
			t.Errorf("%s: %q, %v, with the name %s", name, content, err, f.Name())
		}
		cloexec, _, err := Flags(int(f.Fd()))
		if !cloexec || err != nil {
			t.Errorf("%s: close-on-exec %t, %v", name, cloexec, err)
		}
		f.Close()
	}
}
