//go:build linux

package systemdtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestMain(m *testing.M) { testprocess.Main(m) }

var _ = testprocess.RegisterHelper("boot", func() {
	m, err := start(os.Getenv(RootEnv))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%d %q %q\n", m.PID(), m.cgroup, m.memory)
	testprocess.ReadLine()
	m.end()
})

// However the process of the tests ends, nothing of the machine is left.
func TestMachineEndsWithItsTests(t *testing.T) {
	helper := testprocess.UseHelper(t, "boot")
	Machine(t) // skips
	for name, end := range map[string]func(cmd *exec.Cmd, stdin io.Closer){
		"killed":      func(cmd *exec.Cmd, _ io.Closer) { cmd.Process.Kill() },
		"interrupted": func(cmd *exec.Cmd, _ io.Closer) { cmd.Process.Signal(os.Interrupt) },
		"end":         func(_ *exec.Cmd, stdin io.Closer) { stdin.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tests := exec.Command("/proc/self/exe")
			tests.Env = append(os.Environ(), helper)
			tests.Stderr = os.Stderr
			stdin, err := tests.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			stdout, err := tests.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := tests.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { tests.Process.Kill(); tests.Wait() })
			var pid int
			var cgroup, memory string
			if _, err := fmt.Fscanf(bufio.NewReader(stdout), "%d %q %q", &pid, &cgroup, &memory); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(cgroup + "/init.scope"); err != nil {
				t.Fatal(err)
			}
			if memory != "" {
				enter(t, memory, pid)
			}
			end(tests, stdin)
			tests.Wait()
			testprocess.WaitFor(t, "end of the cgroups", func() bool {
				_, err := os.Stat(cgroup)
				_, memoryErr := os.Stat(memory)
				return errors.Is(err, fs.ErrNotExist) && errors.Is(memoryErr, fs.ErrNotExist)
			})
			testprocess.WaitFor(t, "end of process 1", func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH })
		})
	}
}

// enter moves a process into a group, unless there is none, as where that part of the machine is read-only.
func enter(t *testing.T, group string, pid int) {
	t.Helper()
	err := os.WriteFile(group+"/cgroup.procs", []byte(strconv.Itoa(pid)), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestCgroups(t *testing.T) {
	const (
		memory  = "31 27 0:28 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
		cpu     = "30 27 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
		beside  = "33 27 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
		alone   = "28 24 0:25 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,memory_recursiveprot\n"
		another = "50 24 0:25 / /mnt rw shared:4 - cgroup2 cgroup2 rw\n"
	)
	for mounts, want := range map[string][2]string{
		"":                    {"", ""},
		cpu:                   {"", ""},
		alone + another:       {"/sys/fs/cgroup", ""},
		cpu + memory + beside: {"/sys/fs/cgroup/unified", "/sys/fs/cgroup/memory"},
	} {
		if v2, memory := cgroups(mounts); v2 != want[0] || memory != want[1] {
			t.Errorf("found %q and %q, expected %q, in:\n%s", v2, memory, want, mounts)
		}
	}
}

const service = `
[Service]
ExecStart=sleep infinity
ExecStartPre=echo first line of %N
`

func TestUnit(t *testing.T) {
	s := Machine(t)
	for range 2 { // the second unit is another one
		t.Run("", func(t *testing.T) {
			s.Unit(t, "unit.service", service)
			if log := s.Log(t, "unit.service"); log != "" {
				t.Errorf("the log begins with %q", log)
			}
			s.Run(t, "systemctl", "start", "unit.service")
			s.WantState(t, "unit.service", "active")
			s.Unit(t, "unit.service", service+"Restart=always\n")
			if restart := s.Property(t, "unit.service", "Restart"); restart != "always" {
				t.Errorf("Restart=%s", restart)
			}
			if log := s.Log(t, "unit.service"); strings.Count(log, "first line of unit") != 1 {
				t.Errorf("the log is %q", log)
			}
		})
		if state := s.Property(t, "unit.service", "LoadState"); state != "not-found" {
			t.Errorf("after the test the unit is %s", state)
		}
	}
}

// journalctl ends where inotify has no room, after it has written what is there. A line that comes later is seen all the same.
func TestWantLoggedAfterEndOfJournalctl(t *testing.T) {
	s := Machine(t)
	s.Unit(t, "late.service", "[Service]\nType=oneshot\nExecStart=echo a late line\n")
	var ended sync.WaitGroup
	defer ended.Wait()
	ended.Go(func() {
		pid := 0
		if !testprocess.Within(testprocess.Timeout, func() bool { pid = follower(s, "late.service"); return pid != 0 }) {
			t.Error("no journalctl follows the log of the unit")
			return
		}
		if output, err := s.Try("sh", "-c", fmt.Sprint("kill -KILL ", pid)); err != nil {
			t.Errorf("%v: %s", err, output)
		}
		if output, err := s.Try("systemctl", "start", "late.service"); err != nil {
			t.Errorf("%v: %s", err, output)
		}
	})
	s.WantLogged(t, "late.service", "a late line")
}

// follower returns the PID in the machine of the journalctl that follows the log of a unit, or 0.
func follower(s *System, unit string) int {
	names, _ := filepath.Glob(s.Path("/proc/[0-9]*/cmdline"))
	for _, name := range names {
		args, _ := os.ReadFile(name)
		if bytes.HasPrefix(args, []byte("journalctl\x00")) && bytes.Contains(args, []byte("\x00--unit="+unit+"\x00")) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			return pid
		}
	}
	return 0
}

func TestTemplate(t *testing.T) {
	s := Machine(t)
	t.Run("", func(t *testing.T) {
		s.Unit(t, "template@.service", service)
		s.Run(t, "systemctl", "start", "template@a.service", "template@b.service")
		s.WantState(t, "template@b.service", "active")
		s.WantLogged(t, "template@a.service", "first line of template@a")
	})
	for _, name := range []string{"template@a.service", "template@b.service"} {
		if state := s.Property(t, name, "ActiveState"); state != "inactive" {
			t.Errorf("after the test %s is %s", name, state)
		}
	}
}

func TestFailedCommand(t *testing.T) {
	s := Machine(t)
	output, err := s.Try("systemctl", "start", "missing.service")
	if err == nil || !strings.Contains(output, "missing.service not found") {
		t.Errorf("%v, output %q", err, output)
	}
}

// The machine has a network and a root of its own.
func TestDial(t *testing.T) {
	s := Machine(t)
	s.Unit(t, "dialed.socket", "[Socket]\nListenStream=127.0.0.1:7\nListenStream=/run/dialed\nListenStream=@dialed\nAccept=yes\n")
	s.Unit(t, "dialed@.service", "[Service]\nExecStart=cat\nStandardInput=socket\n")
	s.Run(t, "systemctl", "start", "dialed.socket")
	for _, test := range []struct{ network, address string }{{"tcp", "127.0.0.1:7"}, {"unix", "/run/dialed"}, {"unix", "@dialed"}} {
		conn, err := s.Dial(test.network, test.address)
		if err != nil {
			t.Error(err)
			continue
		}
		defer testprocess.LimitIO(conn, testprocess.Timeout)()
		echo := make([]byte, 4)
		if _, err := io.WriteString(conn, "echo"); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(conn, echo); err != nil || string(echo) != "echo" {
			t.Errorf("%s: %q, %v", test.address, echo, err)
		}
		conn.Close()
		if conn, err := net.Dial(test.network, test.address); err == nil {
			conn.Close()
			t.Errorf("%s is there outside of the machine, too", test.address)
		}
	}
}

// A deploy is a rename, and nothing changes the directory that is the root of all machines.
func TestFiles(t *testing.T) {
	s := Machine(t)
	s.WriteFile(t, "/opt/a/file", 0o600, []byte("content"))
	t.Cleanup(func() { s.Remove(t, "/opt/a") })
	if got := s.Run(t, "stat", "--format=%a %s", "/opt/a/file"); got != "600 7\n" {
		t.Errorf("mode and size are %q", got)
	}
	if _, err := os.Stat(os.Getenv(RootEnv) + "/opt/a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is in the root of all machines: %v", err)
	}
	s.Install(t, "/srv/self", "/proc/self/exe")
	t.Cleanup(func() { s.Remove(t, "/srv/self") })
	if output, err := s.Try("/srv/self", "-test.list=^TestFiles$"); err != nil || !strings.HasPrefix(output, "TestFiles\n") {
		t.Errorf("%v: %s", err, output)
	}
	if output, err := s.Try("touch", "/usr/file"); err == nil {
		t.Errorf("/usr is not read-only: %s", output)
	}
}

// systemd that executes itself is the same machine.
func TestReexec(t *testing.T) {
	s := Machine(t)
	s.Unit(t, "before.service", service)
	s.Run(t, "systemctl", "start", "before.service")
	pid := s.Property(t, "before.service", "MainPID")
	s.Reexec(t)
	s.WantState(t, "before.service", "active")
	if after := s.Property(t, "before.service", "MainPID"); after != pid {
		t.Errorf("the PID is %s, before %s", after, pid)
	}
}
