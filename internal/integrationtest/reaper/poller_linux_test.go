//go:build linux && !autorestart_portable

package reaper_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/forcefallback"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// denyNewEpoll denies epoll_wait(2) on every instance but those that the runtime has already.
func denyNewEpoll() error {
	var denials []forcefallback.Denial
	for fd := range 64 {
		target, _ := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		if strings.Contains(target, "eventpoll") {
			continue
		}
		denials = append(denials, forcefallback.Denial{Call: unix.SYS_EPOLL_PWAIT, Arg: 0, Value: uint32(fd), Errno: unix.EPERM})
	}
	return forcefallback.DenyAll(denials...)
}

// A child is reported even if the pidfds announce nothing any more.
var _ = registerScenario("pump ends", func() {
	noteChild("reaped", "live")
	noteChild("adopted", "live")
}, func() {
	warmUp()
	start := resourcesUsed()
	err := denyNewEpoll()
	check(err == nil, err)
	adopted, err := autorestart.Adopt(notedPID("adopted"))
	check(err == nil, err)
	ctx, cancel := testprocess.WithTimeout(context.Background(), testprocess.Timeout)
	defer cancel()
	waited := make(chan error)
	go func() { _, err := adopted.Wait(ctx); waited <- err }()

	var log exitLog
	r := autorestart.Reaper{
		Escalation: []autorestart.EscalationStep{},
		Reaped:     log.add,
		Logger: slog.New(slog.NewTextHandler(writerFunc(func(line []byte) {
			if bytes.Contains(line, []byte("exits of children are not announced")) {
				syscall.Kill(notedPID("reaped"), syscall.SIGKILL)
				syscall.Kill(notedPID("adopted"), syscall.SIGKILL)
			}
		}), nil)),
	}
	check(r.Run(ctx) == nil, "the child was not reported")
	check(log.of("reaped").Signal == syscall.SIGKILL, log.exits)
	err = <-waited
	check(err == nil, "the adopted child:", err)
	start.check()
})

type writerFunc func(b []byte)

func (f writerFunc) Write(b []byte) (int, error) { f(b); return len(b), nil }

func TestPumpEnds(t *testing.T) { runScenarioOn(t, "pump ends", "none") }
