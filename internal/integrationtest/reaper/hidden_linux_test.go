//go:build linux && !autorestart_portable

package reaper_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/forcefallback"
)

// A /proc that hides the processes of other users from a process without rights (hidepid,
// systemd's ProtectProc), and one that shows nothing but processes (subset=pid,
// ProcSubset=pid).

// hiddenProc has the scenario go on without rights as process 1 of a PID namespace, whose /proc is
// mounted with the options.
func hiddenProc(options string, noChildrenFile bool) func() {
	return func() {
		enterPIDNamespace()
		check(unix.Unmount("/proc", unix.MNT_DETACH) == nil, "umount")
		if err := unix.Mount("proc", "/proc", "proc", 0, options); err != nil {
			skip("mounting proc with", options+":", err) // subset: Linux 5.8
		}
		noteChildOf(user, "visible", "live")
		noteChildOf(another, "hidden", "continued")
		noteChildOf(another, "parent", "continued parent")
		noteChildOf(another, "zombie", "exit 3")
		eventually("a zombie", func() bool { return isZombie(notedPID("zombie")) })
		if noChildrenFile {
			check(forcefallback.Hide("/proc/1/task") == nil, "hiding the children file")
		}
		dropRights()
	}
}

// hiddenProcs are the options of /proc, and whether there is no children file besides.
var hiddenProcs = []struct {
	options        string
	noChildrenFile bool
}{
	{"hidepid=2", false},
	{"subset=pid", false},
	{"hidepid=2,subset=pid", false},
	{"hidepid=2", true},
}

func hiddenName(options string, noChildrenFile bool) string {
	if noChildrenFile {
		options += ", no children file"
	}
	return "/proc with " + options
}

func init() {
	for _, p := range hiddenProcs {
		registerScenario(hiddenName(p.options, p.noChildrenFile), hiddenProc(p.options, p.noChildrenFile), dealWithOtherUsers)
	}
}

func TestHiddenProc(t *testing.T) {
	for _, p := range hiddenProcs {
		for _, fallback := range withAndWithoutPidfds {
			name := hiddenName(p.options, p.noChildrenFile)
			t.Run(name[len("/proc with "):]+" fallback="+fallback, func(t *testing.T) {
				t.Parallel()
				runScenarioOn(t, name, fallback)
			})
		}
	}
}
