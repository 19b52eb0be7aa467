//go:build !autorestart_portable

package verify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/forcefallback"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// The helper runs the shell with its arguments, a script and the name of a file, and prints
// the answer. It writes its own PID namespace to a file beside that.
var _ = testprocess.RegisterHelper("run", func() {
	exe, err := os.Open("/bin/sh")
	if err != nil {
		panic(err)
	}
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		panic(err)
	}
	if err := os.WriteFile(os.Args[2]+".own", []byte(own), 0o644); err != nil {
		panic(err)
	}
	fmt.Print(Run(time.Minute, append([]string{"-c"}, os.Args[1:]...)...)(context.Background(), exe))
})

var denials = map[string]forcefallback.Denial{
	"no unshare": {Call: unix.SYS_UNSHARE, Arg: -1, Errno: unix.EPERM},
	"no setns":   {Call: unix.SYS_SETNS, Arg: -1, Errno: unix.EPERM},
	"no clone3":  {Call: unix.SYS_CLONE3, Arg: -1, Errno: unix.ENOSYS},
}

// The helper denies itself a system call, and becomes the helper run.
var _ = testprocess.RegisterHelper("denied", func() {
	runtime.LockOSThread()
	if err := forcefallback.Deny(denials[os.Args[1]]); err != nil {
		fmt.Print(err)
		os.Exit(4)
	}
	os.Setenv(testprocess.HelperEnv, "run")
	panic(syscall.Exec("/proc/self/exe", append(os.Args[:1], os.Args[2:]...), os.Environ()))
})

// The helper hides a directory from itself, and runs the shell with its other arguments.
var _ = testprocess.RegisterHelper("without directory", func() {
	runtime.LockOSThread()
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	err = forcefallback.PrivateMounts()
	if err == nil {
		err = forcefallback.Hide(os.Args[1])
	}
	if err != nil {
		fmt.Print(err)
		os.Exit(4)
	}
	os.Setenv(testprocess.HelperEnv, "run plainly")
	panic(syscall.Exec(self, append(os.Args[:1], os.Args[2:]...), os.Environ()))
})

var _ = testprocess.RegisterHelper("run plainly", func() {
	exe, err := os.Open("/bin/sh")
	if err != nil {
		panic(err)
	}
	fmt.Print(Run(time.Minute, append([]string{"-c"}, os.Args[1:]...)...)(context.Background(), exe))
})

// where is the rest of a script: it tells where the program is.
const where = `cat /proc/self/cgroup >$0.where; readlink /proc/self/ns/pid >>$0.where; exit 0`

// runElsewhere runs the script survivor in a process of its own. It returns the files with
// the PID, and with the cgroup and the PID namespace.
func runElsewhere(t *testing.T, helper string, args []string, attr *syscall.SysProcAttr) (pidFile, place string) {
	t.Helper()
	testprocess.NeedTool(t, "setsid")
	dir := t.TempDir()
	if attr.Credential != nil {
		var err error
		if dir, err = os.MkdirTemp("", "autorestart"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	pidFile = filepath.Join(dir, "pid")
	cmd := exec.Command("/proc/self/exe", append(args, survivor+where, pidFile)...)
	cmd.Env = append(os.Environ(), testprocess.UseHelper(t, helper))
	cmd.SysProcAttr = attr
	output, err := cmd.CombinedOutput()
	if err != nil || string(output) != "<nil>" {
		if cmd.ProcessState.ExitCode() == 4 {
			t.Skip(string(output))
		}
		t.Fatalf("%v; output %q", err, output)
	}
	return pidFile, string(testprocess.ReadFile(t, pidFile+".where"))
}

// wantSurvivor checks that the process of the script survivor has survived, and ends it.
func wantSurvivor(t *testing.T, pidFile string) {
	t.Helper()
	pid := readPID(t, pidFile)
	if !alive(pid) {
		t.Errorf("process %d has ended", pid)
	}
	syscall.Kill(pid, syscall.SIGKILL)
	wantKilled(t, pidFile)
}

func ownNamespace(t *testing.T) string {
	t.Helper()
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	return own
}

// Where the kernel denies the means, as containers do even to root, the answer is the same.
func TestRunFallsBack(t *testing.T) {
	for _, denial := range []string{"no unshare", "no setns"} {
		t.Run(denial, func(t *testing.T) {
			pidFile, where := runElsewhere(t, "denied", []string{denial}, &syscall.SysProcAttr{})
			if !strings.Contains(where, ownNamespace(t)) {
				t.Errorf("in %q, expected %s", where, ownNamespace(t))
			}
			wantSurvivor(t, pidFile)
		})
	}
}

// In a chroot there may be no /proc, by which the program is executed otherwise, and no
// /dev/null, which it reads.
func TestRunInMinimalRoot(t *testing.T) {
	testprocess.UseHelper(t, "run plainly")
	for _, missing := range []string{"/proc", "/dev"} {
		for script, want := range map[string]string{"read x || exit 0; exit 4": "<nil>", "exit 3": "exit status 3"} {
			cmd := exec.Command("/proc/self/exe", missing, script)
			cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "without directory"))
			output, err := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() == 4 {
				t.Skip(string(output))
			}
			if err != nil || !strings.Contains(string(output), want) {
				t.Errorf("without %s, %s: %q, %v; want %s", missing, script, output, err, want)
			}
		}
	}
}

// A process that is root of its user namespace, and process 1 of its PID namespace, can make
// another one. So it is in a container.
func TestRunInUserNamespace(t *testing.T) {
	if err := forcefallback.UserNamespaces(); err != nil {
		t.Skip("no user namespaces here: ", err)
	}
	attr := new(syscall.SysProcAttr)
	forcefallback.OwnUserNamespace(attr)
	attr.Cloneflags |= unix.CLONE_NEWPID
	pidFile, where := runElsewhere(t, "run", nil, attr)
	for _, outside := range []string{ownNamespace(t), string(testprocess.ReadFile(t, pidFile+".own"))} {
		if strings.Contains(where, outside) {
			t.Errorf("in %q, expected another PID namespace than %s", where, outside)
		}
	}
	wantKilled(t, pidFile)
}

// Run uses the cgroup of its process if that is delegated, and leaves any other alone.
func TestRunInOwnCgroup(t *testing.T) {
	const user = 65534
	for _, tt := range []struct {
		name      string
		prepare   func(dir string) error
		user      uint32
		helper    string
		args      []string
		delegated bool // the program is in a cgroup of its own
		killed    bool
	}{
		{"not delegated", func(string) error { return nil }, 0, "run", nil, false, true},
		{"marked for users", func(dir string) error { return unix.Setxattr(dir, "user.delegate", []byte("1"), 0) }, 0, "run", nil, true, true},
		{"marked for root", func(dir string) error { return unix.Setxattr(dir, "trusted.delegate", []byte("1"), 0) }, 0, "run", nil, true, true},
		{"marked otherwise", func(dir string) error { return unix.Setxattr(dir, "user.delegate", []byte("0"), 0) }, 0, "run", nil, false, true},
		{"marked, no clone3", func(dir string) error { return unix.Setxattr(dir, "user.delegate", []byte("1"), 0) }, 0, "denied", []string{"no clone3"}, false, true},
		{"marked, of another user", func(dir string) error {
			return errors.Join(unix.Setxattr(dir, "user.delegate", []byte("1"), 0), giveAway(dir, user))
		}, 0, "run", nil, false, true},
		{"of the user", func(dir string) error { return giveAway(dir, user) }, user, "run", nil, true, true},
		{"of root", func(string) error { return nil }, user, "run", nil, false, false},
		{"marked, of root", func(dir string) error { return unix.Setxattr(dir, "user.delegate", []byte("1"), 0) }, user, "run", nil, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := newCgroup(t)
			if err := tt.prepare(dir); errors.Is(err, errors.ErrUnsupported) {
				t.Skip("no extended attributes of cgroups here: ", err)
			} else if err != nil {
				t.Fatal(err)
			}
			testInCgroup(t, dir, tt.user, tt.helper, tt.args, tt.delegated, tt.killed)
		})
	}
	t.Run("of the user, made by the user", func(t *testing.T) {
		above := newCgroup(t)
		dir := filepath.Join(above, "service")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{above, dir} {
			if err := giveAway(dir, user); err != nil {
				t.Fatal(err)
			}
		}
		testInCgroup(t, dir, user, "run", nil, false, false)
	})
}

// giveAway does what systemd does to delegate a cgroup to a user.
func giveAway(dir string, uid int) error {
	for _, name := range []string{"", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"} {
		if err := os.Chown(filepath.Join(dir, name), uid, uid); err != nil {
			return err
		}
	}
	return nil
}

func testInCgroup(t *testing.T, dir string, user uint32, helper string, args []string, delegated, killed bool) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	attr := &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.Fd())}
	if user != 0 {
		attr.Credential = &syscall.Credential{Uid: user, Gid: user}
	}
	pidFile, where := runElsewhere(t, helper, args, attr)
	if got := strings.Contains(where, "/autorestart-verify-"); got != delegated {
		t.Errorf("in %q; in a cgroup of its own: %v, expected %v", where, got, delegated)
	}
	if delegated && !strings.Contains(where, ownNamespace(t)) {
		t.Errorf("in %q, expected %s", where, ownNamespace(t))
	}
	if killed {
		wantKilled(t, pidFile)
	} else {
		wantSurvivor(t, pidFile)
	}
	if left, err := filepath.Glob(dir + "/*/"); err != nil || left != nil {
		t.Errorf("left %q, %v", left, err)
	}
}

// A program may make cgroups in its own.
func TestRunRemovesCgroups(t *testing.T) {
	parent := newCgroup(t)
	m := means{starter: func(ctx context.Context, cmd *exec.Cmd) (scope, error) { return startInCgroupBelow(ctx, parent, cmd) }}
	pidFile := filepath.Join(t.TempDir(), "pid")
	script := `for own in "$1"/autorestart-verify-*; do mkdir -p "$own/a/b"; done
		sh -c 'read pid rest </proc/self/stat; echo $pid >"$1/cgroup.procs"; echo $pid >$0; exec sleep 1000' $0 "$own/a/b" &
		until [ -s $0 ]; do sleep .01; done; exit 0`
	if err := m.run(time.Minute, "-c", script, pidFile, parent)(context.Background(), openShell(t)); err != nil {
		t.Error(err)
	}
	wantKilled(t, pidFile)
	if left, err := filepath.Glob(parent + "/*/"); err != nil || left != nil {
		t.Errorf("left %q, %v", left, err)
	}
}

// The program ends with the process that verifies it, also when that is killed.
func TestNamespaceEndsWithItsProcess(t *testing.T) {
	needNamespace(t)
	pidFile := filepath.Join(t.TempDir(), "pid")
	cmd := exec.Command("/proc/self/exe", "read pid rest </proc/self/stat; echo $pid >$0; sleep 1000", pidFile)
	cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "run"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	testprocess.WaitFor(t, "program", func() bool {
		info, err := os.Stat(pidFile)
		return err == nil && info.Size() > 0
	})
	cmd.Process.Kill()
	cmd.Wait()
	wantKilled(t, pidFile)
}

func TestCgroupDir(t *testing.T) {
	const (
		hybrid = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw\n" +
			"32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:7 - cgroup cgroup rw,cpu\n" +
			"41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n"
		unified = "26 23 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
		part    = "26 23 0:27 /a/b /mnt ro - cgroup2 cgroup2 rw\n"
		space   = "26 23 0:27 / /mnt/a\\040b rw - cgroup2 cgroup2 rw\n"
	)
	for _, tt := range []struct {
		name, self, mounts, dir string
		isRoot                  bool
	}{
		{"unified", "0::/system.slice/app.service\n", unified, "/sys/fs/cgroup/system.slice/app.service", false},
		{"root", "0::/\n", unified, "/sys/fs/cgroup", true},
		{"hybrid", "4:memory:/x\n1:name=systemd:/y\n0::/z\n", hybrid, "/sys/fs/cgroup/unified/z", false},
		{"version 1", "4:memory:/x\n", hybrid, "", false},
		{"not mounted", "0::/z\n", "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n", "", false},
		{"outside of the namespace", "0::/../z\n", unified, "", false},
		{"part of the tree", "0::/a/b/c\n", part, "/mnt/c", false},
		{"top of a part", "0::/a/b\n", part, "/mnt", true},
		{"outside of the part", "0::/a/bc\n", part, "", false},
		{"the part that is mounted", "0::/a/c\n", unified + part, "/sys/fs/cgroup/a/c", false},
		{"name", "0::/z\n", space, "", false},
		{"nothing", "", "", "", false},
		{"cut off", "0::/z", "41 31 0:38 / - cgroup2", "", false},
	} {
		if dir, isRoot := cgroupDir(tt.self, tt.mounts); dir != tt.dir || isRoot != tt.isRoot {
			t.Errorf("%s: got %q, %v, expected %q, %v", tt.name, dir, isRoot, tt.dir, tt.isRoot)
		}
	}
}
