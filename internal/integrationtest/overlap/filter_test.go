//go:build linux && !autorestart_portable

package overlap

import (
	"os"
	"runtime"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/forcefallback"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

const filteredServer = "server under a filter"

var _ = testprocess.RegisterHelper(filteredServer, func() {
	runtime.LockOSThread()
	self := daemontest.Must(os.Executable())
	if err := forcefallback.Kill(forcefallback.Resources...); err != nil {
		panic(err)
	}
	os.Setenv(testprocess.HelperEnv, "server")
	panic(syscall.Exec(self, os.Args, os.Environ()))
})

// TestMainThreadDiffersUnderFilter: systemd's SystemCallFilter=~@resources ends a process that sets
// the scheduling of a thread. A stand-in is started, and the main process restarts, without that.
func TestMainThreadDiffersUnderFilter(t *testing.T) {
	s := newServerBy(t, []string{"env", testprocess.UseHelper(t, filteredServer)}, 0, false)
	s.awaitServing(1)
	for version := 2; version < 5; version++ {
		// The new version may have the scheduling of another thread.
		if err := syscall.Setpriority(syscall.PRIO_PROCESS, s.pid(), 5+version); err != nil {
			t.Fatal(err)
		}
		s.write(version)
		s.await(version, false)
		s.wantAlone()
	}
}
