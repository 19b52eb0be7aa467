package verify

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// survivor is a script that starts a process which leaves its group and session. The
// process writes its PID, as /proc has it, to the file $0.
const survivor = `setsid sh -c 'read pid rest </proc/self/stat; echo $pid >$0; exec sleep 1000' $0 & until [ -s $0 ]; do sleep .01; done; `

// wantKilled waits until the process that wrote its PID to the file has ended.
func wantKilled(t *testing.T, pidFile string) {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(string(testprocess.ReadFile(t, pidFile))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Kill(pid, syscall.SIGKILL) })
	testprocess.WaitFor(t, "end of process "+strconv.Itoa(pid), func() bool { return !alive(pid) })
}

// A process that has left the group of the program does not survive it.
func TestRunKillsWhatLeftTheGroup(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root for a PID namespace")
	}
	testprocess.NeedTool(t, "setsid")
	for _, tt := range []struct {
		name, rest string
		timeout    time.Duration
		accepted   bool
	}{
		{"exit 0", "exit 0", time.Minute, true},
		{"exit 1", "exit 1", time.Minute, false},
		{"out of time", "sleep 1000", time.Second, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pidFile := filepath.Join(t.TempDir(), "pid")
			err := Run(tt.timeout, "-c", survivor+tt.rest, pidFile)(context.Background(), openShell(t))
			if (err == nil) != tt.accepted {
				t.Error(err)
			}
			wantKilled(t, pidFile)
			wantNoChildren(t)
		})
	}
}

// wantNoChildren checks that this process has no children, not even zombies.
func wantNoChildren(t *testing.T) {
	t.Helper()
	if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); !errors.Is(err, syscall.ECHILD) {
		t.Errorf("child %d is left, %v", pid, err)
	}
}
