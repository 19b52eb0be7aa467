//go:build !autorestart_portable

package execve

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/forcefallback"
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
		for _, less := range strings.Split(os.Getenv("LESS"), ",") {
			if err := giveUp[less](); err != nil {
				fmt.Print(less, " ", err)
				return
			}
		}
		if os.Getenv("FILTER") != "" {
			if err := forcefallback.KillAll(unix.SYS_CAPSET); err != nil {
				fmt.Print(err)
				return
			}
		}
		RememberLeader()
		main := readRights(mainThread)
		fmt.Print(onOther(func() error {
			if now := readRights(thisThread); now != main {
				return fmt.Errorf("executes with %s, main has %s", now, main)
			}
			return errors.New("like main")
		}))
	})
	_ = testprocess.RegisterHelper("main thread with a filter", func() {
		if err := forcefallback.Deny(forcefallback.Denial{Call: unix.SYS_PERSONALITY, Arg: -1, Errno: unix.ENOSYS}); err != nil {
			fmt.Print(err)
			return
		}
		RememberLeader()
		err := onOther(func() error { return errors.New("it was called") })
		fmt.Print(errors.Is(err, ErrNoThread), " ", err)
	})
	_ = testprocess.RegisterHelper("memory is short", func() {
		RememberLeader()
		fmt.Print(PrepareExecutor())
	})
	_ = testprocess.RegisterHelper("main thread remembered meanwhile", func() {
		for range 10 {
			RememberLeader()
			result := make(chan error)
			go func() { result <- AsLeader(func() error { return nil }) }()
			RememberLeader()
			if err := <-result; err != nil {
				fmt.Print(err)
			}
		}
	})
)

// giveUp has rights that a thread can give up for itself.
var giveUp = map[string]func() error{
	"new privileges": func() error { return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) },
	"bounding":       func() error { return unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_RAWIO, 0, 0, 0) },
	"capabilities": func() error {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var sets [2]unix.CapUserData
		if err := unix.Capget(&header, &sets[0]); err != nil {
			return err
		}
		sets[0].Effective &^= 1 << unix.CAP_SYS_TIME
		sets[0].Permitted &^= 1 << unix.CAP_SYS_RAWIO
		sets[0].Effective &^= 1 << unix.CAP_SYS_RAWIO
		return unix.Capset(&header, &sets[0])
	},
}

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
	return runCommand(t, env, os.Args[0])
}

func runCommand(t *testing.T, env string, args ...string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
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

// TestMainThreadWithLess: a program that gives up rights in main does so for the main thread,
// unless it takes care of all others. It restarts all the same, without them.
func TestMainThreadWithLess(t *testing.T) {
	env := testprocess.UseHelper(t, "main thread with less")
	for _, test := range []struct {
		less      string
		needsRoot bool
	}{{"new privileges", false}, {"bounding", true}, {"capabilities", true}, {"bounding,capabilities,new privileges", true}} {
		t.Run(test.less, func(t *testing.T) {
			if test.needsRoot && os.Geteuid() != 0 {
				t.Skip("needs root for capabilities")
			}
			t.Setenv("LESS", test.less)
			if output := runHelper(t, env); output != "like main" {
				t.Error(output)
			}
		})
	}
}

// TestMainThreadWithLessUnderFilter: a filter that ends the process at capset(2), as systemd's
// SystemCallFilter=~@privileged does, ends no process that restarts. A thread that can't give up its
// capabilities does not execute. Other rights are given up without that call.
func TestMainThreadWithLessUnderFilter(t *testing.T) {
	env := testprocess.UseHelper(t, "main thread with less")
	if os.Geteuid() != 0 {
		t.Skip("needs root for capabilities")
	}
	t.Setenv("FILTER", "yes")
	for less, want := range map[string]string{
		"bounding":     "like main",
		"capabilities": "no thread has the rights and namespaces of the main one: it has CapPrm",
	} {
		t.Run(less, func(t *testing.T) {
			t.Setenv("LESS", less)
			if output := runHelper(t, env); !strings.HasPrefix(output, want) {
				t.Errorf("%q, want %q", output, want)
			}
		})
	}
}

// Nothing is executed with more rights than the main thread has.
func TestNoThreadIsLikeMain(t *testing.T) {
	const want = "true no thread has the rights and namespaces of the main one: it has "
	if output := runHelper(t, testprocess.UseHelper(t, "main thread with a filter")); !strings.HasPrefix(output, want) {
		t.Errorf("%q, want %q", output, want)
	}
}

// What is known of the main thread may be asked for anew, by a watcher that begins, while an exec
// compares its thread with it. The race detector would see that.
func TestMainThreadRememberedMeanwhile(t *testing.T) {
	if output := runHelper(t, testprocess.UseHelper(t, "main thread remembered meanwhile")); output != "" {
		t.Error(output)
	}
}

// A thread whose namespaces can't be read for a moment, because memory is short, may execute.
func TestThreadWhenMemoryIsShort(t *testing.T) {
	env := testprocess.UseHelper(t, "memory is short")
	testprocess.NeedTool(t, "strace")
	for _, short := range []struct{ when, want string }{
		{"3+3", "<nil>"},
		{"1+1", "no thread has the rights and namespaces of the main one: its mnt namespace can't be read: cannot allocate memory"},
	} {
		output := runCommand(t, env, "strace", "-f", "-qqq", "-o", filepath.Join(t.TempDir(), "strace"),
			"-e", "trace=readlinkat", "-e", "inject=readlinkat:error=ENOMEM:when="+short.when, os.Args[0])
		if !strings.HasSuffix(output, short.want) { // the race detector may have written before
			t.Errorf("calls %s fail: %q, want %q", short.when, output, short.want)
		}
	}
}
