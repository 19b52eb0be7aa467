package testprocess

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// MemoryDir returns a new directory, on tmpfs where there is one of some size that
// programs can be executed on, with their capabilities and for root, see nosuid in
// mount(8).
func MemoryDir(t testing.TB) string {
	t.Helper()
	const noExec, noSUID = 8, 2 // ST_NOEXEC, ST_NOSUID
	parent := "/dev/shm"
	var fs syscall.Statfs_t
	err := syscall.Statfs(parent, &fs)
	if err != nil || fs.Flags&(noExec|noSUID) != 0 || uint64(fs.Bavail)*uint64(fs.Bsize) < 1<<30 {
		parent = "" // os.TempDir
	}
	// Not [testing.T.TempDir], in which no other user can execute anything.
	dir, err := os.MkdirTemp(parent, "autorestart")
	if err != nil && parent != "" {
		dir, err = os.MkdirTemp("", "autorestart")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// WriteExecutable writes an executable file. No child is forked while it is open
// for writing: one that had a copy of the descriptor would make execve(2) answer
// ETXTBSY.
func WriteExecutable(t testing.TB, name string, content []byte) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(name, content, 0o755); err != nil {
		t.Fatal(err)
	}
}

// ReadFile reads a file.
func ReadFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Status returns the lines of /proc/PID/status, see proc_pid_status(5): those of the main thread.
// While that thread starts another, it blocks all signals; they are read again then.
func Status(t testing.TB, pid int) map[string]string {
	t.Helper()
	status := map[string]string{}
	WaitFor(t, "main thread that is not starting another", func() bool {
		for line := range strings.Lines(string(ReadFile(t, fmt.Sprintf("/proc/%d/status", pid)))) {
			key, value, _ := strings.Cut(line, ":")
			status[key] = strings.TrimSpace(value)
		}
		blocked, err := strconv.ParseUint(status["SigBlk"], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		return blocked&(1<<(syscall.SIGSEGV-1)) == 0
	})
	return status
}

// Glob returns the files that match a pattern, of which there must be some.
func Glob(t testing.TB, pattern string, args ...any) []string {
	t.Helper()
	pattern = fmt.Sprintf(pattern, args...)
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: nothing there, %v", pattern, err)
	}
	return names
}

// InotifyInstances counts the inotify instances of a process.
func InotifyInstances(t testing.TB, pid int) (n int) {
	t.Helper()
	for _, fd := range Glob(t, "/proc/%d/fd/*", pid) {
		if target, _ := os.Readlink(fd); target == "anon_inode:inotify" {
			n++
		}
	}
	return n
}

// WatchOpens returns a function that reports whether any process has opened the file since.
// An open with O_PATH does not count, but on kernels before 6.11, where the test is skipped.
func WatchOpens(t testing.TB, path string) (opened func() bool) {
	t.Helper()
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if _, err := syscall.InotifyAddWatch(fd, path, syscall.IN_OPEN); err != nil {
		t.Fatal(err)
	}
	opened = func() bool {
		n, err := syscall.Read(fd, make([]byte, 4096))
		if err != nil && err != syscall.EAGAIN {
			t.Fatal(err)
		}
		return n > 0
	}
	const pathOnly = 0x200000 // O_PATH
	if other, err := syscall.Open(path, pathOnly|syscall.O_CLOEXEC, 0); err == nil {
		syscall.Close(other)
	}
	if opened() {
		t.Skip("an open with O_PATH is an event of inotify here")
	}
	return opened
}
