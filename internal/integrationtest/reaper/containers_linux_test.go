//go:build linux && !autorestart_portable

package reaper_test

import (
	"bytes"
	"context"
	"encoding/json"
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

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// The reaper as process 1 of containers and of other kernels. .ci/reaper-containers
// installs what that takes and sets these variables; without them the tests are
// skipped.
const (
	runtimesEnv = "AUTORESTART_TEST_RUNTIMES" // OCI runtimes and their options, separated by commas
	kernelsEnv  = "AUTORESTART_TEST_KERNELS"  // bzImage files, separated by commas
	binaryEnv   = "AUTORESTART_TEST_STATIC"   // this test binary, built without cgo
)

// poweroffEnv has a kernel that runs nothing else switch itself off at the end.
const poweroffEnv = "AUTORESTART_TEST_POWEROFF"

// The scenarios that run in a container one after the other, all by the same process.
var inContainers = []string{
	"container", "reap everything", "clean up", "skip", "context", "stopped",
	"adopt", "adopt lost", "lost", "SIGCHLD ignored", "orphans", "released",
	"traced by this process", "tracing beside orphans", "leader exits", "clones", "clones beside orphans", "last",
}

const containerHelper = "container"

func containerEnv(t *testing.T) []string {
	return []string{testprocess.UseHelper(t, containerHelper), chainEnv + "=" + strings.Join(inContainers, ",")}
}

var (
	_ = testprocess.RegisterHelper(containerHelper, func() {
		if os.Getpid() == 1 {
			mountProc()
		}
		os.Setenv(testprocess.HelperEnv, scenarioHelper)
		nextInChain()
	})
	_ = testprocess.UseHelper(nil, containerHelper) // most machines have no containers
)

func mountProc() {
	if _, err := os.Stat("/proc/self"); err == nil {
		return
	}
	os.Mkdir("/proc", 0o755)
	check(unix.Mount("proc", "/proc", "proc", 0, "") == nil, "mounting proc")
}

// The first scenario says what the container is like.
var _ = registerScenario("container", func() {
	var name unix.Utsname
	unix.Uname(&name)
	say("PID", os.Getpid(), "on", runtime.GOARCH, "Linux", unix.ByteSliceToString(name.Release[:]))
	pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
	say("pidfd_open:", answer(err))
	if err == nil {
		var info unix.Siginfo
		err = unix.Waitid(unix.P_PIDFD, pidfd, &info, unix.WEXITED|unix.WNOHANG, nil)
		if err == unix.ECHILD {
			err = nil // as it should be: this process is not its own child
		}
		say("waitid(P_PIDFD):", answer(err))
		say("pidfd_send_signal:", answer(unix.PidfdSendSignal(pidfd, 0, nil, 0)))
		unix.Close(pidfd)
	}
	say("package os keeps pidfds:", startedByPidfd())
	if _, err = peek(unix.P_ALL, 0); err == unix.ECHILD {
		err = nil
	}
	say("waitid(P_ALL, WNOWAIT, __WALL):", answer(err))
	_, err = subreaper()
	say("child subreapers:", answer(err))
	_, err = os.ReadFile(mainThreadsChildren())
	say("children file:", answer(err))
	_, err = os.ReadFile("/proc/self/stat")
	say("stat file:", answer(err))
	noteChild("live", "live")
}, func() {
	r := autorestart.Reaper{
		Escalation: []autorestart.EscalationStep{{Signal: syscall.SIGKILL}},
		Logger: attrLog(func(msg string, attrs map[string]any) {
			if msg == "inherited children listed" {
				say("inherited children listed by:", attrs["listed_by"])
			}
		}),
	}
	check(r.Run(context.Background()) == nil, "Run")
})

// say prints what the container is like.
func say(args ...any) { fmt.Println(append([]any{"container:"}, args...)...) }

// attrLog is a logger that calls a function.
type attrLog func(msg string, attrs map[string]any)

func (f attrLog) Info(msg string, args ...any)  { f.log(msg, args) }
func (f attrLog) Warn(msg string, args ...any)  { f.log(msg, args) }
func (f attrLog) Error(msg string, args ...any) { f.log(msg, args) }

func (f attrLog) log(msg string, args []any) {
	attrs := make(map[string]any)
	for i := 0; i+1 < len(args); i += 2 {
		attrs[args[i].(string)] = args[i+1]
	}
	f(msg, attrs)
}

func answer(err error) string {
	if err != nil {
		return err.Error()
	}
	return "yes"
}

// The last scenario says that all have passed and, where nothing else is running,
// switches the kernel off.
var _ = registerScenario("last", func() {}, func() {
	fmt.Println("all passed in this container")
	if os.Getenv(poweroffEnv) != "" {
		unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	}
})

func checkContainer(t *testing.T, out []byte, err error) {
	t.Helper()
	logContainer(t, out)
	if err != nil || !bytes.Contains(out, []byte("all passed in this container")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// logContainer logs what the container is like.
func logContainer(t *testing.T, out []byte) {
	for line := range strings.Lines(string(out)) {
		if container, ok := strings.CutPrefix(line, "container: "); ok {
			t.Log(strings.TrimSpace(container))
		}
	}
}

func gate(t *testing.T, name string) []string {
	t.Helper()
	if os.Getenv(name) == "" {
		t.Skip(name + " is not set; .ci/reaper-containers sets it")
	}
	return strings.Split(os.Getenv(name), ",")
}

// staticBinary is a path of this test binary that needs no library.
func staticBinary(t *testing.T) string {
	t.Helper()
	if path := os.Getenv(binaryEnv); path != "" {
		return path
	}
	t.Skip(binaryEnv + " is not set; .ci/reaper-containers sets it")
	return ""
}

// Process 1 of a container whose image is nothing but the test binary.
func TestContainer(t *testing.T) {
	for _, command := range gate(t, runtimesEnv) {
		words := strings.Fields(command)
		t.Run(filepath.Base(words[0]), func(t *testing.T) {
			bundle := t.TempDir()
			root := filepath.Join(bundle, "rootfs")
			if err := os.Mkdir(root, 0o755); err != nil {
				t.Fatal(err)
			}
			testprocess.WriteExecutable(t, filepath.Join(root, "init"), testprocess.ReadFile(t, staticBinary(t)))
			config, err := json.MarshalIndent(ociConfig(containerEnv(t)), "", "\t")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o644); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := testprocess.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			id := "autorestart-test-" + strconv.Itoa(os.Getpid())
			cmd := exec.CommandContext(ctx, words[0], append(words[1:],
				"--root", filepath.Join(bundle, "state"), "run", "--bundle", bundle, id)...)
			out, err := cmd.CombinedOutput()
			checkContainer(t, out, err)
		})
	}
}

// ociConfig is the least that the OCI runtime specification lets one say.
func ociConfig(env []string) map[string]any {
	type object = map[string]any
	return object{
		"ociVersion": "1.0.2",
		"process": object{
			"user": object{"uid": 0, "gid": 0},
			"args": []string{"/init"},
			"env":  env,
			"cwd":  "/",
		},
		"root": object{"path": "rootfs"},
		"mounts": []object{
			{"destination": "/proc", "type": "proc", "source": "proc"},
			{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "mode=755"}},
		},
		"linux": object{
			"namespaces": []object{{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}},
		},
	}
}

// Process 1 of another kernel, with an initramfs that holds the test binary and
// two device nodes.
func TestContainerKernel(t *testing.T) {
	for _, kernel := range gate(t, kernelsEnv) {
		t.Run(filepath.Base(kernel), func(t *testing.T) {
			binary := testprocess.ReadFile(t, staticBinary(t))
			var image cpio
			image.add("dev", unix.S_IFDIR|0o755, nil, 0)
			image.add("proc", unix.S_IFDIR|0o755, nil, 0)
			image.add("dev/console", unix.S_IFCHR|0o600, nil, unix.Mkdev(5, 1))
			image.add("dev/null", unix.S_IFCHR|0o666, nil, unix.Mkdev(1, 3))
			image.add("init", unix.S_IFREG|0o755, binary, 0)
			initramfs := filepath.Join(t.TempDir(), "initramfs")
			if err := os.WriteFile(initramfs, image.bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			// Words that the kernel does not know become process 1's environment.
			append := "console=ttyS0 quiet panic=-1 no_timer_check " + poweroffEnv + "=1"
			for _, e := range containerEnv(t) {
				append += ` "` + e + `"`
			}
			ctx, cancel := testprocess.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
				"-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "512", "-nodefaults", "-no-reboot",
				"-display", "none", "-serial", "stdio",
				"-kernel", kernel, "-initrd", initramfs, "-append", append)
			out, err := cmd.CombinedOutput()
			checkContainer(t, out, err)
		})
	}
}

// cpio is an archive in the format of initramfs, "newc".
type cpio struct {
	b    bytes.Buffer
	inos int
}

func (c *cpio) add(name string, mode uint32, content []byte, device uint64) {
	c.inos++
	fmt.Fprintf(&c.b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		c.inos, mode, 0, 0, 1, 0, len(content), 0, 0,
		unix.Major(device), unix.Minor(device), len(name)+1, 0)
	c.b.WriteString(name + "\x00")
	c.pad()
	c.b.Write(content)
	c.pad()
}

func (c *cpio) pad() {
	for c.b.Len()%4 != 0 {
		c.b.WriteByte(0)
	}
}

func (c *cpio) bytes() []byte {
	c.add("TRAILER!!!", 0, nil, 0)
	return c.b.Bytes()
}

// What the machine of the tests is like, for the log.
func TestContainerHere(t *testing.T) {
	out, err := scenarioOutput(t, "container", "")
	logContainer(t, out)
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
