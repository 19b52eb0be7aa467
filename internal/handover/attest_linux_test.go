//go:build !autorestart_portable

package handover

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// startAttester starts an attester of this process, and returns the connection to it.
func startAttester(t *testing.T, statement string) (socket int) {
	t.Helper()
	own, err := capabilities()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := setTimeout(pair[1]); err != nil {
		t.Fatal(err)
	}
	pid, err := newAttester(pair[0], statement, own).start()
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(pair[0])
	t.Cleanup(func() {
		end(pid)
		unix.Close(pair[1])
		unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) // as a test is
	})
	return pair[1]
}

// TestAsk: the attester answers as often as it is asked, also while signals arrive.
func TestAsk(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	socket := startAttester(t, "statement")
	self, stop, stopped := unix.Gettid(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				unix.Tgkill(os.Getpid(), self, unix.SIGWINCH)
				runtime.Gosched()
			}
		}
	}()
	for range 300 {
		if _, err := new(State).ask(socket, "statement"); err != nil {
			t.Error("no answer")
			break
		}
	}
	close(stop)
	<-stopped
	if _, err := new(State).ask(socket, "another statement"); err != ErrCannotAttest {
		t.Error("another statement is attested")
	}
}

// TestAttesterAnswersNumbersOnly: a path would lead out of the directory of descriptors of
// this process.
func TestAttesterAnswersNumbersOnly(t *testing.T) {
	for _, question := range []string{"../exe", "0/../0", "x", " 1"} {
		socket := startAttester(t, "statement")
		if _, err := unix.Write(socket, []byte(question)); err != nil {
			t.Fatal(err)
		}
		if n, err := unix.Read(socket, make([]byte, 1000)); n != 0 || err != nil {
			t.Errorf("%q: %d bytes, %v", question, n, err)
		}
	}
}
