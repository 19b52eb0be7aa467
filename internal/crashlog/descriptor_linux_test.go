//go:build !autorestart_portable

package crashlog

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
	"golang.org/x/sys/unix"
)

// blocks returns how many bytes of memory the files take.
func blocks(t *testing.T, files [2]*os.File) (total int64) {
	t.Helper()
	for _, f := range files {
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		total += st.Blocks * 512
	}
	return total
}

// TestMemory: memfds take little more memory than one slot, however much was written.
func TestMemory(t *testing.T) {
	memfds, files := newMemfds(t)
	l := newLog(t, files)
	value := make([]byte, 10_000)
	page := int64(os.Getpagesize())
	for i := range 3000 {
		value[i] = byte(i)
		write(t, l, Change{strconv.Itoa(i % 50), value})
		if _, total := l.Size(); blocks(t, memfds) > total+2*page {
			t.Fatalf("after %d writes the memfds take %d bytes, the slot %d", i, blocks(t, memfds), total)
		}
	}
	// A process that is killed when both slots count leaves this to the next one.
	old := l.files[1-l.current]
	if _, err := old.WriteAt(slot(1, string(make([]byte, 100_000))), 0); err != nil {
		t.Fatal(err)
	}
	l, _, err := Open(files)
	if err != nil {
		t.Fatal(err)
	}
	if _, total := l.Size(); blocks(t, memfds) > total+2*page {
		t.Errorf("after Open the memfds take %d bytes, the slot %d", blocks(t, memfds), total)
	}
}

// TestSeal: no process can truncate the files, and the log can be used.
func TestSeal(t *testing.T) {
	withSlack(t, 10_000)
	memfds, files := newMemfds(t)
	l := newLog(t, files, Change{"a", []byte("1")})
	if err := l.Replace([]Change{{"a", []byte("1")}}); err != nil { // so that neither file is empty
		t.Fatal(err)
	}
	for slot, f := range memfds {
		if err := files[slot].(Descriptor).Seal(); err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(0); !errors.Is(err, unix.EPERM) {
			t.Errorf("truncated: %v", err)
		}
		if err := files[slot].(Descriptor).Seal(); !errors.Is(err, unix.EPERM) {
			t.Errorf("sealed again: %v", err)
		}
	}
	for range 100 {
		write(t, l, Change{"b", make([]byte, 1000)})
	}
	if _, total := l.Size(); l.epoch < 3 || blocks(t, memfds) > total+2*int64(os.Getpagesize()) {
		t.Errorf("epoch %d, the memfds take %d bytes, the slot %d", l.epoch, blocks(t, memfds), total)
	}
	checkContent(t, files, map[string]string{"a": "1", "b": string(make([]byte, 1000))})
}

func TestSealNeedsMemfd(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/file") // on a tmpfs it has seals, and is sealed against more
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Descriptor(f.Fd()).Seal(); !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) {
		t.Error(err)
	}
}

var _ = testprocess.RegisterHelper("crashlog with a limit", func() {
	const limit = 200_000
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		panic(err)
	}
	l, _, err := Open([2]File{Descriptor(3), Descriptor(4)})
	if err != nil {
		panic(err)
	}
	if err := l.Write(Change{"a", make([]byte, 90_000)}); err != nil {
		panic(err)
	}
	for i := range 100 { // twice what counts, and the slack, are more than there is room for
		if err := l.Write(Change{"b", []byte{9_999: byte(i)}}); err != nil {
			panic(err)
		}
	}
	if err := l.Write(Change{"c", make([]byte, limit)}); !errors.Is(err, syscall.EFBIG) {
		panic(err)
	}
	if err := l.Write(Change{"c", []byte("behind")}); err != nil {
		panic(err)
	}
})

// TestFileSizeLimit: RLIMIT_FSIZE, which is LimitFSIZE of a unit, holds for memfds. A value for
// which there is no room is not set, and others still are.
func TestFileSizeLimit(t *testing.T) {
	memfds, files := newMemfds(t)
	newLog(t, files, Change{"a", []byte("1")})
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "crashlog with a limit"))
	cmd.ExtraFiles = memfds[:]
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	checkContent(t, files, map[string]string{"a": string(make([]byte, 90_000)), "b": string([]byte{9_999: 99}), "c": "behind"})
}
