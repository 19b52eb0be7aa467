//go:build unix

package sys

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestFDHasOneOwner(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := DuplicateFile(f)
	if err != nil {
		t.Fatal(err)
	}
	n := fd.Int()
	if n < firstAboveStandard {
		t.Errorf("descriptor %d is one of a standard stream", n)
	}
	if released := fd.Release(); released != n || fd.Int() != closed {
		t.Errorf("released %d and kept %d, want %d and none", released, fd.Int(), n)
	}
	if err := fd.Close(); err != nil {
		t.Errorf("closing what was released: %v", err)
	}
	fd = NewFD(n)
	for range 2 {
		if err := fd.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := Duplicate(n); err == nil {
		t.Errorf("descriptor %d is open after Close", n)
	}
}

func TestAboveStandard(t *testing.T) {
	if _, err := AboveStandard(-1, unix.EMFILE); err != unix.EMFILE {
		t.Errorf("got %v, want the error of the call", err)
	}
	n, err := unix.Open(".", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	fd, err := AboveStandard(n, err)
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	if fd.Int() != n {
		t.Errorf("descriptor %d became %d", n, fd.Int())
	}
}

// fileWith returns a descriptor, which the caller owns, of a file with the content.
func fileWith(t *testing.T, content string) *FD {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := DuplicateFile(f)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func TestDuplicateOver(t *testing.T) {
	fd, over := fileWith(t, "one"), fileWith(t, "other")
	defer fd.Close()
	defer over.Close()
	if err := fd.DuplicateOver(over.Int()); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	if n, err := unix.Pread(over.Int(), b, 0); err != nil || string(b[:n]) != "one" {
		t.Errorf("read %q, %v", b[:max(n, 0)], err)
	}
	for n, want := range map[int]bool{fd.Int(): true, over.Int(): false} {
		if closeOnExec, _, err := Flags(n); err != nil || closeOnExec != want {
			t.Errorf("descriptor %d: close-on-exec %v, %v; want %v", n, closeOnExec, err, want)
		}
	}
	n := over.Release()
	NewFD(n).Close()
	if _, _, err := Flags(n); !errors.Is(err, unix.EBADF) {
		t.Errorf("a closed descriptor: %v", err)
	}
}

func TestFlagsOfNonblockingFile(t *testing.T) {
	var fds [2]int
	if err := unix.Pipe(fds[:]); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{false, true} {
		if err := unix.SetNonblock(fds[0], want); err != nil {
			t.Fatal(err)
		}
		if _, nonblocking, err := Flags(fds[0]); err != nil || nonblocking != want {
			t.Errorf("nonblocking %v, %v; want %v", nonblocking, err, want)
		}
	}
	unix.Close(fds[0])
	unix.Close(fds[1])
}

func TestIgnoringEINTR(t *testing.T) {
	calls := 0
	n, err := IgnoringEINTR(func() (int, error) {
		if calls++; calls < 3 {
			return 0, unix.EINTR
		}
		return 7, unix.EIO
	})
	if calls != 3 || n != 7 || err != unix.EIO {
		t.Errorf("%d calls: %d, %v", calls, n, err)
	}
}

func TestStat(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("12345"), 0o640); err != nil {
		t.Fatal(err)
	}
	stamp := time.Unix(1700000000, 123456000)
	if err := os.Chtimes(name, stamp, stamp); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	byPath, err := Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	byFile, err := StatFile(f)
	if err != nil || byFile != byPath {
		t.Errorf("by descriptor %+v, %v; by path %+v", byFile, err, byPath)
	}
	if byPath.Size != 5 || !byPath.Regular || byPath.Perm != 0o640 || byPath.Mtime != stamp.UnixNano() || byPath.Ino == 0 {
		t.Errorf("got %+v", byPath)
	}
	if dir, err := Stat(filepath.Dir(name)); err != nil || dir.Regular {
		t.Errorf("a directory: %+v, %v", dir, err)
	}
	if _, err := Stat(name + ".none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that does not exist: %v", err)
	}
	f.Close()
	if _, err := StatFile(f); err == nil {
		t.Error("a closed file: no error")
	}
}
