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

// A rollout has daemons that restart by themselves, and their server.
type rollout struct {
	*testing.T
	*semaphore
	url      string
	members  []*Daemon
	running  map[*Daemon]int // the version
	executed map[int]int     // starts of a version in a restart or rollback
}

func newRollout(t *testing.T, slots, members int) *rollout {
	sem := newSemaphore(t, group, slots)
	r := &rollout{T: t, semaphore: sem, url: serve(t, sem).URL, running: map[*Daemon]int{}, executed: map[int]int{}}
	for i := range members {
		r.start(string(rune('a' + i)))
	}
	return r
}

// start starts a member that watches its file.
func (r *rollout) start(id string) *Daemon {
	r.Helper()
	d := New(r.T, "member")
	d.Setenv(addressEnv + "=" + r.url)
	d.Setenv(memberEnv + "=" + id)
	d.Start()
	d.Tell("watch")
	r.members = append(r.members, d)
	r.running[d] = good
	return d
}

func (r *rollout) deploy(version int) {
	r.Helper()
	for _, d := range r.members {
		d.DeployVersion(version)
	}
}

// look takes note of the versions that have started.
func (r *rollout) look() {
	r.Helper()
	for _, d := range r.members {
		for {
			status, ok := d.PendingStart()
			if !ok {
				break
			}
			r.running[d] = status.Version
			r.executed[status.Version]++
			d.Tell("watch")
		}
	}
}

// await waits until a number of members run a version, and a version was executed so many times.
func (r *rollout) await(n, version, times, executed int) {
	r.Helper()
	WaitFor(r, "restarts", func() bool {
		r.look()
		running := 0
		for _, v := range r.running {
			if v == version {
				running++
			}
		}
		return running == n && r.executed[executed] == times
	})
}

// awaitAttempts waits until a number of members, which hold no slot, have asked for one several times.
func (r *rollout) awaitAttempts(members int) {
	r.Helper()
	r.took()
	asked := map[string]int{}
	WaitFor(r, "further attempts", func() bool {
		waiting := 0
		for _, request := range r.took() {
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
	r := newRollout(t, slots, members)
	r.deploy(bad)
	r.await(members, good, slots, bad)
	WaitFor(t, "slots that are kept", func() bool { return len(r.holding(group)) == slots })
	r.awaitAttempts(members - slots)
	r.look()
	if n := r.executed[bad]; n != slots {
		t.Fatalf("%d members have executed the version that does not work, want %d", n, slots)
	}
	kept := 0
	for _, d := range r.members {
		kept += strings.Count(d.Log(), "slot kept after a rollback; deploy another version")
	}
	if kept != slots {
		t.Errorf("%d members say that they keep a slot, want %d", kept, slots)
	}

	r.deploy(fixed)
	r.await(members, fixed, members, fixed)
	WaitFor(t, "slots that are released", func() bool { return len(r.holding(group)) == 0 })
	if n := r.executed[bad]; n != slots {
		t.Errorf("%d members have executed the version that does not work, want %d", n, slots)
	}
	if most := r.most[group]; most != slots {
		t.Errorf("%d members have held a slot at one time, want %d", most, slots)
	}
}

// A member that keeps its slot is started afresh. The file at the path decides when the slot is released.
func TestFreshStartAfterRollback(t *testing.T) {
	r := newRollout(t, 1, 1)
	d := r.members[0]
	r.deploy(bad)
	r.await(1, good, 1, bad)
	WaitFor(t, "slot that is kept", func() bool { return strings.Contains(d.Log(), "slot kept") })
	d.Signal(syscall.SIGKILL)
	d.WaitForEnd()

	again := exec.Command(d.Path) // the file is still that of the version that does not work
	again.Env = d.Cmd.Env
	if output, err := again.CombinedOutput(); err == nil || !strings.Contains(string(output), "this version does not work") {
		t.Fatalf("it ended with %v and\n%s", err, output)
	}
	r.wantHolding(group, "a")

	r.members = nil
	r.start("a") // the version before is back at the path
	WaitFor(t, "slot that is released", func() bool { return len(r.holding(group)) == 0 })
}

// A member is killed while it holds a slot, after the exec. Its slot is released when the next process is ready.
func TestCrashWhileSlotIsLocked(t *testing.T) {
	r := newRollout(t, 1, 2)
	victim := r.members[0]
	victim.DeployVersion(hanging)
	r.await(1, hanging, 1, hanging)
	r.members[1].DeployVersion(fixed)
	r.awaitAttempts(1)
	r.wantHolding(group, "a")
	victim.Signal(syscall.SIGKILL)
	victim.WaitForEnd()
	r.members = r.members[1:]
	r.awaitAttempts(1)
	r.start("a")
	r.await(1, fixed, 1, fixed)
}
