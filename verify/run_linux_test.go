//go:build !autorestart_portable

package verify

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// Run by itself finds the means that kill everything, as root.
func TestRunChoosesMeans(t *testing.T) {
	testprocess.NeedTool(t, "setsid")
	needNamespace(t)
	pidFile := filepath.Join(t.TempDir(), "pid")
	if err := Run(time.Minute, "-c", survivor+"exit 0", pidFile)(context.Background(), openShell(t)); err != nil {
		t.Error(err)
	}
	wantKilled(t, pidFile)
	wantNoChildren(t)
}

// Run leaves no descriptor, and no thread in another namespace.
func TestRunLeaksNothing(t *testing.T) {
	eachMeans(t, func(t *testing.T, m means) {
		exe := openShell(t)
		check := func() {
			t.Helper()
			if err := m.run(time.Minute, "-c", "exit 0")(context.Background(), exe); err != nil {
				t.Fatal(err)
			}
		}
		check() // the poller of the runtime has descriptors, too
		before := len(testprocess.Glob(t, "/proc/self/fd/*"))
		for range 10 {
			check()
		}
		if after := len(testprocess.Glob(t, "/proc/self/fd/*")); after > before {
			t.Errorf("%d descriptors, %d before", after, before)
		}
		own, err := os.Readlink("/proc/self/ns/pid")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range testprocess.Glob(t, "/proc/self/task/*/ns/pid_for_children") {
			if target, err := os.Readlink(name); err == nil && target != own {
				t.Errorf("%s is %s, not %s", name, target, own)
			}
		}
	})
}

// A candidate may be a script, and may have capabilities or be setuid.
func TestRunOfUnusualPrograms(t *testing.T) {
	for _, tt := range []struct {
		name    string
		content string // that of the shell if ""
		prepare func(t *testing.T, name string)
	}{
		{"script", "#!/bin/sh\nsleep 0 & wait\n[ \"$1\" = -c ] || exit 7\nexit 0\n", func(*testing.T, string) {}},
		{"capabilities", "", func(t *testing.T, name string) {
			if os.Getuid() != 0 {
				t.Skip("needs root for file capabilities")
			}
			testprocess.Run(t, "setcap", "cap_net_bind_service+ep", name)
		}},
		{"setuid", "", func(t *testing.T, name string) {
			if os.Getuid() != 0 {
				t.Skip("needs root to give files away")
			}
			if err := os.Chown(name, 65534, 65534); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(name, 0o4755); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			content := []byte(tt.content)
			if tt.content == "" {
				content = testprocess.ReadFile(t, "/bin/sh")
			}
			name := filepath.Join(t.TempDir(), "app")
			testprocess.WriteExecutable(t, name, content)
			tt.prepare(t, name)
			exe, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer exe.Close()
			eachMeans(t, func(t *testing.T, m means) {
				if err := m.run(time.Minute, "-c", "exit 0")(context.Background(), exe); err != nil {
					t.Error(err)
				}
				wantNoChildren(t)
			})
		})
	}
}

// The helper is a candidate in Go: it looks for itself in /proc, and starts a child.
var _ = testprocess.RegisterHelper("candidate", func() {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		panic(err)
	}
	child, err := os.StartProcess("/bin/sh", []string{"sh", "-c", "exit 9"}, &os.ProcAttr{})
	if err != nil {
		panic(err)
	}
	state, err := child.Wait()
	if err != nil || state.ExitCode() != 9 || os.Getpid() == 1 {
		panic(state)
	}
	os.Stdout.WriteString(exe)
	os.Exit(5)
})

func TestRunOfGoProgram(t *testing.T) {
	name, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	env, value, _ := strings.Cut(testprocess.UseHelper(t, "candidate"), "=")
	t.Setenv(env, value)
	eachMeans(t, func(t *testing.T, m means) {
		err := m.run(time.Minute)(context.Background(), exe)
		if err == nil || !strings.Contains(err.Error(), `exit status 5, output "`+name+`"`) {
			t.Error(err)
		}
		wantNoChildren(t)
	})
}

// A file with a lease of this process can be verified. What survives the program does not
// keep the lease: the file can be written.
func TestRunUnderLease(t *testing.T) {
	testprocess.NeedTool(t, "setsid")
	eachMeans(t, func(t *testing.T, m means) {
		name := filepath.Join(t.TempDir(), "app")
		testprocess.WriteExecutable(t, name, testprocess.ReadFile(t, "/bin/sh"))
		exe, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer exe.Close()
		if _, err := unix.FcntlInt(exe.Fd(), unix.F_SETLEASE, unix.F_RDLCK); err != nil {
			t.Skip("no lease here: ", err)
		}
		pidFile := filepath.Join(t.TempDir(), "pid")
		if err := m.run(time.Minute, "-c", survivor+"exit 0", pidFile)(context.Background(), exe); err != nil {
			t.Error(err)
		}
		if lease, err := unix.FcntlInt(exe.Fd(), unix.F_GETLEASE, 0); err != nil || lease != unix.F_RDLCK {
			t.Errorf("lease %d, %v: it is lost", lease, err)
		}
		pid := readPID(t, pidFile)
		defer syscall.Kill(pid, syscall.SIGKILL)
		exe.Close()
		f, err := os.OpenFile(name, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal("the lease is held: ", err) // EWOULDBLOCK
		}
		f.Close()
	})
}
