//go:build linux && !autorestart_portable

package reaper_test

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A process that is traced reports each of its stops to its tracer, by the same calls
// that report an exit. Here this process is the tracer. TestTraced is about others.

// traceAndStop traces a process that is running, and stops it. The goroutine must be locked to its
// thread, which alone can let the process go on.
func traceAndStop(pid int) {
	for _, request := range []uintptr{unix.PTRACE_SEIZE, unix.PTRACE_INTERRUPT} {
		_, _, errno := unix.Syscall6(unix.SYS_PTRACE, request, uintptr(pid), 0, 0, 0, 0)
		check(errno == 0, "ptrace:", errno)
	}
	eventually("the process stops for its tracer", func() bool { return stateOf(pid) == "t" })
}

// The image before has traced its children, and stopped them, by the thread that has
// executed this one. They are children that live.
var _ = registerScenario("traced by this process", func() {
	for _, key := range []string{"reaped", "adopted"} {
		noteChild(key, "live")
		traceAndStop(notedPID(key))
	}
}, func() {
	adopted, err := autorestart.Adopt(notedPID("adopted"))
	check(err == nil, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	e, err := adopted.Wait(ctx)
	check(err == context.Canceled, "the adopted child has not exited:", e, err)

	var log exitLog
	r := autorestart.Reaper{Escalation: []autorestart.EscalationStep{{Signal: syscall.SIGKILL}}, Reaped: log.add}
	if os.Getenv(silentEnv) != "" {
		r.Reaped = nil
	}
	check(r.Run(context.Background()) == nil, "Run")
	check(gone(notedPID("reaped")), "still there")
	if r.Reaped != nil {
		check(log.of("reaped").Signal == syscall.SIGKILL, log.exits)
	}

	// The stop is still there for a program that goes on tracing what it has adopted.
	var status unix.WaitStatus
	pid, err := unix.Wait4(adopted.PID(), &status, unix.WALL|unix.WNOHANG, nil)
	check(pid == adopted.PID() && status.Stopped(), "the stop was taken away:", pid, err, status)
	check(adopted.Signal(syscall.SIGKILL) == nil, "Signal")
	e, err = adopted.Wait(context.Background())
	check(err == nil && e.Signal == syscall.SIGKILL && !e.Lost, e, err)
})

func TestTracedByThisProcess(t *testing.T) {
	for _, fallback := range withAndWithoutPidfds {
		for _, silent := range []string{"", "1"} {
			t.Run("fallback="+fallback+" silent="+silent, func(t *testing.T) {
				t.Parallel()
				runScenarioOn(t, "traced by this process", fallback, silentEnv+"="+silent)
			})
		}
	}
}

// Orphans waits for the tracer of a zombie, too. The kernel announces the exit once more then.
var _ = registerScenario("traced, with orphans", func() {
	needSubreaper()
	noteChild("target", "live")
	noteChild("tracer", "tracer")
}, func() {
	var log exitLog
	end := startOrphans(&autorestart.Orphans{Subreaper: true, Reaped: log.add, Undecided: func(autorestart.Child) {}})
	eventually("subreaper", getsOrphans)
	target, tracer := notedPID("target"), notedPID("tracer")
	check(syscall.Kill(target, syscall.SIGKILL) == nil, "kill")
	eventually("the tracer has it", func() bool { return isHeldByTracer(target) })
	runParent()
	eventually("orphans are looked after", func() bool { return log.len() > 0 || !startedByPidfd() })
	check(isHeldByTracer(target), "gone too early")
	check(syscall.Kill(tracer, syscall.SIGKILL) == nil, "kill")
	eventually("both are reaped", func() bool { return log.has(target) && log.has(tracer) })
	end()
	check(log.of("target").Signal == syscall.SIGKILL, log.exits)
	endChildren()
})

func TestTracedWithOrphans(t *testing.T) {
	skipIfNotPtracing(t)
	runScenarioWithAndWithoutPidfds(t, "traced, with orphans")
}

// strace stops a child that has been stopped in a way of its own, in which /proc shows another state. The
// child needs SIGCONT all the same.
var _ = registerScenario("stopped and traced", func() {
	noteChild("child", "polite")
	pid := notedPID("child")
	check(syscall.Kill(pid, syscall.SIGSTOP) == nil, "stop")
	eventually("it stops", func() bool { return stateOf(pid) == "T" })
	strace, err := exec.LookPath("strace")
	check(err == nil, err)
	note("strace", strconv.Itoa(startMany(1, strace, "-f", "-p", strconv.Itoa(pid))[0]))
	eventually("strace has it", func() bool { return stateOf(pid) == "t" })
}, func() {
	var log exitLog
	r := autorestart.Reaper{
		Escalation: []autorestart.EscalationStep{{Signal: syscall.SIGTERM}}, Reaped: log.add,
		Skip: func(c autorestart.Child) bool { return c.PID == notedPID("strace") },
	}
	ctx, stop := testprocess.WithTimeout(context.Background(), testprocess.Timeout)
	defer stop()
	check(r.Run(ctx) == nil, "the child has not ended:", stateOf(notedPID("child")))
	e := log.of("child")
	check(e.Code == 7 && slices.Equal(e.Sent, []syscall.Signal{syscall.SIGTERM, syscall.SIGCONT}), e, e.Sent)
})

func TestStoppedAndTraced(t *testing.T) {
	testprocess.NeedTool(t, "strace")
	skipIfNotPtracing(t)
	runScenarioWithAndWithoutPidfds(t, "stopped and traced")
}

// skipIfNotPtracing skips a test in which a process traces one that it has not started.
func skipIfNotPtracing(t *testing.T) {
	if b, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope"); err == nil && string(b) != "0\n" && os.Geteuid() != 0 {
		t.Skip("ptrace_scope forbids to trace a sibling")
	}
}

func init() {
	// a session leader with a child, whose PID it tells
	children["leader of a target"] = func(ready func()) {
		tell(startChild("live"))
		ready()
		select {}
	}
}

// This image is a debugger with orphans: it traces a process that is no child of it, and
// that was born into another session.
var _ = registerScenario("tracing beside orphans", needSubreaper, func() {
	runtime.LockOSThread()
	_, target := startTelling("leader of a target", &syscall.SysProcAttr{Setsid: true})
	traceAndStop(target)

	var log exitLog
	end := startOrphans(&autorestart.Orphans{Subreaper: true, Reaped: log.add, Undecided: func(autorestart.Child) {}})
	eventually("subreaper", getsOrphans)
	anOrphanIsReaped := func() {
		before := log.len()
		runParent()
		eventually("an orphan is reaped beside the process that is traced", func() bool { return log.len() > before || !startedByPidfd() })
	}
	anOrphanIsReaped()
	var status unix.WaitStatus
	pid, err := unix.Wait4(target, &status, unix.WALL|unix.WNOHANG, nil)
	check(pid == target && status.Stopped(), "the stop was taken away:", pid, err, status)
	check(syscall.Kill(target, syscall.SIGKILL) == nil, "kill")
	eventually("the target exits, with all its threads", func() bool { return isZombie(target) })
	anOrphanIsReaped()
	pid, err = unix.Wait4(target, &status, unix.WALL|unix.WNOHANG, nil)
	check(pid == target && status.Signaled(), "the exit was taken away:", pid, err, status)
	for _, e := range log.copy() {
		check(e.Code == 5, "not an orphan:", e)
	}
	end()
	endChildren()
})

func TestTracingBesideOrphans(t *testing.T) {
	skipIfNotPtracing(t)
	runScenarioWithAndWithoutPidfds(t, "tracing beside orphans")
}
