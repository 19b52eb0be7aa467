//go:build linux

package systemdtest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/forcefallback"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

var _ = testprocess.RegisterHelper("boot without inotify", func() {
	// The machine inherits the filter.
	if err := forcefallback.DenyAll(forcefallback.Denial{Call: unix.SYS_INOTIFY_INIT1, Arg: -1, Errno: unix.EMFILE}); err != nil {
		fmt.Print(err)
		return
	}
	watch := testprocess.StartStopwatch()
	m, err := start(os.Getenv(RootEnv))
	if err == nil {
		m.end()
	}
	fmt.Print(watch.Elapsed() < testprocess.Timeout/2, " ", err)
})

// A boot that fails returns what process 1 has written, and does not wait any longer. systemd ends where its user has too many
// inotify instances.
func TestBootFails(t *testing.T) {
	helper := testprocess.UseHelper(t, "boot without inotify")
	Machine(t) // skips
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helper)
	output, err := cmd.CombinedOutput()
	const reason = "Failed to create control group inotify object: Too many open files"
	if err != nil || !strings.HasPrefix(string(output), "true ") || !strings.Contains(string(output), reason) {
		t.Errorf("%v; expected %q, at once:\n%s", err, reason, output)
	}
}
