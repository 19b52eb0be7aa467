//go:build !autorestart_portable

package files

import (
	"os"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/elfimage"
	"github.com/autorestart-go/autorestart/internal/sys"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// own returns the view of this process.
func own(t testing.TB) *View {
	const image = "/proc/self/exe"
	id, err := Stat(image)
	if err != nil {
		t.Fatal(err)
	}
	return &View{Image: image, Mounts: sys.OwnMounts, LaunchID: id, Kind: elfimage.KindOf(runtime.GOARCH, strconv.IntSize)}
}

// TestOpenForWriting: complete or not, a file that another process may still write has to
// wait.
func TestOpenForWriting(t *testing.T) {
	path := writeProgram(t, 0o755)
	rules := newRules(t)
	c := openCandidate(t, path)
	fd := c.File.(*os.File).Fd()
	if _, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK); err == unix.EINVAL {
		t.Skip("no leases on this file system")
	}
	if _, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_UNLCK); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []int{os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND} {
		writer, err := os.OpenFile(path, flag, 0)
		if err != nil {
			t.Fatal(err)
		}
		if r := rules.Judge(c); r == nil || !r.Retryable || r.Found != "a file open for writing" {
			t.Errorf("open with %#x: %v", flag, r)
		}
		writer.Close()
		// A child that is just being forked may hold the writer a moment longer.
		testprocess.WaitFor(t, "acceptance of a file that is closed again", func() bool { return rules.Judge(c) == nil })
	}
	// Looking leaves no lease behind, on which the next writer would wait.
	if lease, err := unix.FcntlInt(fd, unix.F_GETLEASE, 0); err != nil || lease != unix.F_UNLCK {
		t.Errorf("lease %d, %v", lease, err)
	}
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if r := rules.Judge(c); r != nil {
		t.Errorf("open for reading elsewhere: %v", r)
	}
}

func TestSilentFileSystem(t *testing.T) {
	if name, err := silentFileSystem("/proc"); name != "" || err != nil {
		t.Errorf("proc: %q, %v", name, err)
	}
	if name, err := silentFileSystem(t.TempDir() + "/gone"); name != "" || err == nil {
		t.Errorf("gone: %q, %v", name, err)
	}
}
