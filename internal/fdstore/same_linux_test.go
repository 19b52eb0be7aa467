//go:build !autorestart_portable

package fdstore

import (
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/forcefallback"
	"github.com/autorestart-go/autorestart/internal/passing"
)

// noComparison takes from the calling thread what compares descriptors.
func noComparison(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // the thread ends with the test
	fcntl := uint32(unix.SYS_FCNTL)
	if strconv.IntSize == 32 {
		fcntl = 221 // fcntl64
	}
	if err := forcefallback.Deny(
		forcefallback.Denial{Call: unix.SYS_KCMP, Arg: -1, Errno: unix.EPERM},
		forcefallback.Denial{Call: fcntl, Arg: 1, Value: 1027, Errno: unix.EINVAL}, // F_DUPFD_QUERY
	); err != nil {
		t.Fatal(err)
	}
}

// TestFilesThatCannotBeCompared: a file that may be a duplicate of a stored one is not stored. As a duplicate, it would be
// another file after a crash. As a file of its own, systemd would drop it silently, and nothing would be found.
func TestFilesThatCannotBeCompared(t *testing.T) {
	for _, compared := range []bool{true, false} {
		t.Run(strconv.FormatBool(compared), func(t *testing.T) {
			var opened [2]int
			for i := range opened {
				fd, err := unix.Open(filepath.Join(t.TempDir(), "..", "file"), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
				if err != nil {
					t.Fatal(err)
				}
				defer unix.Close(fd)
				opened[i] = fd
			}
			first := opened[0]
			again, s1 := duplicate(t, first), socket(t)
			s2 := duplicate(t, s1)
			defer unix.Close(again)
			defer unix.Close(s2)
			m := newManager(t)
			if !compared {
				noComparison(t)
			}
			s, _ := m.recover()
			s.Begin([]passing.KeptFile{file(0, first), file(1, again), file(2, opened[1]), file(3, s1), file(4, s2)}, nil)
			if compared {
				m.wantKept("file 0=0, file 1=0, file 2=1, file 3=2, file 4=2", first, opened[1], s1)
				m.logs.want(t)
			} else {
				m.wantKept("file 0=0, file 3=2, file 4=2", first, opened[1], s1)
				m.logs.want(t, "a file is not found after a crash", "a file is not found after a crash")
			}
			s.KeepFile(file(0, opened[1])) // in place of the other one
			if !compared {
				m.wantKept("file 0=1, file 3=2, file 4=2", first, opened[1], s1)
			}
			m.logs.lines = nil
			end(s)
		})
	}
}
