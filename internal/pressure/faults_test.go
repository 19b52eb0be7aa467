//go:build linux && !autorestart_portable

package pressure

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A fault is an error that a system call may return for a while. Calls by which a handler
// or package net gives up a request are not among them, such as epoll_ctl(2) for a
// connection that was just accepted. Nor is fcntl(2), of which only some commands can fail
// like that; mode full lets these fail.
type fault struct {
	call   string
	every  int // about so many calls of a thread; a file is read by hundreds
	errors []string
}

var faults = []fault{
	{"accept4", 40, []string{"EMFILE", "ENFILE", "ENOMEM", "EINTR", "ENOBUFS"}},
	{"dup3", 4, []string{"EMFILE"}},
	{"execve", 3, []string{"EMFILE", "ENFILE", "ENOMEM", "EAGAIN"}},
	{"getdents64", 10, []string{"ENOMEM", "EINTR"}},
	{"inotify_add_watch", 60, []string{"ENOMEM", "ENOSPC"}},
	{"inotify_init1", 10, []string{"EMFILE", "ENFILE", "ENOMEM"}},
	{"memfd_create", 4, []string{"EMFILE", "ENFILE", "ENOMEM"}},
	{"newfstatat", 30, []string{"EINTR", "ENOMEM"}},
	{"openat", 40, []string{"EMFILE", "ENFILE", "ENOMEM", "EINTR"}},
	{"pread64", 1000, []string{"EINTR", "ENOMEM"}},
	{"readlinkat", 10, []string{"ENOMEM"}},
}

// injectFaults starts the server under strace(1), which lets system calls fail now and
// then. It counts the calls of each thread.
func (r *run) injectFaults() {
	if testing.Short() {
		r.t.Skip("builds a program")
	}
	testprocess.NeedTool(r.t, "strace")
	r.deployStatic()
	record := filepath.Join(r.t.TempDir(), "strace")
	args := []string{"strace", "-D", "-f", "--seccomp-bpf", "-qqq", "-Z", "-ttt", "-o", record}
	var calls, rules []string
	for _, f := range faults {
		if f.call == "dup3" && r.mode.overlap {
			continue // a child begins to count, and the same call would fail in each
		}
		calls = append(calls, f.call)
		rules = append(rules, "-e", f.rule(r.rand, r.mode.overlap))
	}
	args = append(append(args, "-e", "signal=none", "-e", "trace="+strings.Join(calls, ",")), rules...)
	r.d.Cmd.Args = append(args, "--", r.d.Path)
	var err error
	if r.d.Cmd.Path, err = exec.LookPath("strace"); err != nil {
		r.t.Fatal(err)
	}
	r.notes = append(r.notes, strings.Join(rules, " "))
	r.t.Cleanup(func() {
		content, err := os.ReadFile(record)
		if err != nil {
			r.t.Error(err)
		}
		n := strings.Count(string(content), "(INJECTED)")
		r.t.Logf("%d faults", n)
		if n == 0 {
			r.t.Error("strace has injected no fault")
		}
	})
}

// deployStatic deploys a server that needs no dynamic loader, which would give up at the
// first error.
func (r *run) deployStatic() {
	static := filepath.Join(r.t.TempDir(), "static")
	testprocess.BuildTest(r.t, static, "internal/pressure")
	r.content = append(testprocess.ReadFile(r.t, static), daemontest.Trailer(1)...)
	r.d.DeployBytes(r.content)
}

// rule returns the option of strace for the fault, with random numbers. With children, the first
// call of a thread does not fail: execve(2) is called once in each.
func (f fault) rule(random *rand.Rand, children bool) string {
	errno, first := f.errors[random.IntN(len(f.errors))], 1+random.IntN(f.every)
	if children {
		first++
	}
	return fmt.Sprintf("inject=%s:error=%s:when=%d+%d", f.call, errno, first, f.every/2+1+random.IntN(f.every))
}
