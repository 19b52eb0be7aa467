//go:build linux

package systemdtest

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

var (
	//go:embed boot.sh
	bootScript string

	//go:embed keep.sh
	keepScript string
)

// enterScript moves process 1 into the cgroup of the machine, which becomes the root of all cgroups that the
// machine sees: so systemd makes none elsewhere.
const enterScript = `echo 0 >"$1/cgroup.procs"; exec unshare --cgroup sh -euc "$2" sh "$3" "$4"`

// machine is systemd in namespaces, and the process that keeps its cgroup.
type machine struct {
	cgroup string // directory
	memory string // directory of a group of version 1, see Memory, if the keeper could make it; "" without that controller
	keeper *exec.Cmd
	hold   io.Closer // the keeper ends the machine when it is closed

	init    *exec.Cmd
	ended   chan struct{} // closed when process 1 has ended
	console *console
	output  testprocess.Log // of process 1, until it has a journal
}

// start boots a machine and waits until all of its units have started.
func start(root string) (*machine, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(root, "sbin/init")); err != nil {
		return nil, fmt.Errorf("%s=%s: %w", RootEnv, root, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	parent, memory := cgroups(string(mounts))
	if parent == "" {
		return nil, errors.New("no cgroup2 is mounted")
	}
	name := "autorestart-test-" + strconv.Itoa(os.Getpid())
	m := &machine{cgroup: filepath.Join(parent, name)}
	if memory != "" {
		m.memory = filepath.Join(memory, name)
	}
	if err := m.keep(); err != nil {
		return nil, err
	}
	if m.console, err = openConsole(&m.output); err != nil {
		m.end()
		return nil, err
	}
	m.init = exec.Command("sh", "-euc", enterScript, "sh", m.cgroup, bootScript, root, m.console.path)
	m.init.Stdout, m.init.Stderr = &m.output, &m.output
	m.init.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true,
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS |
			syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET,
	}
	if err := m.init.Start(); err != nil {
		m.end()
		return nil, err
	}
	m.ended = make(chan struct{})
	go func() {
		defer close(m.ended)
		m.init.Wait()
	}()
	if err := m.await(); err != nil {
		m.end()
		return nil, fmt.Errorf("%w\n%s", err, m.output.String())
	}
	return m, nil
}

// keep starts the keeper, which makes the cgroup, and the one for memory if it can.
func (m *machine) keep() (err error) {
	m.keeper = exec.Command("sh", "-euc", keepScript, "sh", m.cgroup, m.memory)
	m.keeper.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a terminal interrupts the tests only
	var failure bytes.Buffer
	m.keeper.Stderr = &failure
	if m.hold, err = m.keeper.StdinPipe(); err != nil {
		return err
	}
	ready, err := m.keeper.StdoutPipe()
	if err != nil {
		return err
	}
	if err := m.keeper.Start(); err != nil {
		return err
	}
	if _, err := bufio.NewReader(ready).ReadString('\n'); err != nil {
		return fmt.Errorf("no cgroup: %w: %s", m.keeper.Wait(), failure.String())
	}
	return nil
}

// await waits until systemd has started everything that it starts at the boot.
func (m *machine) await() error {
	var state string
	var failure bytes.Buffer
	started := testprocess.Within(testprocess.Timeout, func() bool {
		if m.hasEnded() {
			return true
		}
		failure.Reset()
		systemctl := m.Command("systemctl", "is-system-running")
		systemctl.Stderr = &failure
		output, _ := systemctl.Output()
		state = strings.TrimSpace(string(output))
		return state == "running" || state == "degraded"
	})
	if m.hasEnded() {
		return fmt.Errorf("process 1 has ended: %v", m.init.ProcessState)
	}
	if !started {
		return fmt.Errorf("it is %q: %s", state, failure.String())
	}
	if state == "degraded" {
		failed, _ := m.Command("systemctl", "--failed", "--no-pager", "--plain", "--no-legend").Output()
		return fmt.Errorf("units have failed: %s", failed)
	}
	return nil
}

// hasEnded reports whether process 1 has ended.
func (m *machine) hasEnded() bool {
	select {
	case <-m.ended:
		return true
	default:
		return false
	}
}

// end ends the machine, and waits until nothing of it is left.
func (m *machine) end() {
	m.hold.Close()
	m.keeper.Wait()
	if m.ended != nil {
		<-m.ended
	}
	if m.console != nil {
		m.console.close()
	}
}

// PID returns the process ID of process 1, as this process sees it.
func (m *machine) PID() int { return m.init.Process.Pid }

// Command returns a command that runs in the machine.
func (m *machine) Command(name string, args ...string) *exec.Cmd {
	return m.commandContext(context.Background(), name, args...)
}

func (m *machine) commandContext(ctx context.Context, name string, args ...string) *exec.Cmd {
	enter := []string{"--target", strconv.Itoa(m.PID()), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
		"setpriv", "--pdeathsig=KILL", name} // nsenter has a child in the machine, which ends with it
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin", "LANG=C.UTF-8", "SYSTEMD_COLORS=0"}
	cmd.WaitDelay = time.Second // the child has the pipes, too
	return cmd
}

// cgroups returns the directories at which the second version of cgroups is mounted, alone or beside the first, and
// at which the memory controller of the first version is; "" for what is not mounted.
func cgroups(mountinfo string) (v2, memory string) {
	for line := range strings.Lines(mountinfo) {
		mount, fileSystem, _ := strings.Cut(line, " - ")
		at, what := strings.Fields(mount), strings.Fields(fileSystem) // what: type, source, options
		if len(at) < 5 || len(what) < 3 {
			continue
		}
		switch {
		case v2 == "" && what[0] == "cgroup2":
			v2 = at[4]
		case memory == "" && what[0] == "cgroup" && slices.Contains(strings.Split(what[2], ","), "memory"):
			memory = at[4]
		}
	}
	return v2, memory
}
