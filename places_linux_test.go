//go:build !autorestart_portable

package autorestart

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
)

// The reaper in real places: as process 1 of containers and of other kernels.
// .ci/reaper-places installs what that takes and sets these variables; without
// them the tests are skipped.
const (
	runtimesEnv = "AUTORESTART_TEST_RUNTIMES" // OCI runtimes and their options, separated by commas
	kernelsEnv  = "AUTORESTART_TEST_KERNELS"  // bzImage files, separated by commas
	binaryEnv   = "AUTORESTART_TEST_STATIC"   // this test binary, built without cgo
)

// The scenarios that run in one place after the other, all by the same process.
var inPlaces = []string{
	"place", "reap everything", "clean up", "spare", "context", "stopped",
	"adopt", "adopt lost", "lost", "SIGCHLD ignored", "orphans", "released", "last",
}

func placeEnv() []string {
	return []string{helperEnv + "=place", chainEnv + "=" + strings.Join(inPlaces, ",")}
}

// The first thing in a place: what it is like.
var _ = registerHelper("place", func() {
	if os.Getpid() == 1 {
		mountProc()
	}
	os.Setenv(helperEnv, "scenario")
	nextInChain()
})

func mountProc() {
	if _, err := os.Stat("/proc/self"); err == nil {
		return
	}
	os.Mkdir("/proc", 0o755)
	check(unix.Mount("proc", "/proc", "proc", 0, "") == nil, "mounting proc")
}

var _ = registerScenario("place", func() { describePlace() }, func() {})

func describePlace() {
	var name unix.Utsname
	unix.Uname(&name)
	fmt.Println("place: PID", os.Getpid(), "on", runtime.GOARCH, "Linux", unix.ByteSliceToString(name.Release[:]))
	pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
	fmt.Println("place: pidfd_open:", answer(err))
	if err == nil {
		var info unix.Siginfo
		err = unix.Waitid(unix.P_PIDFD, pidfd, &info, unix.WEXITED|unix.WNOHANG, nil)
		if err == unix.ECHILD {
			err = nil // as it should be: we are no child of ours
		}
		fmt.Println("place: waitid(P_PIDFD):", answer(err))
		fmt.Println("place: pidfd_send_signal:", answer(unix.PidfdSendSignal(pidfd, 0, nil, 0)))
		unix.Close(pidfd)
	}
	fmt.Println("place: package os keeps pidfds:", processesHavePidfds())
	var info unix.Siginfo
	err = unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil)
	if err == unix.ECHILD {
		err = nil
	}
	fmt.Println("place: waitid(P_ALL, WNOWAIT, __WALL):", answer(err))
	var on int32
	fmt.Println("place: child subreapers:", answer(unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptrOf(&on), 0, 0, 0)))
	_, err = readChildren(os.Getpid())
	fmt.Println("place: children file:", answer(err))
	fmt.Println("place: inherited children listed by:", listedBy())
	_, err = readStat(os.Getpid(), make([]byte, statSize))
	fmt.Println("place: stat file:", answer(err))
}

func answer(err error) string {
	if err != nil {
		return err.Error()
	}
	return "yes"
}

// listedBy tells how a child would have been listed.
func listedBy() string {
	pid := startChild("live")
	defer func() { syscall.Kill(pid, syscall.SIGKILL); syscall.Wait4(pid, nil, 0, nil) }()
	return listInherited().by
}

// The last thing in a place: to say so, and where there is nothing else running,
// to switch it off.
var _ = registerScenario("last", func() {}, func() {
	fmt.Println("all passed in this place")
	if os.Getenv("POWEROFF") != "" {
		unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	}
})

func checkPlace(t *testing.T, out []byte, err error) {
	t.Helper()
	for line := range strings.Lines(string(out)) {
		if place, ok := strings.CutPrefix(line, "place: "); ok {
			t.Log(strings.TrimSpace(place))
		}
	}
	if err != nil || !bytes.Contains(out, []byte("all passed in this place")) {
		t.Errorf("%v\n%s", err, out)
	}
}

func gate(t *testing.T, name string) []string {
	t.Helper()
	if os.Getenv(name) == "" {
		t.Skip(name + " is not set; .ci/reaper-places sets it")
	}
	return strings.Split(os.Getenv(name), ",")
}

// staticBinary is a path of this test binary that needs no library.
func staticBinary(t *testing.T) string {
	t.Helper()
	if path := os.Getenv(binaryEnv); path != "" {
		return path
	}
	t.Skip(binaryEnv + " is not set; .ci/reaper-places sets it")
	return ""
}

// Process 1 of a container whose image is nothing but the test binary.
func TestPlaceContainer(t *testing.T) {
	for _, command := range gate(t, runtimesEnv) {
		words := strings.Fields(command)
		t.Run(filepath.Base(words[0]), func(t *testing.T) {
			bundle := t.TempDir()
			root := filepath.Join(bundle, "rootfs")
			copyFile(t, staticBinary(t), filepath.Join(root, "init"))
			config, err := json.MarshalIndent(ociConfig(placeEnv()), "", "\t")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o644); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			id := "autorestart-test-" + strconv.Itoa(os.Getpid())
			cmd := exec.CommandContext(ctx, words[0], append(words[1:],
				"--root", filepath.Join(bundle, "state"), "run", "--bundle", bundle, id)...)
			out, err := cmd.CombinedOutput()
			checkPlace(t, out, err)
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

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	// No other goroutine may fork while the file is open for writing, or executing
	// it fails with ETXTBSY.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

// Process 1 of another kernel, with an initramfs that holds the test binary and
// two device nodes.
func TestPlaceKernel(t *testing.T) {
	for _, kernel := range gate(t, kernelsEnv) {
		t.Run(filepath.Base(kernel), func(t *testing.T) {
			binary, err := os.ReadFile(staticBinary(t))
			if err != nil {
				t.Fatal(err)
			}
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
			append := "console=ttyS0 quiet panic=-1 POWEROFF=1"
			for _, e := range placeEnv() {
				append += ` "` + e + `"`
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
				"-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "512", "-nodefaults", "-no-reboot",
				"-display", "none", "-serial", "stdio",
				"-kernel", kernel, "-initrd", initramfs, "-append", append)
			out, err := cmd.CombinedOutput()
			checkPlace(t, out, err)
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

// What this place is like, for the log.
func TestPlaceHere(t *testing.T) {
	cmd := scenarioCommand(t, "place", "")
	out, err := cmd.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if place, ok := strings.CutPrefix(line, "place: "); ok {
			t.Log(strings.TrimSpace(place))
		}
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
