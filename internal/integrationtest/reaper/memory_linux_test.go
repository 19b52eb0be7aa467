//go:build linux && !autorestart_portable

package reaper_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// memoryGroup is a control group that limits memory.
type memoryGroup struct{ dir, limit, usage, events string }

// memoryGroups are the ways to limit memory, by the second version of cgroups and by the first.
var memoryGroups = []memoryGroup{
	{"/sys/fs/cgroup", "memory.max", "memory.current", "memory.events"},
	{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control"},
}

// newMemoryGroup makes a control group.
func newMemoryGroup(t *testing.T) memoryGroup {
	for _, g := range memoryGroups {
		g.dir = filepath.Join(g.dir, "autorestart-test-"+strconv.Itoa(os.Getpid()))
		if os.Mkdir(g.dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() {
			testprocess.WaitFor(t, "end of the control group", func() bool { return os.Remove(g.dir) == nil })
		})
		if _, err := os.Stat(filepath.Join(g.dir, g.limit)); err == nil {
			return g
		}
	}
	t.Skip("no control group can limit memory here: needs root, and the controller memory")
	panic("unreachable")
}

func (g memoryGroup) write(name string, value int) {
	check(os.WriteFile(filepath.Join(g.dir, name), []byte(strconv.Itoa(value)), 0o644) == nil, "writing", name)
}

func (g memoryGroup) read(name string) string {
	b, err := os.ReadFile(filepath.Join(g.dir, name))
	check(err == nil, err)
	return strings.TrimSpace(string(b))
}

// kills returns how many processes the kernel has killed for the limit.
func (g memoryGroup) kills() string {
	_, rest, ok := strings.Cut(g.read(g.events), "oom_kill ")
	check(ok, g.read(g.events))
	n, _, _ := strings.Cut(rest, "\n")
	return n
}

func notedMemoryGroup() memoryGroup {
	return memoryGroup{noted("dir"), noted("limit"), noted("usage"), noted("events")}
}

// headroom returns how much memory is left when the next image is executed, for that image and all
// that the kernel keeps for it. They take 10 MB, and with the race detector 33 MB.
func headroom() int {
	info, _ := debug.ReadBuildInfo()
	if slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		return 48 << 20
	}
	return 32 << 20
}

// A group of thousands of children has next to no memory left at the time of the exec.
var _ = registerScenario("memory limit", func() {
	g := notedMemoryGroup()
	g.write("cgroup.procs", os.Getpid())
	startSleepers()
	used, err := strconv.Atoi(g.read(g.usage))
	check(err == nil, err)
	g.write(g.limit, used+headroom())
}, func() {
	g := notedMemoryGroup()
	own := startOwn("exit 3")
	var log exitLog
	r := autorestart.Reaper{Escalation: []autorestart.EscalationStep{{Signal: syscall.SIGKILL}}, Reaped: log.add}
	check(r.Run(context.Background()) == nil, "Run")
	check(log.len() == count(), log.len(), "reported")
	for _, e := range log.copy() {
		check(e.Signal == syscall.SIGKILL && len(e.Sent) > 0 && !e.Lost, e, e.Sent)
	}
	own.Wait()
	check(own.ProcessState.ExitCode() == 3, own.ProcessState)
	check(g.kills() == "0", g.kills(), "killed for the limit")
	check(haveNoChildren(), "children are left")
})

func TestMemoryLimit(t *testing.T) {
	g := newMemoryGroup(t)
	n := 5000
	if testing.Short() {
		n = 500
	}
	prefix := noteEnv + "_"
	runScenarioOn(t, "memory limit", "none", countEnv+"="+strconv.Itoa(n), prefix+"dir="+g.dir,
		prefix+"limit="+g.limit, prefix+"usage="+g.usage, prefix+"events="+g.events)
}
