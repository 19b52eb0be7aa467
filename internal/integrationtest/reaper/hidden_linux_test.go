//go:build linux && !autorestart_portable

package reaper_test

import (
	"context"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/forcefallback"
)

// A /proc that hides the processes of other users from a process without rights (hidepid,
// systemd's ProtectProc), and one that shows nothing but processes (subset=pid,
// ProcSubset=pid).

// Users without rights: this process becomes the first, some of its children are the second.
const (
	user    = 65534
	another = 54321
)

// dropRights gives up all rights. Children that are another user's can't be signalled then, but
// for SIGCONT, which is allowed within a session.
func dropRights() {
	check(syscall.Setgroups(nil) == nil, "setgroups")
	check(syscall.Setresgid(user, user, user) == nil, "setresgid")
	check(syscall.Setresuid(user, user, user) == nil, "setresuid")
}

// asUser runs this executable as another user, who may be unable to look its path up.
func asUser(uid uint32) *syscall.SysProcAttr {
	os.Args[0] = "/proc/self/exe"
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid, NoSetGroups: true}}
}

func noteChildOf(uid uint32, key, kind string) {
	note(key, strconv.Itoa(startChildAttr(kind, asUser(uid))))
}

func init() {
	// ends with 7 on SIGCONT
	children["continued"] = func(ready func()) {
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGCONT)
		ready()
		<-c
		os.Exit(7)
	}
	// likewise, and leaves an orphan
	children["continued parent"] = func(ready func()) {
		startChild("orphan")
		children["continued"](ready)
	}
}

// signalErrors collects why signals were not sent, by PID.
type signalErrors struct {
	mu     sync.Mutex
	errors map[int]error
}

func (r *signalErrors) logger() autorestart.Logger {
	r.errors = make(map[int]error)
	return attrLog(func(msg string, attrs map[string]any) {
		if msg == "cannot signal child" {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.errors[attrs["pid"].(int)] = attrs["error"].(error)
		}
	})
}

func (r *signalErrors) of(pid int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.errors[pid]
}

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

func dealWithHidden() {
	check(len(freeChildren()) == 4, "listed:", freeChildren())
	var failed signalErrors
	var log, orphans, left exitLog
	r := autorestart.Reaper{
		Escalation: []autorestart.EscalationStep{{Signal: syscall.SIGTERM}},
		Reaped:     log.add,
		Logger:     failed.logger(),
		Skip:       func(c autorestart.Child) bool { return c.PID == notedPID("parent") },
	}
	done := make(chan error)
	go func() { done <- r.Run(context.Background()) }()
	hidden := notedPID("hidden")
	eventually("the signal fails", func() bool { return failed.of(hidden) != nil })
	check(syscall.Kill(hidden, syscall.SIGCONT) == nil, "kill")
	check(<-done == nil, "Run")
	e := log.of("hidden")
	check(e.Code == 7 && len(e.Sent) == 0, e, e.Sent)
	check(log.of("visible").Signal == syscall.SIGTERM && log.of("zombie").Code == 3, log.exits)

	end := startOrphans(&autorestart.Orphans{
		Reaped:    orphans.add,
		Undecided: func(c autorestart.Child) { left.add(autorestart.ChildExit{PID: c.PID}) },
	})
	own := startOwn("exit 3")
	check(syscall.Kill(notedPID("parent"), syscall.SIGCONT) == nil, "kill")
	eventually("the parent is reaped", func() bool { return gone(notedPID("parent")) })
	eventually("the orphan is reaped, or left", func() bool { return orphans.len() == 2 || left.len() > 0 })
	check(orphans.len() == 2 || !startedByPidfd(), "left:", left.copy(), "reaped:", orphans.copy())
	err := own.Wait()
	check(own.ProcessState != nil && own.ProcessState.ExitCode() == 3, "stolen:", err)
	end()
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
		registerScenario(hiddenName(p.options, p.noChildrenFile), hiddenProc(p.options, p.noChildrenFile), dealWithHidden)
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
