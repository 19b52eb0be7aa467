// Demo deploys new versions of a running HTTP daemon in the ways that people deploy, while
// clients ask the daemon for its version. The daemon restarts itself. Then the demo does the
// same with a daemon that restarts with Overlap, so that no client waits. Run the demo with
//
//	go run ./examples/demo
//
// It needs only Go, on Linux, and leaves nothing behind. Its exit status is 0 only if every
// step has the expected outcome.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

// step is a deploy and its expected outcome.
type step struct {
	deploy
	version string // answers afterwards
	outcome outcome
}

type outcome int

const (
	served     outcome = iota // one restart, then the version answers
	ignored                   // nothing happens
	rejected                  // nothing happens, and the daemon logs why
	rolledBack                // it is started and rolled back, and the daemon logs why
)

// steps are the steps of the demo, in this order.
func (s site) steps() []step {
	return []step{
		{s.rename("v1.1.0"), "v1.1.0", served},
		{s.copyForce("v1.2.0"), "v1.2.0", served},
		{s.install("v1.3.0"), "v1.3.0", served},
		{s.release("v1.4.0", "releases/2"), "v1.4.0", served},
		{s.rsync("v1.5.0"), "v1.5.0", served},
		{s.touch(), "v1.5.0", ignored},
		{s.breakOff("v1.6.0"), "v1.5.0", rejected},
		{s.resume("v1.6.0"), "v1.6.0", served},
		{s.errorPage(), "v1.6.0", rejected},
		{s.copyForce("v1.7.0"), "v1.6.0", rolledBack},
		{s.copyForce("v1.8.0"), "v1.6.0", rolledBack},
		{s.rollBack("releases/1"), "v1.3.0", served},
	}
}

func main() {
	// Processes that this thread starts are killed when the thread ends, see setApart. So
	// the thread has to live as long as the demo.
	runtime.LockOSThread()

	// SIGPIPE is the end of "| head".
	ctx, stop := signal.NotifyContext(context.Background(),
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	if err := run(ctx); err != nil {
		outcome := "failed"
		if ctx.Err() != nil {
			outcome = "stopped"
		}
		fmt.Fprintf(os.Stderr, "\ndemo %s: %v\n", outcome, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	if err := checkSystem(); err != nil {
		return err
	}
	// The demo can execute files where go run can.
	dir, err := os.MkdirTemp(os.Getenv("GOTMPDIR"), "autorestart-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s := site(dir)

	printOpening()
	start := time.Now()
	if err := s.build(ctx, printBuilt); err != nil {
		return err
	}
	printAllBuilt(time.Since(start))
	if err := s.createLayout(); err != nil {
		return err
	}
	if err := runScenario(ctx, s); err != nil {
		return err
	}
	return runOverlap(ctx, s)
}
