//go:build unix

package reaper_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A scenario is a program that executes itself once: the first image starts
// children, the second one deals with them. Both are this test binary. If
// the second finds something wrong, it prints that and exits with 1.
type scenario struct {
	before func()
	after  func()
}

var scenarios = map[string]scenario{}

// Variables for the process of a scenario.
const (
	scenarioEnv = "AUTORESTART_TEST_SCENARIO" // the name of the scenario
	imageEnv    = "AUTORESTART_TEST_IMAGE"    // 2 for the second image
	fallbackEnv = "AUTORESTART_TEST_FALLBACK" // the fallback to force, a key of fallbacks
	noteEnv     = "AUTORESTART_TEST_NOTE"     // NOTE_key is what the first image notes for the second
	chainEnv    = "AUTORESTART_TEST_CHAIN"    // more scenarios for the same process, separated by commas
)

// namedFallbacks are like fallbacks, for the tests that name them.
var namedFallbacks = map[string]func() error{}

func registerScenario(name string, before, after func()) bool {
	if scenarios[name].after != nil {
		panic("scenario " + name + " is registered twice")
	}
	scenarios[name] = scenario{before, after}
	return true
}

const scenarioHelper = "scenario"

var _ = testprocess.RegisterHelper(scenarioHelper, func() {
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
	runtime.LockOSThread() // a fallback may be a matter of this thread, which executes
	if fallback := os.Getenv(fallbackEnv); fallback != "" {
		force := fallbacks[fallback]
		if force == nil {
			force = namedFallbacks[fallback]
		}
		if err := force(); err != nil {
			fmt.Println("skip:", fallback+":", err)
			return
		}
	}
	s.before()
	os.Setenv(imageEnv, "2")
	var h handover.State
	h.Set(handover.PID, os.Getpid())
	os.Setenv(handover.Env, h.String())
	err := syscall.Exec("/proc/self/exe", os.Args, os.Environ())
	if err == syscall.ENOENT { // without /proc
		err = syscall.Exec(os.Args[0], os.Args, os.Environ())
	}
	fail("exec:", err)
})

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

// runScenario runs the scenario once with every fallback that can be forced here.
func runScenario(t *testing.T, name string) {
	for fallback := range fallbacks {
		t.Run("fallback="+fallback, func(t *testing.T) {
			t.Parallel()
			runScenarioOn(t, name, fallback)
		})
	}
}

// runScenarioOn runs the scenario with the fallback, and with the variables env.
func runScenarioOn(t *testing.T, name, fallback string, env ...string) {
	t.Helper()
	out, err := scenarioOutput(t, name, fallback, env...)
	skipIfSkipped(t, out)
	if err != nil || !bytes.Contains(out, []byte("passed\n")) {
		t.Fatalf("%v\n%s", err, out)
	}
	if testing.Verbose() {
		t.Logf("%s", out)
	}
}

func skipIfSkipped(t *testing.T, out []byte) {
	t.Helper()
	if reason, ok := strings.CutPrefix(string(out), "skip: "); ok {
		t.Skip(strings.TrimSpace(reason))
	}
}

// scenarioOutput runs the scenario and returns what it printed, on both streams.
func scenarioOutput(t testing.TB, name, fallback string, env ...string) ([]byte, error) {
	t.Helper()
	cmd := scenarioCommand(t, name, fallback)
	cmd.Env = append(cmd.Env, env...)
	return cmd.CombinedOutput()
}

// fullEnv makes tests and benchmarks long.
const fullEnv = "AUTORESTART_TEST_FULL"

func scenarioCommand(t testing.TB, name, fallback string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	limit := time.Minute
	if os.Getenv(fullEnv) != "" {
		limit = 20 * time.Minute
	}
	ctx, cancel := testprocess.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, self)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) } // shows where it hangs
	cmd.WaitDelay = 5 * time.Second
	// Children of a scenario that has gone wrong end with the test.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	t.Cleanup(func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	cmd.Env = append(os.Environ(), testprocess.UseHelper(t, scenarioHelper), scenarioEnv+"="+name, fallbackEnv+"="+fallback)
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
	if !testprocess.Within(testprocess.Timeout, ok) {
		_, file, line, _ := runtime.Caller(1)
		fail(filepath.Base(file)+":"+strconv.Itoa(line)+": never happened:", what)
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
