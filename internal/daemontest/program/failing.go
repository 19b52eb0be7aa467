//go:build linux

package program

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/passing"
)

// failing are the commands for an exec that fails at its last step.
var failing = map[string]func(argument string) string{
	// restart-too-long restarts with an environment that becomes too long for execve(2)
	// right before the exec.
	"restart-too-long": func(string) string {
		const name = "TOO_LONG"
		r := autorestart.Restarter{ReadyTimeout: time.Minute, BeforeExec: func(context.Context) error {
			return os.Setenv(name, strings.Repeat("x", 1<<20))
		}}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		err := r.Restart(ctx)
		os.Unsetenv(name)
		return fmt.Sprint(err)
	},
	// fill-table opens files until no descriptor is left.
	"fill-table": func(string) string {
		for {
			fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err.Error()
			}
			keptOpen = append(keptOpen, fd)
		}
	},
	// lend-inheritable NAME lends the store a file that is not close-on-exec.
	"lend-inheritable": func(name string) string {
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY, 0)
		passing.Process.Lend(name, fd)
		return fmt.Sprint(err)
	},
	"environment": func(string) string { return strings.Join(os.Environ(), "\n") },
	// tell-directory has a drainer say the working directory when it is quiesced.
	"tell-directory": func(string) string {
		autorestart.RegisterDrainer(directoryTeller{})
		return ""
	},
}

// keptOpen are the descriptors of fill-table.
var keptOpen []int

type directoryTeller struct{}

func (directoryTeller) Quiesce() {
	dir, err := os.Readlink("/proc/self/cwd")
	daemontest.Say("quiesced", fmt.Sprint(dir, err))
}
func (directoryTeller) Drain(context.Context) error { return nil }
func (directoryTeller) Resume()                     {}
