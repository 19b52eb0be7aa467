//go:build unix

package handover

import (
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fillTable opens files until no descriptor is left, for the rest of the test. No other test
// runs at the same time.
func fillTable(t *testing.T) {
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	few := before
	few.Cur = 200
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Setrlimit(unix.RLIMIT_NOFILE, &before) })
	for {
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == unix.EMFILE {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
	}
}

// TestReserveServesEveryAttempt: an exec that fails is tried again, with other contents.
func TestReserveServesEveryAttempt(t *testing.T) {
	r, err := NewReserve()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fillTable(t)
	if _, err := NewReserve(); err != unix.EMFILE {
		t.Errorf("a Reserve without descriptors: %v", err)
	}
	s := State{Reserve: r}
	for _, content := range []string{"a long content", "short", ""} {
		var releases []func()
		for range 2 {
			fd, release, err := s.MemoryFileOf(always([]byte(content)))
			if err != nil {
				t.Fatal(err)
			}
			releases = append(releases, release)
			if b, err := ReadMemoryFile(fd, math.MaxInt); err != nil || string(b) != content {
				t.Errorf("read %q, %v; want %q", b, err, content)
			}
		}
		if _, _, err := s.MemoryFileOf(always(nil)); err != unix.EMFILE {
			t.Errorf("a third file: %v", err)
		}
		for _, release := range releases {
			release()
		}
	}
}

// TestUnusedReserve: while descriptors are free, the exec opens what it needs, and the
// Reserve closes its own.
func TestUnusedReserve(t *testing.T) {
	open := func() (targets []string) {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		for _, fd := range fds {
			if target, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && !strings.HasPrefix(target, "/proc/") {
				targets = append(targets, fd.Name()+" "+target)
			}
		}
		return targets
	}
	before := open()
	r, err := NewReserve()
	if err != nil {
		t.Fatal(err)
	}
	s := State{Reserve: r}
	fd, release, err := s.MemoryFileOf(always([]byte("state")))
	if err != nil || slices.Contains(r.files, fd) || len(r.files) != 2 {
		t.Errorf("took descriptor %d of %d, %v", fd, r.files, err)
	}
	release()
	r.Close()
	if after := open(); !slices.Equal(after, before) {
		t.Errorf("open are\n%q\nand were\n%q", after, before)
	}
}
