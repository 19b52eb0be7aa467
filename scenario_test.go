//go:build unix

package autorestart

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/handover"
)

// A scenario is a program that executes itself once: the first image starts
// children, the second one deals with them. Both are this test binary. What the
// second finds wrong it prints, and exits with 1.
type scenario struct {
	before func()
	after  func()
}

var scenarios = map[string]scenario{}

const (
	scenarioEnv = "AUTORESTART_TEST_SCENARIO"
	imageEnv    = "AUTORESTART_TEST_IMAGE"
	rungEnv     = "AUTORESTART_TEST_RUNG"
	childEnv    = "AUTORESTART_TEST_CHILD"
	noteEnv     = "AUTORESTART_TEST_NOTE"
)

func registerScenario(name string, before, after func()) bool {
	if scenarios[name].after != nil {
		panic("scenario " + name + " is registered twice")
	}
	scenarios[name] = scenario{before, after}
	return true
}

var _ = registerHelper("scenario", func() {
	s, ok := scenarios[os.Getenv(scenarioEnv)]
	if !ok {
		fail("no such scenario")
	}
	if os.Getenv(imageEnv) == "2" {
		s.after()
		fmt.Println("passed")
		nextInChain()
		return
	}
	runtime.LockOSThread() // a rung may be a matter of this thread, see exec below
	if rung := os.Getenv(rungEnv); rung != "" {
		if err := rungs[rung](); err != nil {
			fmt.Println("skip:", rung+":", err)
			return
		}
	}
	s.before()
	os.Setenv(imageEnv, "2")
	var h handover.Handover
	h.Set(handover.PID, os.Getpid())
	os.Setenv(handover.Env, h.String())
	err := syscall.Exec("/proc/self/exe", os.Args, os.Environ())
	if err == syscall.ENOENT { // without /proc
		err = syscall.Exec(os.Args[0], os.Args, os.Environ())
	}
	fail("exec:", err)
})

// chainEnv names more scenarios, separated by commas, that the same process goes
// on with.
const chainEnv = "AUTORESTART_TEST_CHAIN"

func nextInChain() {
	name, rest, _ := strings.Cut(os.Getenv(chainEnv), ",")
	if name == "" {
		return
	}
	os.Setenv(scenarioEnv, name)
	os.Setenv(chainEnv, rest)
	os.Unsetenv(imageEnv)
	fmt.Println(name + ":")
	err := syscall.Exec(os.Args[0], os.Args, os.Environ())
	fail("exec:", err)
}

// runScenario runs the scenario once on every rung that can be forced here.
func runScenario(t *testing.T, name string) {
	for rung := range rungs {
		t.Run("rung="+rung, func(t *testing.T) {
			t.Parallel()
			runScenarioOn(t, name, rung)
		})
	}
}

func runScenarioOn(t *testing.T, name, rung string) {
	t.Helper()
	out, err := scenarioOutput(t, name, rung)
	if reason, ok := strings.CutPrefix(string(out), "skip: "); ok {
		t.Skip(strings.TrimSpace(reason))
	}
	if err != nil || !bytes.Contains(out, []byte("passed\n")) {
		t.Fatalf("%v\n%s", err, out)
	}
	if testing.Verbose() {
		t.Logf("%s", out)
	}
}

// scenarioOutput runs the scenario and returns what it printed, on both streams.
func scenarioOutput(t testing.TB, name, rung string, env ...string) ([]byte, error) {
	t.Helper()
	cmd := scenarioCommand(t, name, rung)
	cmd.Env = append(cmd.Env, env...)
	return cmd.CombinedOutput()
}

func scenarioCommand(t testing.TB, name, rung string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	limit := time.Minute
	if os.Getenv("AUTORESTART_TEST_FULL") != "" {
		limit = 20 * time.Minute
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, self)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) } // shows where it hangs
	cmd.WaitDelay = 5 * time.Second
	// Children of a scenario that has gone wrong end with the test.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	t.Cleanup(func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	cmd.Env = append(os.Environ(), helperEnv+"=scenario", scenarioEnv+"="+name, rungEnv+"="+rung,
		// Coverage and race reports of a program that is replaced say nothing.
		"GORACE=atexit_sleep_ms=0")
	return cmd
}

// fail ends a helper process.
func fail(args ...any) {
	fmt.Println(append([]any{"FAIL:"}, args...)...)
	os.Exit(1)
}

func check(ok bool, args ...any) {
	if !ok {
		_, file, line, _ := runtime.Caller(1)
		fail(append([]any{filepath.Base(file) + ":" + strconv.Itoa(line) + ":"}, args...)...)
	}
}

// eventually waits for a condition.
func eventually(what string, ok func() bool) {
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			_, file, line, _ := runtime.Caller(1)
			fail(filepath.Base(file)+":"+strconv.Itoa(line)+": never happened:", what)
		}
	}
}

// note hands a word from the first image to the second.
func note(key, value string) { os.Setenv(noteEnv+"_"+key, value) }

func noted(key string) string { return os.Getenv(noteEnv + "_" + key) }

func notedPID(key string) int {
	pid, err := strconv.Atoi(noted(key))
	check(err == nil, "no PID noted for", key)
	return pid
}

// child processes

// children are what a child of a scenario can do. Each calls ready as soon as it
// has made its arrangements.
var children = map[string]func(ready func()){
	"exit 3": func(ready func()) { ready(); os.Exit(3) },
	"live":   func(ready func()) { ready(); select {} },
	"ignore": func(ready func()) {
		signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
		ready()
		select {}
	},
	// exits with 7 when it is asked to
	"polite": func(ready func()) {
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGHUP, syscall.SIGTERM)
		ready()
		<-c
		os.Exit(7)
	},
}

var _ = registerHelper("child", func() {
	do := children[os.Getenv(childEnv)]
	if do == nil {
		fail("no such child")
	}
	go func() { // never outlive a test that has gone wrong
		time.Sleep(time.Minute)
		os.Exit(99)
	}()
	do(func() {
		ready := os.NewFile(3, "ready")
		ready.Write([]byte("r"))
		ready.Close()
	})
})

func childCommand(kind string) (args, env []string) {
	env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		// Of two values, a Go program takes the first.
		return strings.HasPrefix(v, helperEnv+"=") || strings.HasPrefix(v, childEnv+"=")
	})
	return os.Args[:1], append(env, helperEnv+"=child", childEnv+"="+kind)
}

// startChild starts a child that nobody in this process keeps anything of, and
// returns when it is ready.
func startChild(kind string) int { return startChildAttr(kind, nil) }

func startChildAttr(kind string, sys *syscall.SysProcAttr) int {
	r, w, err := os.Pipe()
	check(err == nil, err)
	null, err := os.Open(os.DevNull)
	check(err == nil, err)
	args, env := childCommand(kind)
	pid, err := syscall.ForkExec(args[0], args, &syscall.ProcAttr{
		Env:   env,
		Files: []uintptr{null.Fd(), null.Fd(), 2, w.Fd()},
		Sys:   sys,
	})
	check(err == nil, "starting a child:", err)
	w.Close()
	null.Close()
	r.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err = io.ReadFull(r, make([]byte, 1))
	check(err == nil, "child", kind, "did not get ready:", err)
	r.Close()
	return pid
}

// startOwn starts a child by os/exec.
func startOwn(kind string) *exec.Cmd {
	args, env := childCommand(kind)
	cmd := exec.Command(args[0])
	cmd.Env = env
	r, w, err := os.Pipe()
	check(err == nil, err)
	cmd.ExtraFiles = []*os.File{w}
	err = cmd.Start()
	check(err == nil, "starting a child by os/exec:", err)
	w.Close()
	r.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err = bufio.NewReader(r).ReadByte()
	check(err == nil, "child", kind, "did not get ready:", err)
	r.Close()
	return cmd
}

// gone reports whether no process has the PID, not even as a zombie.
func gone(pid int) bool { return syscall.Kill(pid, 0) == syscall.ESRCH }
