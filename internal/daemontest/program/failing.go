//go:build linux

package program

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/forcefallback"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// failing are the commands for an exec that fails at its last step.
var failing = map[string]func(argument string) string{
	// restart-too-long restarts with an environment that becomes too long for execve(2)
	// right before the exec.
	"restart-too-long": func(string) string {
		defer os.Unsetenv(tooLong)
		return restartBriefly(func(context.Context) error {
			return os.Setenv(tooLong, strings.Repeat("x", 1<<20))
		})
	},
	// fill-table opens files until no descriptor is left.
	"fill-table": func(string) string { return fillTable().Error() },
	// restart-full ENV restarts with a table of descriptors that fills right before the exec,
	// and without memfd_create(2) if ENV says so.
	"restart-full": func(env string) string {
		runtime.LockOSThread() // no_new_privs is its own until the filter is there
		defer runtime.UnlockOSThread()
		if env == "without-memfd" {
			if err := forcefallback.DenyAll(memfd); err != nil {
				return err.Error()
			}
		}
		return restartBriefly(func(context.Context) error {
			fillTable()
			return nil
		})
	},
	// restart-with-free N restarts with so many free descriptors.
	"restart-with-free": func(argument string) string {
		fillTable()
		for range daemontest.Must(strconv.Atoi(argument)) {
			last := len(keptOpen) - 1
			unix.Close(keptOpen[last])
			keptOpen = keptOpen[:last]
		}
		return restartBriefly(nil)
	},
	// restart-limited SOFT HARD restarts, with such limits of open files right before the exec.
	"restart-limited": func(limits string) string {
		return restartBriefly(func(context.Context) error {
			var limit unix.Rlimit
			if _, err := fmt.Sscan(limits, &limit.Cur, &limit.Max); err != nil {
				return err
			}
			return unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
		})
	},
	// lend-inheritable NAME lends the store a file that is not close-on-exec.
	"lend-inheritable": func(name string) string {
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY, 0)
		if err == nil {
			err = image.Current().Store.Lend(passing.ProgramName(name), fd, nil, time.Now())
		}
		return fmt.Sprint(err)
	},
	"environment": func(string) string { return strings.Join(os.Environ(), "\n") },
	// tell-directory has a drainer say the working directory when it is quiesced.
	"tell-directory": func(string) string {
		autorestart.RegisterDrainer(directoryTeller{})
		return ""
	},
}

// restartBriefly restarts, with a rollback if there can be one, and gives up when an attempt
// has failed: once that has been logged, or in the next attempt, at BeforeExec.
func restartBriefly(beforeExec func(context.Context) error) (failure string) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r := autorestart.Restarter{Logger: testprocess.OnWarning(cancel)}
	if handover.CanRollBack {
		r.ReadyTimeout = time.Hour
	}
	if beforeExec != nil {
		attempts := 0
		r.BeforeExec = func(ctx context.Context, _ *autorestart.ExecPlan) error {
			if attempts++; attempts > 1 {
				cancel()
			}
			return beforeExec(ctx)
		}
	}
	return r.Restart(ctx).Error()
}

// keptOpen are the descriptors of fillTable.
var keptOpen []int

func fillTable() error {
	for {
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		keptOpen = append(keptOpen, fd)
	}
}

// memfd is denied by an old kernel, or in a container.
var memfd = forcefallback.Denial{Call: unix.SYS_MEMFD_CREATE, Arg: -1, Errno: unix.ENOSYS}

type directoryTeller struct{}

func (directoryTeller) Quiesce() {
	dir, err := os.Readlink("/proc/self/cwd")
	daemontest.Say("quiesced", fmt.Sprint(dir, err))
}
func (directoryTeller) Drain(context.Context) error { return nil }
func (directoryTeller) Resume()                     {}
