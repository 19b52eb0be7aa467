package autorestarttest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/drain"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/image/imagetest"
	"github.com/autorestart-go/autorestart/internal/testclock"
)

// A Process stands for the process of a daemon in a unit test. The functions of package autorestart,
// and of the packages that use it, act on it until the test ends. Nothing is executed: a restart makes
// another image in the process of the test the current one, with the files, states and sockets that the
// first one has handed over.
//
// In a real restart the exec ends all goroutines. Here those of the earlier images go on, and their
// calls of package autorestart act on the current image.
type Process struct {
	t      testing.TB
	images *imagetest.Process

	cancel  context.CancelFunc // of the drain; nil while there is none
	drained <-chan drainResult
	result  *drainResult // that was received
}

type drainResult struct {
	drain.Drained
	err error
}

// inUse says that a test has a Process.
var inUse atomic.Bool

// NewProcess returns a process that was started afresh. There is one in the test binary at a time, so
// tests with a Process do not run in parallel.
func NewProcess(t testing.TB) *Process {
	t.Helper()
	if inUse.Swap(true) {
		t.Fatal("autorestarttest: another test has a Process; tests with one can't be parallel")
	}
	t.Cleanup(func() { inUse.Store(false) })
	p := &Process{t: t, images: imagetest.Start(t)}
	t.Cleanup(func() {
		if p.cancel != nil {
			p.callOff()
		}
	})
	return p
}

// WaitReady waits until autorestart.Ready has been called in the current image.
func (p *Process) WaitReady() {
	p.t.Helper()
	testclock.WaitFor(p.t, "call of autorestart.Ready", func() bool { return !autorestart.LastRestart().Ready.IsZero() })
}

// defaultDrainTimeout is that of a Restarter.
const defaultDrainTimeout = 10 * time.Second

// BeginDrain begins to drain the process, as before a restart. It returns when the drainers with
// the lowest number are quiesced, and the channel of [autorestart.Draining] is closed. The drainers are
// drained in the background for the given time, as for [autorestart.Restarter.DrainTimeout]. If the time is
// zero, it is 10 s.
// The drain lasts until CallOff, or until the test ends.
func (p *Process) BeginDrain(timeout time.Duration) {
	p.t.Helper()
	p.notDraining()
	if timeout == 0 {
		timeout = defaultDrainTimeout
	}
	ctx, cancel := context.WithCancel(context.Background())
	draining, drained := autorestart.Draining(), make(chan drainResult, 1)
	p.cancel, p.drained, p.result = cancel, drained, nil
	drainers := &image.Current().Drainers
	go func() {
		d, err := drainers.Begin(ctx, timeout, func([]string) {})
		drained <- drainResult{d, err}
	}()
	testclock.Receive(p.t, "end of Quiesce of all drainers", draining)
}

func (p *Process) notDraining() {
	p.t.Helper()
	if p.cancel != nil {
		p.t.Fatal("autorestarttest: the process is being drained; call CallOff first")
	}
}

// WaitDrained waits until everything is drained, or the time for that is up. It returns what was not
// finished then, as phrases like "2 connections of tcp 127.0.0.1:8080".
func (p *Process) WaitDrained() (unfinished []string) {
	p.t.Helper()
	if p.cancel == nil {
		p.t.Fatal("autorestarttest: the process is not being drained; call BeginDrain first")
	}
	return p.receive().Unfinished()
}

// receive waits for the end of the drain.
func (p *Process) receive() *drainResult {
	p.t.Helper()
	if p.result == nil {
		r, _ := testclock.Receive(p.t, "end of the drain", p.drained)
		p.result = &r
	}
	return p.result
}

// CallOff calls the drain off, as if the restart had failed. It returns when all drainers have
// resumed.
func (p *Process) CallOff() {
	p.t.Helper()
	if p.cancel == nil {
		p.t.Fatal("autorestarttest: there is no drain to call off; call BeginDrain first")
	}
	p.callOff()
}

func (p *Process) callOff() {
	p.t.Helper()
	p.cancel()
	p.cancel = nil
	if r := p.receive(); r.err == nil {
		r.Resume()
	}
}

// Restart restarts by a Restarter: the process is drained, BeforeExec is called, and the next image is
// the current one when Restart returns. The file of the test binary is what Verify gets. If r is nil,
// it is a Restarter without options. After the first restart, Restart waits until the current image is
// ready.
func (p *Process) Restart(r *autorestart.Restarter) {
	p.t.Helper()
	p.notDraining()
	p.images.AwaitExec(func() error { return p.restart(r) })
}

func (p *Process) restart(r *autorestart.Restarter) error {
	if r == nil {
		r = new(autorestart.Restarter)
	}
	return r.Restart(p.t.Context())
}

// FailRestart is Restart with an execve(2) that fails with the given error. The current image goes on
// running. FailRestart returns the error of [autorestart.Restarter.Restart].
func (p *Process) FailRestart(r *autorestart.Restarter, err error) error {
	p.t.Helper()
	p.notDraining()
	if err == nil {
		err = errors.New("autorestarttest: execve fails")
	}
	p.images.Failure = err
	defer func() { p.images.Failure = nil }()
	return p.restart(r)
}

// RollBack has the current image call [autorestart.Rollback]. When RollBack returns, the current image
// is one more of the previous version, in which [autorestart.RolledBack] returns the error. The
// current image has to be on trial: the Restarter of the restart before had a ReadyTimeout or a
// HealthTimeout.
func (p *Process) RollBack(err error) {
	p.t.Helper()
	p.notDraining()
	p.images.AwaitExec(func() error { return autorestart.Rollback(err) })
}
