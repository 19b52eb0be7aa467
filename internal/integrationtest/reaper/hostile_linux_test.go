//go:build linux && !autorestart_portable

package reaper_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/forcefallback"
	"github.com/autorestart-go/autorestart/internal/integrationtest/reaper/early"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func runScenarioWithAndWithoutPidfds(t *testing.T, name string) {
	for _, fallback := range withAndWithoutPidfds {
		t.Run("fallback="+fallback, func(t *testing.T) {
			t.Parallel()
			runScenarioOn(t, name, fallback)
		})
	}
}

// The PID of an inherited child comes back as a child of this image.

// inNamespaceEnv is set in a scenario that runs in a PID namespace of its own.
const inNamespaceEnv = "AUTORESTART_TEST_IN_NAMESPACE"

// enterPIDNamespace has the scenario begin again as process 1 of a PID namespace
// with a /proc of its own, where PIDs can be chosen.
func enterPIDNamespace() {
	if os.Getenv(inNamespaceEnv) != "" {
		check(forcefallback.PrivateMounts() == nil, "mounts")
		check(unix.Mount("proc", "/proc", "proc", 0, "") == nil, "mounting proc")
		return
	}
	os.Setenv(inNamespaceEnv, "1")
	skip(newPIDNamespace(syscall.CLONE_NEWNS))
}

// startThreads has the runtime start all the threads that it will need, because a
// new one could get the PID that is meant for a child, and keep it.
func startThreads() {
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			pause := unix.NsecToTimespec(int64(20 * time.Millisecond))
			unix.Nanosleep(&pause, nil) // all at once, so that each has its thread
		})
	}
	wg.Wait()
}

// reusePID steals the status of the child and starts another with its PID.
func reusePID(pid int, start func() int) {
	startThreads()
	stealExit(pid)
	eventually("a child with the PID", func() bool {
		nextPID(pid)
		return start() == pid
	})
}

// nextPID has the next process or thread of this PID namespace get this PID, if it is free.
func nextPID(pid int) {
	f, err := os.OpenFile("/proc/sys/kernel/ns_last_pid", os.O_WRONLY, 0)
	check(err == nil, err)
	defer f.Close()
	_, err = f.WriteString(strconv.Itoa(pid - 1))
	check(err == nil, err)
}

// silentEnv has the scenario "reused" run a Reaper without reports.
const silentEnv = "AUTORESTART_TEST_SILENT"

var _ = registerScenario("reused", func() {
	enterPIDNamespace()
	noteChild("living", "live")
	noteChild("zombie", "live")
	noteChild("adopted", "live")
	noteChild("inherited", "live")
}, func() {
	eventually("start times tell images apart", ticksAfterStart)
	var own [3]*exec.Cmd
	for i, key := range []string{"living", "zombie", "adopted"} {
		reusePID(notedPID(key), func() int {
			kind := "live"
			if key == "zombie" {
				kind = "exit 3"
			}
			cmd := startOwn(kind)
			if cmd.Process.Pid != notedPID(key) { // a thread took it
				cmd.Process.Kill()
				cmd.Wait()
				return 0
			}
			own[i] = cmd
			return cmd.Process.Pid
		})
	}
	eventually("a zombie", func() bool { return isZombie(notedPID("zombie")) })

	_, err := autorestart.Adopt(notedPID("adopted"))
	check(errors.Is(err, autorestart.ErrNotInherited), "adopted our own child:", err)

	var log exitLog
	r := autorestart.Reaper{Escalation: []autorestart.EscalationStep{{Signal: syscall.SIGKILL}}, Reaped: log.add}
	if os.Getenv(silentEnv) != "" {
		r.Reaped = nil
	}
	check(r.Run(context.Background()) == nil, "Run")
	if os.Getenv(silentEnv) == "" {
		check(log.of("living").Lost && log.of("zombie").Lost, log.exits)
		check(log.of("inherited").Signal == syscall.SIGKILL, log.exits)
	}
	check(gone(notedPID("inherited")), "the inherited child is still there")

	check(own[0].Process.Signal(syscall.Signal(0)) == nil, "our own child is gone")
	own[1].Wait()
	check(own[1].ProcessState != nil && own[1].ProcessState.ExitCode() == 3, "status stolen")
	for _, cmd := range []*exec.Cmd{own[0], own[2]} {
		check(isRunning(cmd.Process.Pid), "our own child was signalled")
		cmd.Process.Kill()
		cmd.Wait()
	}
})

func TestReusedPID(t *testing.T) {
	for _, fallback := range withAndWithoutPidfds {
		for _, silent := range []string{"", "1"} {
			t.Run("fallback="+fallback+" silent="+silent, func(t *testing.T) {
				t.Parallel()
				runScenarioOn(t, "reused", fallback, silentEnv+"="+silent)
			})
		}
	}
}

// In the by-PID case, a child can also be lost and its PID come back while the
// Reaper waits.
var _ = registerScenario("reused meanwhile", func() {
	enterPIDNamespace()
	noteChild("child", "live")
}, func() {
	var log exitLog
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	hold := make(chan struct{})
	var once bool
	r := autorestart.Reaper{
		Escalation: []autorestart.EscalationStep{{Signal: syscall.SIGURG, After: 10 * time.Millisecond}, {Signal: syscall.SIGKILL, After: 200 * time.Millisecond}},
		Reaped:     log.add,
		Logger: testprocess.LogFunc(func(_, msg string) {
			if strings.HasPrefix(msg, "signal sent") && !once {
				once = true
				close(hold)
			}
		}),
	}
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	<-hold
	eventually("start times tell images apart", ticksAfterStart)
	var own *exec.Cmd
	reusePID(notedPID("child"), func() int {
		own = startOwn("live")
		if own.Process.Pid != notedPID("child") {
			own.Process.Kill()
			own.Wait()
			return 0
		}
		return own.Process.Pid
	})
	// If the last signal has been sent before, as on a busy machine, the Reaper sees nothing until the PID is
	// free again.
	select {
	case err := <-done:
		done <- err
	case <-time.After(time.Second):
	}
	check(isRunning(own.Process.Pid), "our own child was signalled")
	own.Process.Kill()
	own.Wait()
	check(<-done == nil, "Run")
	e := log.of("child")
	check(e.Lost || e.Signal == syscall.SIGKILL, e) // either may have waited first
})

func TestReusedMeanwhile(t *testing.T) { runScenarioWithAndWithoutPidfds(t, "reused meanwhile") }

// A traced zombie can't be waited for before its tracer lets go of it, though
// its pidfd says that it has exited. The Reaper looks at it every now and then.

const stuckPause = 250 * time.Millisecond

func init() {
	children["tracer"] = func(ready func()) {
		runtime.LockOSThread()
		pid := notedPID("target")
		_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, 0, 0, 0)
		check(errno == 0, "ptrace:", errno)
		ready()
		select {}
	}
}

var _ = registerScenario("traced", func() {
	noteChild("target", "live")
	noteChild("tracer", "tracer")
}, func() {
	var log exitLog
	r := autorestart.Reaper{
		Escalation: []autorestart.EscalationStep{}, Reaped: log.add,
		Skip: func(c autorestart.Child) bool { return c.PID == notedPID("tracer") },
	}
	done := make(chan error)
	go func() { done <- r.Run(context.Background()) }()
	eventually("the Reaper takes it", func() bool { return len(freeChildren()) == 1 })
	check(syscall.Kill(notedPID("target"), syscall.SIGKILL) == nil, "kill")
	eventually("the tracer has it", func() bool { return isHeldByTracer(notedPID("target")) })
	var before, after syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	select {
	case <-done:
		fail("done, and the child is traced")
	case <-time.After(2 * stuckPause):
	}
	syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	check(used < int64(stuckPause/2), "busy waiting:", time.Duration(used))
	check(!gone(notedPID("target")), "gone too early")

	syscall.Kill(notedPID("tracer"), syscall.SIGKILL)
	check(<-done == nil, "Run")
	check(log.of("target").Signal == syscall.SIGKILL && log.len() == 1, log.exits)
	check(r.Run(context.Background()) == nil, "Run")
})

func TestTraced(t *testing.T) {
	skipIfNotPtracing(t)
	runScenarioWithAndWithoutPidfds(t, "traced")
}

// A children file that lies, is cut, or is not one.

// contentEnv is the content of the file, with LIVE, POLITE and PARENT for PIDs.
const contentEnv = "AUTORESTART_TEST_CONTENT"

var _ = registerScenario("false children file", func() {
	if err := forcefallback.PrivateMounts(); err != nil {
		skip(err)
	}
	noteChild("live", "live")
	noteChild("polite", "polite")
	content := os.Getenv(contentEnv)
	content = strings.ReplaceAll(content, "LIVE", noted("live"))
	content = strings.ReplaceAll(content, "POLITE", noted("polite"))
	content = strings.ReplaceAll(content, "PARENT", strconv.Itoa(os.Getppid()))
	file := filepath.Join(os.TempDir(), "autorestart-children-"+strconv.Itoa(os.Getpid()))
	check(os.WriteFile(file, []byte(content), 0o644) == nil, "writing")
	self := strconv.Itoa(os.Getpid())
	err := unix.Mount(file, "/proc/"+self+"/task/"+self+"/children", "", unix.MS_BIND, "")
	os.Remove(file)
	check(err == nil, "mounting over the file:", err)
}, func() {
	var log exitLog
	r := autorestart.Reaper{Escalation: []autorestart.EscalationStep{{Signal: syscall.SIGTERM}}, Reaped: log.add}
	check(r.Run(context.Background()) == nil, "Run")
	check(log.of("live").Signal == syscall.SIGTERM && log.of("polite").Code == 7, log.exits)
	for _, e := range log.exits {
		if e.PID != notedPID("live") && e.PID != notedPID("polite") {
			check(e.Lost && len(e.Sent) == 0, "not our child:", e, e.Sent)
		}
	}
	check(haveNoChildren(), "children are left")
})

func TestFalseChildrenFile(t *testing.T) {
	for name, content := range map[string]string{
		"true":               "LIVE POLITE ",
		"empty":              "",
		"garbage":            "\x00\xff no",
		"cut":                "LIVE 1",
		"cut at a number":    "LIVE POLITE",
		"only strangers":     "1 2 PARENT ",
		"strangers first":    "1 LIVE POLITE ",
		"strangers last":     "LIVE POLITE PARENT ",
		"strangers between":  "LIVE 1 PARENT 2 POLITE ",
		"twice":              "LIVE POLITE LIVE POLITE ",
		"negative":           "-1 LIVE POLITE ",
		"too large a number": "LIVE 99999999999999999999 POLITE ",
	} {
		for _, fallback := range withAndWithoutPidfds {
			t.Run(name+" fallback="+fallback, func(t *testing.T) {
				t.Parallel()
				runScenarioOn(t, "false children file", fallback, contentEnv+"="+strings.ReplaceAll(content, "\x00", "\x01"))
			})
		}
	}
}

// A child says where in its memory its arguments are, and may say that they are all of a
// terabyte.

// endlessArguments makes a terabyte of zeros the arguments of this process; a gigabyte where
// the address space is small.
func endlessArguments() unix.Errno {
	zeros, err := unix.Mmap(-1, 0, 1<<min(40, strconv.IntSize-2), unix.PROT_READ,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return err.(unix.Errno)
	}
	first, size := unsafe.SliceData(zeros), uint64(len(zeros))
	start := *(*uintptr)(unsafe.Pointer(&first)) // which no stack is at
	b, err := os.ReadFile("/proc/self/stat")
	check(err == nil, err)
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')'):])) // from the second on
	field := func(n int) uint64 {
		v, err := strconv.ParseUint(fields[n-2], 10, 64)
		check(err == nil, err)
		return v
	}
	// struct prctl_mm_map, in the words of prctl(2).
	layout := struct {
		startCode, endCode, startData, endData, startBrk, brk, startStack uint64
		argStart, argEnd, envStart, envEnd, auxv                          uint64
		auxvSize, exeFD                                                   uint32
	}{
		startCode: field(26), endCode: field(27), startData: field(45), endData: field(46),
		startBrk: field(47), brk: field(47), startStack: field(28),
		argStart: uint64(start), argEnd: uint64(start) + size, envStart: field(50), envEnd: field(51),
		exeFD: ^uint32(0),
	}
	_, _, errno := unix.Syscall6(unix.SYS_PRCTL, unix.PR_SET_MM, unix.PR_SET_MM_MAP,
		uintptr(unsafe.Pointer(&layout)), unsafe.Sizeof(layout), 0, 0)
	return errno
}

func init() {
	children["endless arguments"] = func(ready func()) {
		if errno := endlessArguments(); errno != 0 {
			os.Exit(98) // the first image skips the scenario
		}
		ready()
		select {}
	}
}

var _ = registerScenario("endless arguments", func() {
	if strconv.IntSize < 64 {
		skip("no room for a terabyte")
	}
	if errno := endlessArguments(); errno != 0 { // the exec undoes it
		skip("prctl:", errno)
	}
	noteChild("child", "endless arguments")
}, func() {
	var status unix.Rlimit
	check(unix.Getrlimit(unix.RLIMIT_AS, &status) == nil, "getrlimit")
	status.Cur = addressSpace() + 1<<30
	check(unix.Setrlimit(unix.RLIMIT_AS, &status) == nil, "setrlimit")
	checkArgs := func(c autorestart.Child) {
		n := 0
		for _, arg := range c.Args {
			n += len(arg) + 1
		}
		check(n <= 32<<10 && len(c.Args) <= 4096, len(c.Args), "arguments of", n, "bytes")
	}
	var list []autorestart.Child
	allocated := testprocess.Allocated(func() { list, _ = autorestart.InheritedChildren() })
	check(len(list) == 1 && list[0].PID == notedPID("child"), len(list), "children")
	checkArgs(list[0])
	check(allocated < 1<<20, allocated, "bytes allocated")
	var log exitLog
	r := autorestart.Reaper{
		Escalation: []autorestart.EscalationStep{{Signal: syscall.SIGKILL}}, Reaped: log.add,
		Skip: func(c autorestart.Child) bool { checkArgs(c); return false },
	}
	check(r.Run(context.Background()) == nil, "Run")
	check(log.of("child").Signal == syscall.SIGKILL, log.exits)
})

// addressSpace returns how much of it this process has, in bytes.
func addressSpace() uint64 {
	b, err := os.ReadFile("/proc/self/statm")
	check(err == nil, err)
	pages, err := strconv.ParseUint(strings.Fields(string(b))[0], 10, 64)
	check(err == nil, err)
	return pages * uint64(os.Getpagesize())
}

func TestEndlessArguments(t *testing.T) { runScenarioOn(t, "endless arguments", "") }

// Children that end while SIGCHLD is ignored leave no zombie; the new image does
// not inherit that, because Go's runtime sets a handler.
var _ = registerScenario("SIGCHLD ignored", func() {
	signal.Ignore(syscall.SIGCHLD)
	noteChild("live", "live")
	pid := startChild("exit 3")
	note("vanished", strconv.Itoa(pid))
	eventually("the child vanishes", func() bool { return gone(pid) })
}, func() {
	var log exitLog
	r := autorestart.Reaper{Escalation: patient(), Reaped: log.add}
	check(r.Run(context.Background()) == nil, "Run")
	check(log.len() == 1 && log.of("live").Signal == syscall.SIGHUP, log.exits)
})

func TestSIGCHLDIgnored(t *testing.T) { runScenario(t, "SIGCHLD ignored") }

// If this image ignores it, the kernel takes the children away as they end. A
// Reaper reports their exits as lost, and comes to an end.
var _ = registerScenario("SIGCHLD ignored here", func() {
	noteZombie("zombie")
	noteChild("early", "live")
	noteChild("late", "live")
}, func() {
	warmUp()
	start := resourcesUsed()
	signal.Ignore(syscall.SIGCHLD)
	check(syscall.Kill(notedPID("early"), syscall.SIGKILL) == nil, "kill")
	eventually("it vanishes", func() bool { return gone(notedPID("early")) })
	var log exitLog
	r := autorestart.Reaper{Escalation: []autorestart.EscalationStep{{Signal: syscall.SIGKILL}}, Reaped: log.add}
	check(r.Run(context.Background()) == nil, "Run")
	check(log.len() == 3 && log.of("zombie").Code == 3, log.exits)
	early, late := log.of("early"), log.of("late")
	check(early.Lost && len(early.Sent) == 0, early)
	check(late.Lost || late.Signal == syscall.SIGKILL, late) // to wait by PID takes SIGCHLD
	check(haveNoChildren(), "children are left")
	start.check()
})

func TestSIGCHLDIgnoredHere(t *testing.T) { runScenario(t, "SIGCHLD ignored here") }

// Not one descriptor is left.
var _ = registerScenario("full table", func() {
	noteZombie("zombie")
	noteChild("live", "live")
	noteChild("polite", "polite")
}, func() {
	warmUp()
	limit := unix.Rlimit{Cur: 64, Max: 64}
	check(unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) == nil, "setrlimit")
	var fds []int
	for {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			check(err == unix.EMFILE, err)
			break
		}
		fds = append(fds, fd)
	}
	adopted, err := autorestart.Adopt(notedPID("polite"))
	check(err == nil && adopted.Signal(syscall.SIGTERM) == nil, err)
	e, err := adopted.Wait(context.Background())
	check(err == nil && e.Code == 7, e, err)

	var log exitLog
	r := autorestart.Reaper{Escalation: patient(), Reaped: log.add}
	check(r.Run(context.Background()) == nil, "Run")
	check(log.of("zombie").Code == 3 && log.of("live").Signal == syscall.SIGHUP, log.exits)
	for _, fd := range fds {
		unix.Close(fd)
	}
})

func TestFullTable(t *testing.T) { runScenarioWithAndWithoutPidfds(t, "full table") }

// The initialisation of a package before the library has started children, which are
// then in its snapshot. Package early does so.
var _ = registerScenario(early.Scenario, func() {
	noteZombie("zombie")
	noteChild("live", "live")
}, func() {
	check(early.Began.Before(autorestart.LastRestart().Started), "package early was initialised after the library")
	own := early.Children
	if !seesOwnProcesses() || !seesOwnThreads() {
		killAll(own)
		killAll(freeChildren())
		return // nothing tells them apart
	}
	eventually("a zombie", func() bool { return isZombie(own[1]) })
	list := freeChildren()
	check(len(list) == 2 && !slices.Contains(list, own[0]) && !slices.Contains(list, own[1]), list, "own:", own)
	for _, pid := range own {
		_, err := autorestart.Adopt(pid)
		check(errors.Is(err, autorestart.ErrNotInherited), "adopted our own child:", err)
	}
	var log exitLog
	r := autorestart.Reaper{Escalation: []autorestart.EscalationStep{{Signal: syscall.SIGKILL}}, Reaped: log.add}
	check(r.Run(context.Background()) == nil, "Run")
	check(log.len() == 2 && log.of("live").Signal == syscall.SIGKILL && log.of("zombie").Code == 3, log.exits)
	check(isRunning(own[0]) && isZombie(own[1]), "our own were touched")
	killAll(own)
})

// seesOwnThreads reports whether the threads of this process can be listed.
func seesOwnThreads() bool {
	tasks, _ := os.ReadDir("/proc/self/task")
	return len(tasks) > 0
}

func TestStartedBeforeSnapshot(t *testing.T) { runScenario(t, early.Scenario) }

// momentEnv says when the children of "many at once" exit.
const momentEnv = "AUTORESTART_TEST_MOMENT"

// Thousands of exits in one moment: before the Reaper runs, while it waits, and by
// what it sends itself.
var _ = registerScenario("many at once", func() { startSleepers() }, func() {
	warmUp()
	start := resourcesUsed()
	pids := freeChildren()
	check(len(pids) == count(), "inherited", len(pids))
	own := startOwn("live")
	var log exitLog
	stepped := make(chan struct{})
	var once sync.Once
	r := autorestart.Reaper{Escalation: []autorestart.EscalationStep{}, Reaped: log.add}
	switch os.Getenv(momentEnv) {
	case "before":
		killAll(pids)
		eventually("zombies", func() bool {
			return !slices.ContainsFunc(pids, func(pid int) bool { return !isZombie(pid) })
		})
		close(stepped)
	case "meanwhile":
		r.Logger = testprocess.LogFunc(func(_, msg string) {
			if msg == "inherited children listed" {
				once.Do(func() { close(stepped) })
			}
		})
	case "signalled":
		r.Escalation = []autorestart.EscalationStep{{Signal: syscall.SIGKILL}}
		close(stepped)
	}
	done := make(chan error)
	go func() { done <- r.Run(context.Background()) }()
	<-stepped
	if os.Getenv(momentEnv) == "meanwhile" {
		killAll(pids)
	}
	check(<-done == nil, "Run")
	check(log.len() == count(), "reported", log.len())
	for _, pid := range pids {
		e := log.exits[pid]
		check(e.Signal == syscall.SIGKILL && !e.Lost, e)
	}
	check(isRunning(own.Process.Pid), "our own child was signalled")
	own.Process.Kill()
	own.Wait()
	check(haveNoChildren(), "children are left")
	start.check()
})

func TestManyAtOnce(t *testing.T) {
	for _, fallback := range withAndWithoutPidfds {
		for _, moment := range []string{"before", "meanwhile", "signalled"} {
			t.Run("fallback="+fallback+" "+moment, func(t *testing.T) {
				n := 1000
				if os.Getenv(fullEnv) != "" {
					n = 10_000
				}
				runScenarioOn(t, "many at once", fallback, countEnv+"="+strconv.Itoa(n), momentEnv+"="+moment)
			})
		}
	}
}
