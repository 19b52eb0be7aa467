//go:build linux

package fleetlock_test

import (
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/fleet/fleetlock"
	. "github.com/autorestart-go/autorestart/internal/daemontest"
)

func TestMain(m *testing.M) {
	Main(m, map[string]func(){"member": memberMain})
}

const (
	addressEnv = "AUTORESTART_TEST_ADDRESS" // the URL of the server
	memberEnv  = "AUTORESTART_TEST_MEMBER"  // the ID

	good, bad, fixed, hanging = 1, 2, 3, 4 // versions
)

// memberMain is a daemon that asks a FleetLock server before each restart.
func memberMain() {
	defer autorestart.RollbackUnlessReady()
	switch Version() {
	case bad:
		panic("this version does not work")
	case hanging:
		select {} // it is not ready
	}
	autorestart.Ready()
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	Obey(&autorestart.Restarter{
		ReadyTimeout: time.Minute,
		Logger:       logger,
		Gate: &fleetlock.Gate{
			URL: os.Getenv(addressEnv), Group: group, ID: os.Getenv(memberEnv),
			RetryInterval: 100 * time.Millisecond, Logger: logger,
		},
	}, nil)
}

// A fleet has daemons that restart by themselves, and their server.
type fleet struct {
	*testing.T
	*semaphore
	url      string
	members  []*Daemon
	running  map[*Daemon]int // the version
	executed map[int]int     // starts of a version in a restart or rollback
}

func newFleet(t *testing.T, slots, members int) *fleet {
	sem := newSemaphore(t, group, slots)
	f := &fleet{T: t, semaphore: sem, url: serve(t, sem).URL, running: map[*Daemon]int{}, executed: map[int]int{}}
	for i := range members {
		f.start(string(rune('a' + i)))
	}
	return f
}

// start starts a member that watches its file.
func (f *fleet) start(id string) *Daemon {
	f.Helper()
	d := New(f.T, "member")
	d.Setenv(addressEnv + "=" + f.url)
	d.Setenv(memberEnv + "=" + id)
	d.Start()
	d.Tell("watch")
	f.members = append(f.members, d)
	f.running[d] = good
	return d
}

func (f *fleet) deploy(version int) {
	f.Helper()
	for _, d := range f.members {
		d.DeployVersion(version)
	}
}

// look takes note of the versions that have started.
func (f *fleet) look() {
	f.Helper()
	for _, d := range f.members {
		for {
			status, ok := d.PendingStart()
			if !ok {
				break
			}
			f.running[d] = status.Version
			f.executed[status.Version]++
			d.Tell("watch")
		}
	}
}

// await waits until a number of members run a version, and a version was executed so many times.
func (f *fleet) await(n, version, times, executed int) {
	f.Helper()
	WaitFor(f, "restarts", func() bool {
		f.look()
		running := 0
		for _, v := range f.running {
			if v == version {
				running++
			}
		}
		return running == n && f.executed[executed] == times
	})
}

// awaitAttempts waits until a number of members, which hold no slot, have asked for one several times.
func (f *fleet) awaitAttempts(members int) {
	f.Helper()
	f.took()
	asked := map[string]int{}
	WaitFor(f, "further attempts", func() bool {
		waiting := 0
		for _, request := range f.took() {
			if id, ok := strings.CutPrefix(request, "pre-reboot "); ok {
				asked[id]++
			}
		}
		for _, n := range asked {
			if n >= 3 {
				waiting++
			}
		}
		return waiting == members
	})
}

// Two slots, and a version that does not work: two members execute it, keep their slots, and the others
// are not touched. The fixed version reaches all of them without an operator.
func TestRollout(t *testing.T) {
	const slots, members = 2, 6
	f := newFleet(t, slots, members)
	f.deploy(bad)
	f.await(members, good, slots, bad)
	WaitFor(t, "slots that are kept", func() bool { return len(f.holding(group)) == slots })
	f.awaitAttempts(members - slots)
	f.look()
	if n := f.executed[bad]; n != slots {
		t.Fatalf("%d members have executed the version that does not work, want %d", n, slots)
	}
	kept := 0
	for _, d := range f.members {
		kept += strings.Count(d.Log(), "slot kept after a rollback; deploy another version")
	}
	if kept != slots {
		t.Errorf("%d members say that they keep a slot, want %d", kept, slots)
	}

	f.deploy(fixed)
	f.await(members, fixed, members, fixed)
	WaitFor(t, "slots that are released", func() bool { return len(f.holding(group)) == 0 })
	if n := f.executed[bad]; n != slots {
		t.Errorf("%d members have executed the version that does not work, want %d", n, slots)
	}
	if most := f.most[group]; most != slots {
		t.Errorf("%d members have held a slot at one time, want %d", most, slots)
	}
}

// A member that keeps its slot is started afresh. The file at the path decides when the slot is released.
func TestFreshStartAfterRollback(t *testing.T) {
	f := newFleet(t, 1, 1)
	d := f.members[0]
	f.deploy(bad)
	f.await(1, good, 1, bad)
	WaitFor(t, "slot that is kept", func() bool { return strings.Contains(d.Log(), "slot kept") })
	d.Signal(syscall.SIGKILL)
	d.WaitForEnd()

	again := exec.Command(d.Path) // the file is still that of the version that does not work
	again.Env = d.Cmd.Env
	if output, err := again.CombinedOutput(); err == nil || !strings.Contains(string(output), "this version does not work") {
		t.Fatalf("it ended with %v and\n%s", err, output)
	}
	f.wantHolding(group, "a")

	f.members = nil
	f.start("a") // the version before is back at the path
	WaitFor(t, "slot that is released", func() bool { return len(f.holding(group)) == 0 })
}

// A member is killed while it holds a slot, after the exec. Its slot is released when the next process is ready.
func TestCrashWhileSlotIsLocked(t *testing.T) {
	f := newFleet(t, 1, 2)
	victim := f.members[0]
	victim.DeployVersion(hanging)
	f.await(1, hanging, 1, hanging)
	f.members[1].DeployVersion(fixed)
	f.awaitAttempts(1)
	f.wantHolding(group, "a")
	victim.Signal(syscall.SIGKILL)
	victim.WaitForEnd()
	f.members = f.members[1:]
	f.awaitAttempts(1)
	f.start("a")
	f.await(1, fixed, 1, fixed)
}
