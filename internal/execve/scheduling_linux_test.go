//go:build !autorestart_portable

package execve

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/forcefallback"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// schedulingFilters are the filters of the processes that these tests start.
var schedulingFilters = map[string]func() error{
	"none": func() error { return nil },
	// as container runtimes have one
	"harmless": func() error {
		return forcefallback.DenyAll(forcefallback.Denial{Call: unix.SYS_PERSONALITY, Arg: -1, Errno: unix.ENOSYS})
	},
	// as SystemCallErrorNumber= has it
	"errors": func() error {
		var denials []forcefallback.Denial
		for _, call := range forcefallback.Resources {
			denials = append(denials, forcefallback.Denial{Call: call, Arg: -1, Errno: unix.EPERM})
		}
		return forcefallback.DenyAll(denials...)
	},
	"kills":       func() error { return forcefallback.KillAll(forcefallback.Resources...) },
	"kills at IO": func() error { return forcefallback.KillAll(unix.SYS_IOPRIO_SET) },
}

// changeScheduling gives this thread what no other has.
func changeScheduling() error {
	err := unix.Setpriority(unix.PRIO_PROCESS, 0, 5)
	const idle = 3 << 13
	if _, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWhoProcess, 0, idle); errno != 0 {
		err = errors.Join(err, errno)
	}
	var cpus unix.CPUSet
	err = errors.Join(err, unix.SchedGetaffinity(0, &cpus))
	for cpu := range 1024 {
		if cpus.IsSet(cpu) {
			cpus.Zero()
			cpus.Set(cpu)
		}
	}
	return errors.Join(err, unix.SchedSetaffinity(0, &cpus))
}

var _ = testprocess.RegisterHelper("thread with other scheduling", func() {
	RememberLeader()
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		result <- errors.Join(changeScheduling(), forcefallback.KillAll(forcefallback.Resources...))
		result <- AsLeader(func() error {
			if !hasScheduling() {
				return errors.New("executes with other scheduling")
			}
			return nil
		})
	}()
	fmt.Print(<-result, " ", <-result)
})

// A thread that differs is no reason to lose the scheduling of the main thread, while others are like it.
func TestOneThreadWithOtherScheduling(t *testing.T) {
	if output := runHelper(t, testprocess.UseHelper(t, "thread with other scheduling")); output != "<nil> <nil>" {
		t.Error(output)
	}
}

// schedulingKept returns how many threads execute, and in what the last of them differs from the
// main one.
func schedulingKept() (executed int, differs [numSettings]bool) {
	for range 3 {
		onOther(func() error {
			executed++
			own, main := schedulingOf(0), schedulingOf(os.Getpid())
			differs = own.differencesTo(&main)
			return errors.New("as an exec that fails")
		})
	}
	return executed, differs
}

var _ = testprocess.RegisterHelper("main thread with other scheduling", func() {
	RememberLeader()
	fmt.Print(errors.Join(changeScheduling(), schedulingFilters[os.Getenv("FILTER")]()), " ")
	fmt.Print(schedulingKept())
	loses := make(chan bool)
	for range 2 {
		go func() { loses <- LosesScheduling() }()
		fmt.Print(" ", <-loses)
	}
	_, err := unix.Wait4(-1, nil, unix.WALL, nil)
	fmt.Print(" ", err)
})

// TestSchedulingUnderFilter: a filter that ends the process at a call that sets the scheduling of a
// thread does not end a process that restarts. Under any other filter, the scheduling is kept.
func TestSchedulingUnderFilter(t *testing.T) {
	env := testprocess.UseHelper(t, "main thread with other scheduling")
	for filter, want := range map[string]string{
		"none":        "<nil> 3 [false false false] false false no child processes",
		"harmless":    "<nil> 3 [false false false] false false no child processes",
		"errors":      "<nil> 3 [true true true] false false no child processes",
		"kills":       "<nil> 3 [true true true] true false no child processes",
		"kills at IO": "<nil> 3 [false false true] true false no child processes",
	} {
		t.Run(filter, func(t *testing.T) {
			t.Setenv("FILTER", filter)
			if output := runHelper(t, env); !strings.HasSuffix(output, want) {
				t.Errorf("%q, want %q", output, want)
			}
		})
	}
}
