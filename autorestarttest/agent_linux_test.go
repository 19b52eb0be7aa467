package autorestarttest_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/autorestarttest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestMain(m *testing.M) { testprocess.Main(m) }

// The agent adds nothing to the environment and one connection to the descriptors, which no child and
// no later version inherits.
func TestAgentLeavesNothing(t *testing.T) {
	t.Parallel()
	d, url := start(t, "-child")
	environment := testprocess.ReadFile(t, fmt.Sprintf("/proc/%d/environ", d.PID()))
	if want := strings.Join(os.Environ(), "\x00") + "\x00"; string(environment) != want {
		t.Errorf("environment %q, want %q", environment, want)
	}
	first := unixSockets(t, d.PID())
	if len(first) != 1 {
		t.Errorf("the daemon has the unix sockets %q", first)
	}
	for range 2 {
		d.Deploy(autorestarttest.ByRename)
		d.WantRestart()
	}
	if body := get(t, d, url); !strings.HasPrefix(body, "version 1, process ") {
		t.Errorf("got %q", body)
	}
	if third := unixSockets(t, d.PID()); len(third) != 1 || third[0] == first[0] {
		t.Errorf("after two restarts the daemon has the unix sockets %q; at first %q", third, first)
	}
	var children []string
	for _, name := range testprocess.Glob(t, "/proc/%d/task/*/children", d.PID()) { // of each thread
		list, _ := os.ReadFile(name) // the thread may have ended
		children = append(children, strings.Fields(string(list))...)
	}
	for _, child := range children {
		var pid int
		fmt.Sscan(child, &pid)
		defer syscall.Kill(pid, syscall.SIGKILL)
		if sockets := unixSockets(t, pid); len(sockets) > 0 {
			t.Errorf("a child has the unix sockets %q", sockets)
		}
	}
	if len(children) != 3 {
		t.Errorf("children %q, want one of each version", children)
	}
}

// unixSockets returns the unix sockets that a process has open.
func unixSockets(t *testing.T, pid int) (found []string) {
	t.Helper()
	var inodes []string
	for line := range strings.Lines(string(testprocess.ReadFile(t, "/proc/net/unix"))) {
		if fields := strings.Fields(line); len(fields) > 6 {
			inodes = append(inodes, "socket:["+fields[6]+"]")
		}
	}
	for _, name := range testprocess.Glob(t, "/proc/%d/fd/*", pid) {
		if target, _ := os.Readlink(name); slices.Contains(inodes, target) {
			found = append(found, target)
		}
	}
	return found
}

var _ = testprocess.RegisterHelper("test that is killed", func() {
	t := new(testing.T)
	d := autorestarttest.Start(t, autorestarttest.Program{Package: served, Args: []string{"-listen", "127.0.0.1:0"}})
	fmt.Println(d.PID(), filepath.Dir(filepath.Dir(d.Path())))
	select {}
})

// A test that is killed leaves no process.
func TestKilledTestLeavesNoDaemon(t *testing.T) {
	t.Parallel()
	needBuilds(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "test that is killed"))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	cmd.Process.Kill()
	cmd.Wait()
	var pid int
	var dir string
	if _, scanErr := fmt.Sscan(line, &pid, &dir); err != nil || scanErr != nil {
		t.Fatalf("the test says %q: %v, %v", line, err, scanErr)
	}
	defer os.RemoveAll(dir)
	testprocess.WaitFor(t, "end of the daemon", func() bool { return hasEnded(pid) })
}

// hasEnded reports whether a process has ended, even if nothing has waited for it.
func hasEnded(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(stat), ") ")
	return err != nil || strings.HasPrefix(state, "Z")
}
