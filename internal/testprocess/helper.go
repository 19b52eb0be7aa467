package testprocess

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// HelperEnv names the helper that a process of the test binary is to be.
const HelperEnv = "AUTORESTART_TEST_HELPER"

// helpers are the programs that the test binary can be beside a test.
var helpers = map[string]func(){}

var (
	usedMu sync.Mutex
	used   = map[string]bool{}
)

// RegisterHelper adds a helper: a program that the test binary is where HelperEnv
// has its name. Call it before [Main], from a package-level variable for example.
func RegisterHelper(name string, main func()) bool {
	if helpers[name] != nil {
		panic("helper " + name + " is registered twice")
	}
	helpers[name] = main
	return true
}

// UseHelper returns the variable, as key=value, that makes a process of the test
// binary that helper. A name that is not registered fails the test.
func UseHelper(t testing.TB, name string) (env string) {
	if helpers[name] == nil {
		t.Helper()
		t.Fatalf("no helper %q is registered", name)
	}
	usedMu.Lock()
	defer usedMu.Unlock()
	used[name] = true
	return HelperEnv + "=" + name
}

// atEnd are the functions that Main calls.
var atEnd []func()

// AtEnd has [Main] call a function after the tests. A test may call it.
func AtEnd(f func()) {
	usedMu.Lock()
	defer usedMu.Unlock()
	atEnd = append(atEnd, f)
}

// Main is the body of a TestMain. It runs the tests, or the helper that HelperEnv
// names, and exits. A helper that no test has used fails a complete run.
func Main(m *testing.M) {
	_, _ = time.Now().Zone() // the first time that is told opens a file, which a test may find among a process's own
	if name := os.Getenv(HelperEnv); name != "" {
		main := helpers[name]
		if main == nil {
			fmt.Fprintf(os.Stderr, "%s=%s: no such helper\n", HelperEnv, name)
			os.Exit(2)
		}
		main()
		os.Exit(0)
	}
	haveDefaultSignals()
	// Otherwise a program with the race detector stays for a second after its end, for later races.
	os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		parallel.Value.Set(strconv.Itoa(4 * runtime.NumCPU())) // tests wait, mostly
	}
	code := m.Run()
	for _, f := range atEnd {
		f()
	}
	if code == 0 && isCompleteRun() {
		for _, name := range slices.Sorted(maps.Keys(helpers)) {
			if !used[name] {
				fmt.Fprintf(os.Stderr, "no test uses the helper %q\n", name)
				code = 1
			}
		}
	}
	os.Exit(code)
}

// isCompleteRun reports whether no flag has kept any test from running.
func isCompleteRun() bool {
	for _, name := range []string{"test.run", "test.skip", "test.list"} {
		if flag.Lookup(name).Value.String() != "" {
			return false
		}
	}
	return !testing.Short()
}

// haveDefaultSignals makes the processes that tests start begin with the default actions of signals,
// also where nohup(1) or a shell that has put the tests in the background ignores some: an exec
// keeps what is ignored, but not what is handled.
func haveDefaultSignals() {
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT} {
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
}
