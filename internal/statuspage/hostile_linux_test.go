//go:build !autorestart_portable

package statuspage

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// memfd returns a file that has the name of a page.
func memfd(t *testing.T, size int64, seals int) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate(memfdName, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), memfdName)
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		t.Fatal(err)
	}
	return f
}

const fixed = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW

// A process can give any file the name of a page. Find takes none that can harm the caller.
func TestFilesThatAreNoPages(t *testing.T) {
	for name, test := range map[string]struct {
		size  int64
		seals int
		want  error
	}{
		"empty":           {0, fixed, ErrNoPage},
		"short":           {pageSize - 1, fixed, ErrNoPage},
		"huge":            {1 << 50, fixed, ErrNoPage},
		"it can shrink":   {pageSize, unix.F_SEAL_GROW, ErrNoPage},
		"it can grow":     {pageSize, unix.F_SEAL_SHRINK, ErrNoPage},
		"only NUL bytes":  {pageSize, fixed, ErrDamaged},
		"written by none": {pageSize, fixed, ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			f := memfd(t, test.size, test.seals)
			if name == "written by none" {
				f.WriteAt([]byte(header), 0)
			}
			if _, err := Find(os.Getpid()); err != test.want {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestPageWithAnyContent(t *testing.T) {
	f := memfd(t, pageSize, fixed)
	random := rand.New(rand.NewPCG(1, 2))
	text := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}
	for name, content := range map[string][]byte{
		"random":         text(pageSize),
		"long numbers":   bytes.Repeat([]byte("9"), pageSize),
		"random slots":   append([]byte(header), text(pageSize-len(header))...),
		"another record": pageOf(header, encodeSlot(1, string(text(1000)))),
		"no record":      pageOf(header, encodeSlot(1, "")),
		"large number":   pageOf(header, encodeSlot(1<<63, "pid 99999999999999999999\nphase x\n")),
	} {
		f.WriteAt(make([]byte, pageSize), 0)
		f.WriteAt(content, 0)
		if r, err := Find(os.Getpid()); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
}

// pageOf returns a page with a header and one slot.
func pageOf(header string, slot []byte) []byte {
	b := make([]byte, pageSize)
	copy(b, header)
	copy(b[slotsAt:], slot)
	return b
}

// The path may lead to another kind of file when it is opened. Such a file is not even opened.
func TestOpenPageOpensNothingElse(t *testing.T) {
	dir := t.TempDir()
	fifo, plain := filepath.Join(dir, "fifo"), filepath.Join(dir, "plain")
	if err := errors.Join(unix.Mkfifo(fifo, 0o600), os.WriteFile(plain, make([]byte, pageSize), 0o600)); err != nil {
		t.Fatal(err)
	}
	inMemory := filepath.Join(testprocess.MemoryDir(t), "page")
	if err := os.WriteFile(inMemory, make([]byte, pageSize), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, plain, inMemory} {
		opened := testprocess.WatchOpens(t, path)
		if f, err := openPage(path); err != ErrNoPage {
			t.Errorf("%s: %v, %v", path, f, err)
		}
		if opened() {
			t.Errorf("%s was opened", path)
		}
	}
	for _, path := range []string{"/dev/null", "/dev/tty", "/proc/self/status", dir} {
		if f, err := openPage(path); err == nil {
			t.Errorf("%s: %v", path, f)
		}
	}
	if _, err := openPage(filepath.Join(dir, "missing")); err != ErrNoPage {
		t.Errorf("a descriptor that was closed meanwhile: %v", err)
	}
}

// The owner of a page could have root wait: by a lease, which an open breaks.
func TestPageWithLease(t *testing.T) {
	p := newPage(t)
	track(t, p)
	only, err := openAgain(int(p.file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer only.Close()
	p.file.Close()
	if _, err := unix.FcntlInt(only.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Skip("no lease here: ", err)
	}
	r, err := Find(os.Getpid())
	if !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("got %v, %v", r, err)
	}
}

// A page that can't be written has a status, and takes no request.
func TestSealedPage(t *testing.T) {
	f := memfd(t, pageSize, fixed)
	r := exampleRecord()
	r.PID, r.Serves = os.Getpid(), true
	f.WriteAt([]byte(header), 0)
	f.WriteAt(encodeSlot(1, r.encode()), slotOffset(1))
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); err != nil {
		t.Fatal(err)
	}
	page := readerOf(t, os.Getpid())
	if s, err := page.Status(); err != nil || s != r.Status {
		t.Errorf("%+v, %v", s, err)
	}
	if o, err := page.Request(t.Context()); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%+v, %v", o, err)
	}
}

// The content becomes bad while a process waits.
func TestPageIsDamagedDuringRequest(t *testing.T) {
	p := newPage(t)
	track(t, p)
	r := readerOf(t, os.Getpid())
	failed := make(chan error, 1)
	go func() {
		_, err := r.Request(t.Context())
		failed <- err
	}()
	testprocess.WaitFor(t, "request", func() bool {
		ids, _ := p.requests()
		return len(ids) == 1
	})
	p.file.WriteAt([]byte(strings.Repeat("x", numSlots*slotSize)), slotsAt)
	if err, _ := testprocess.Receive(t, "end of the request", failed); err != ErrDamaged {
		t.Errorf("got %v", err)
	}
}

func TestAdoptTakesNothingElse(t *testing.T) {
	later := memfd(t, pageSize, fixed)
	later.WriteAt([]byte(headerStart+"2\n"), 0)
	for name, test := range map[string]struct {
		f    *os.File
		want error
	}{
		"no page":        {memfd(t, 1, fixed), ErrNoPage},
		"another format": {later, ErrFormat},
	} {
		if p, err := Adopt(test.f); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, %v", name, p, err)
		}
		if _, err := test.f.Stat(); err != nil {
			t.Errorf("%s: it does not stay with the caller: %v", name, err)
		}
	}
}
