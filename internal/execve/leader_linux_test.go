//go:build !autorestart_portable

package execve

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// The helpers change the main thread on purpose: the main goroutine is locked to it.
func init() {
	if os.Getenv(testprocess.HelperEnv) != "" {
		runtime.LockOSThread()
	}
}

var (
	_ = testprocess.RegisterHelper("main thread elsewhere", func() {
		check := func(err error) {
			if err != nil {
				fmt.Print(err)
				os.Exit(1)
			}
		}
		check(unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC))
		check(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		check(unix.Mount("none", "/proc/irq", "tmpfs", 0, ""))
		check(unix.Chdir("/proc/irq"))
		RememberLeader()
		main := has(mainThread)
		check(onOther(func() error {
			if now := has(thisThread); now != main {
				return fmt.Errorf("executes with %s, main has %s", now, main)
			}
			return nil
		}))
		fmt.Print("like main")
	})
	_ = testprocess.RegisterHelper("main thread with less", func() {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			fmt.Print(err)
			return
		}
		RememberLeader()
		err := onOther(func() error { return errors.New("it was called") })
		fmt.Print(errors.Is(err, ErrNoThread), " ", err)
	})
)

// onOther calls AsLeader in another goroutine, which can't come to the main thread.
func onOther(f func() error) error {
	result := make(chan error)
	go func() { result <- AsLeader(f) }()
	return <-result
}

// has returns what a thread has, as proc(5) says.
func has(thread string) (all string) {
	for _, link := range []string{"ns/mnt", "ns/uts", "ns/net", "ns/ipc", "cwd", "root"} {
		target, err := os.Readlink(thread + link)
		all += fmt.Sprintln(link, target, err)
	}
	return all + readRights(thread)
}

func runHelper(t *testing.T, env string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), env)
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, output)
	}
	return string(output)
}

// A main thread that is in other namespaces on purpose counts, not those that other threads are
// in.
func TestMainThreadElsewhere(t *testing.T) {
	env := testprocess.UseHelper(t, "main thread elsewhere")
	if os.Geteuid() != 0 {
		t.Skip("needs root for namespaces")
	}
	if output := runHelper(t, env); output != "like main" {
		t.Error(output)
	}
}

// Nothing is executed with more rights than the main thread has.
func TestNoThreadIsLikeMain(t *testing.T) {
	const want = "true no thread is like the main one: it has NoNewPrivs:\t0, and not NoNewPrivs:\t1"
	if output := runHelper(t, testprocess.UseHelper(t, "main thread with less")); output != want {
		t.Errorf("%q, want %q", output, want)
	}
}
