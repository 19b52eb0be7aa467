//go:build unix

package reaper_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
)

var _ = registerScenario("adopt", func() {
	noteZombie("zombie")
	noteChild("polite", "polite")
	noteChild("live", "live")
	noteChild("other", "live")
}, func() {
	warmUp()
	start := resourcesUsed()
	list, err := autorestart.InheritedChildren()
	check(err == nil && len(list) == 4, "InheritedChildren:", list, err)
	for _, c := range list {
		if c.PID != notedPID("live") || !seesProcesses() {
			continue
		}
		check(c.Command != "" && slices.Contains(c.Args, os.Args[0]), "what is known:", c)
		age := time.Since(c.Started)
		check(age > -time.Second && age < time.Hour, "started", age, "ago")
	}

	// A zombie can be adopted like any other.
	zombie, err := autorestart.Adopt(notedPID("zombie"))
	check(err == nil, err)
	_, err = autorestart.Adopt(notedPID("zombie"))
	check(errors.Is(err, autorestart.ErrNotInherited), "adopted twice:", err)
	e, err := zombie.Wait(context.Background())
	check(err == nil && e.Code == 3 && e.PID == zombie.PID(), e, err)
	check(gone(zombie.PID()), "the zombie is still there")
	e, err = zombie.Wait(context.Background())
	check(err == nil && e.Code == 3, "second Wait:", e, err)
	check(errors.Is(zombie.Signal(syscall.SIGTERM), os.ErrProcessDone), "Signal after Wait")
	check(errors.Is(zombie.Release(), os.ErrClosed), "Release after Wait")

	polite, err := autorestart.Adopt(notedPID("polite"))
	check(err == nil, err)
	live, err := autorestart.Adopt(notedPID("live"))
	check(err == nil, err)

	// A Reaper leaves them alone.
	var log exitLog
	r := autorestart.Reaper{Escalation: []autorestart.EscalationStep{{Signal: syscall.SIGKILL}}, Reaped: log.add}
	check(r.Run(context.Background()) == nil, "Run")
	check(log.len() == 1 && log.of("other").Signal == syscall.SIGKILL, log.exits)

	// A Wait ends with its context, and another can be begun.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	_, err = polite.Wait(ctx)
	check(errors.Is(err, context.DeadlineExceeded), "Wait:", err)
	cancel()

	// Several may wait at once.
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			e, err := polite.Wait(context.Background())
			check(err == nil && e.Code == 7 && slices.Equal(e.Sent, []syscall.Signal{syscall.SIGTERM}), e, err)
		})
	}
	check(polite.Signal(syscall.SIGTERM) == nil, "Signal")
	wg.Wait()
	check(gone(polite.PID()), "still there")

	// Release ends a Wait, and the next may have the child.
	done := make(chan error)
	go func() { _, err := live.Wait(context.Background()); done <- err }()
	check(live.Signal(syscall.Signal(0)) == nil, "Signal 0")
	check(live.Release() == nil, "Release")
	check(errors.Is(<-done, os.ErrClosed), "Wait after Release")
	check(errors.Is(live.Signal(syscall.SIGTERM), os.ErrClosed), "Signal after Release")
	check(syscall.Kill(live.PID(), 0) == nil, "gone with its handle")
	check(r.Run(context.Background()) == nil && log.of("live").Signal == syscall.SIGKILL, "not reaped")

	_, err = autorestart.Adopt(live.PID())
	check(errors.Is(err, autorestart.ErrNotInherited), "adopted what is gone:", err)
	own := startOwn("exit 3")
	_, err = autorestart.Adopt(own.Process.Pid)
	check(errors.Is(err, autorestart.ErrNotInherited), "adopted a child of this image:", err)
	own.Wait()
	list, err = autorestart.InheritedChildren()
	check(err == nil && len(list) == 0, "left:", list, err)
	start.check()
})

func TestAdopt(t *testing.T) { runScenario(t, "adopt") }

// The status of an adopted child is lost if another part of the program has waited
// for it.
var _ = registerScenario("adopt lost", func() { noteChild("live", "live") }, func() {
	a, err := autorestart.Adopt(notedPID("live"))
	check(err == nil, err)
	syscall.Kill(a.PID(), syscall.SIGKILL)
	var status syscall.WaitStatus
	pid, err := syscall.Wait4(a.PID(), &status, 0, nil)
	check(pid == a.PID(), "wait4:", err)
	e, err := a.Wait(context.Background())
	check(err == nil && e.Lost && e.Code == -1, e, err)
	check(errors.Is(a.Signal(syscall.SIGTERM), os.ErrProcessDone), "Signal")
})

func TestAdoptLost(t *testing.T) { runScenario(t, "adopt lost") }

var _ = registerScenario("adopt while reaping", func() {
	for i := range 50 {
		noteChild("child"+strconv.Itoa(i), "live")
	}
}, func() {
	// Every child has one owner.
	var log exitLog
	r := autorestart.Reaper{Escalation: []autorestart.EscalationStep{{Signal: syscall.SIGKILL}}, Reaped: log.add}
	done := make(chan error)
	go func() { done <- r.Run(context.Background()) }()
	adopted := 0
	for i := range 50 {
		a, err := autorestart.Adopt(notedPID("child" + strconv.Itoa(i)))
		if err != nil {
			continue
		}
		adopted++
		check(a.Signal(syscall.SIGTERM) == nil, "Signal")
		e, err := a.Wait(context.Background())
		check(err == nil && e.Signal == syscall.SIGTERM, e, err)
	}
	check(<-done == nil && log.len()+adopted == 50, "reaped", log.len(), "adopted", adopted)
})

func TestAdoptWhileReaping(t *testing.T) { runScenario(t, "adopt while reaping") }
