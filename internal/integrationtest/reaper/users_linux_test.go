//go:build linux && !autorestart_portable

package reaper_test

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/forcefallback"
)

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
			r.errors[attrs["pid"].(int)] = attrs["reason"].(error)
		}
	})
}

func (r *signalErrors) of(pid int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.errors[pid]
}

// dealWithOtherUsers has a Reaper and Orphans deal with "visible", a child of this user that lives, and
// those of another: "hidden" and "parent", which end on SIGCONT, and "zombie".
func dealWithOtherUsers() {
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
	eventually("the signal fails", func() bool { return errors.Is(failed.of(hidden), syscall.EPERM) })
	check(syscall.Kill(hidden, syscall.SIGCONT) == nil, "kill")
	check(<-done == nil, "Run")
	e := log.of("hidden")
	check(e.Code == 7 && len(e.Sent) == 0, e, e.Sent)
	check(log.of("visible").Signal == syscall.SIGTERM && log.of("zombie").Code == 3, log.exits)

	end := startOrphans(&autorestart.Orphans{
		Subreaper: true,
		Reaped:    orphans.add,
		Undecided: func(c autorestart.Child) { left.add(autorestart.ChildExit{PID: c.PID}) },
	})
	eventually("subreaper", getsOrphans)
	own := startOwn("exit 3")
	check(syscall.Kill(notedPID("parent"), syscall.SIGCONT) == nil, "kill")
	eventually("the parent and the orphan are reaped, or left", func() bool { return orphans.len()+left.len() >= 2 })
	check(orphans.len() == 2 || !startedByPidfd(), "left:", left.copy(), "reaped:", orphans.copy())
	err := own.Wait()
	check(own.ProcessState != nil && own.ProcessState.ExitCode() == 3, "stolen:", err)
	end()
}

// Children in a user namespace, which have all rights there, and are a user's that this process
// can't signal.
var _ = registerScenario("user namespaces", func() {
	if os.Geteuid() != 0 {
		skip("needs root to map another user into a namespace")
	}
	if err := forcefallback.UserNamespaces(); err != nil {
		skip("user namespaces:", err)
	}
	needSubreaper()
	noteChildOf(user, "visible", "live")
	for key, kind := range map[string]string{"hidden": "continued", "parent": "continued parent", "zombie": "exit 3"} {
		attr := asUser(0)
		forcefallback.OwnUserNamespace(attr)
		attr.UidMappings[0].HostID, attr.GidMappings[0].HostID = another, another
		note(key, strconv.Itoa(startChildAttr(kind, attr)))
	}
	eventually("a zombie", func() bool { return isZombie(notedPID("zombie")) })
	dropRights()
}, dealWithOtherUsers)

func TestUserNamespaces(t *testing.T) { runScenarioWithAndWithoutPidfds(t, "user namespaces") }
