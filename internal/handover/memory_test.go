//go:build unix

package handover

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// memoryFiles are the ways to make a file for what crosses.
var memoryFiles = map[string]func([]byte) (int, error){"MemoryFile": MemoryFile, "unlinked": func(b []byte) (int, error) {
	fd, err := unlinkedFile()
	if err == nil {
		err = writeAll(fd, b)
	}
	return fd, err
}}

func TestMemoryFile(t *testing.T) {
	for name, memoryFile := range memoryFiles {
		for _, content := range []string{"", "state"} {
			fd, err := memoryFile([]byte(content))
			if err != nil {
				t.Fatal(name, err)
			}
			defer unix.Close(fd)
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("%s: flags %#x, %v: children inherit it", name, flags, err)
			}
			for range 2 { // the offset stays where it is
				if b, err := ReadMemoryFile(fd, len(content)); err != nil || string(b) != content {
					t.Errorf("%s: read %q, %v; want %q", name, b, err, content)
				}
			}
		}
	}
}

// TestUnlinkedFile: nothing is left in the directory, and a starter with fewer rights does
// not choose the directory.
func TestUnlinkedFile(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	fd, err := unlinkedFile()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	defer func(was bool) { Secure = was }(Secure)
	Secure = true
	if _, err := unlinkedFile(); err != errNoFile {
		t.Errorf("a secure process: %v", err)
	}
}

// TestReadMemoryFileIsTriedAgain: for an image that can't read what was handed over to it,
// everything is lost. A page that was swapped out needs memory.
func TestReadMemoryFileIsTriedAgain(t *testing.T) {
	defer func(was func(int, []byte, int64) (int, error)) { pread = was }(pread)
	const content = "state"
	fd, err := MemoryFile([]byte(content))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for _, tt := range []struct {
		errno   unix.Errno
		failing int // calls
		want    error
	}{{unix.ENOMEM, 3, nil}, {unix.EINTR, 3, nil}, {unix.EIO, 1, unix.EIO}, {unix.ENOMEM, readAttempts, unix.ENOMEM}} {
		calls := 0
		pread = func(fd int, b []byte, offset int64) (int, error) {
			if calls++; calls <= tt.failing {
				return -1, tt.errno
			}
			return unix.Pread(fd, b[:1], offset)
		}
		b, err := ReadMemoryFile(fd, len(content))
		if err != tt.want || err == nil && string(b) != content {
			t.Errorf("%d times %v: read %q, %v", tt.failing, tt.errno, b, err)
		}
	}
}

// TestReadMemoryFileIsBounded: a forged file is as long as its author likes.
func TestReadMemoryFileIsBounded(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(1 << 40); err != nil {
		t.Skip("no sparse files here: ", err)
	}
	if b, err := ReadMemoryFile(int(f.Fd()), math.MaxInt); err != errSparse {
		t.Errorf("read %d bytes, %v", len(b), err)
	}
	fd, err := MemoryFile([]byte("state"))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if b, err := ReadMemoryFile(fd, 4); err != errTooLarge {
		t.Errorf("read %d bytes of at most 4, %v", len(b), err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if b, err := ReadMemoryFile(int(r.Fd()), math.MaxInt); err != errNotRegular {
		t.Errorf("read %d bytes of a pipe, %v", len(b), err)
	}
}
