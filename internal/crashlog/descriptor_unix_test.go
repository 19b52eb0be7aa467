//go:build unix

package crashlog

import (
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
)

// TestDescriptor: a file on a disk, which may have no holes, serves as well.
func TestDescriptor(t *testing.T) {
	withSlack(t, 100)
	var files [2]File
	for slot := range files {
		f, err := os.Create(t.TempDir() + "/slot")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[slot] = Descriptor(f.Fd())
	}
	l := newLog(t, files, Change{"a", []byte("1")})
	for range 50 {
		write(t, l, Change{"b", make([]byte, 30)})
	}
	write(t, l, Change{"b", []byte("2")})
	checkContent(t, files, map[string]string{"a": "1", "b": "2"})
}

func TestDescriptorErrors(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for _, fd := range []Descriptor{-1, Descriptor(r.Fd())} {
		want := syscall.EBADF
		if fd >= 0 {
			want = syscall.ESPIPE
		}
		if n, err := fd.ReadAt(make([]byte, 1), 0); n != 0 || !errors.Is(err, want) {
			t.Errorf("ReadAt: %d, %v", n, err)
		}
		if n, err := fd.WriteAt(make([]byte, 1), 0); n != 0 || !errors.Is(err, want) {
			t.Errorf("WriteAt: %d, %v", n, err)
		}
		if err := fd.Discard(0); err == nil && fd < 0 {
			t.Error("Discard of no file succeeds")
		}
		if _, _, err := Open([2]File{fd, fd}); !errors.Is(err, want) {
			t.Errorf("Open: %v", err)
		}
		if _, err := New([2]File{fd, fd}, nil); !errors.Is(err, want) {
			t.Errorf("New: %v", err)
		}
	}
	f, err := os.Create(t.TempDir() + "/short")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteString("abc")
	b := make([]byte, 5)
	if n, err := Descriptor(f.Fd()).ReadAt(b, 1); n != 2 || err != io.EOF || string(b[:2]) != "bc" {
		t.Errorf("read %d bytes %q, %v", n, b, err)
	}
}
