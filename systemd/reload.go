package systemd

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/statuspage"
	"github.com/autorestart-go/autorestart/internal/step"
)

// The status page, by which `autorestart reload` asks for a restart and waits for the outcome.

// pageName is the name under which the page crosses an exec.
var pageName = passing.CarriedName("status page")

// serveReloads restarts by r when `autorestart reload` asks for it.
func serveReloads(i *image.Image, r *autorestart.Restarter, logger report.Logger) error {
	page, err := statusPage(i, logger)
	if err != nil {
		return err
	}
	start := statuspage.Start{
		PID: os.Getpid(), Generation: autorestart.Generation(), Version: runningBuild().String(),
		OnTrial: i.Trial.On,
	}
	if rollback, ok := errors.AsType[*autorestart.RollbackError](autorestart.RolledBack()); ok {
		start.RolledBack = errors.New(rollback.Reason)
	}
	tracker := statuspage.Track(page, start)
	i.OnStep(func(kind step.Kind, err error) {
		// A version that is rejected while one is about to be executed is another one.
		if kind != step.Rejected || !i.IsReplaced() {
			tracker.Step(kind, err)
		}
	})
	isReady := func() {
		if s, _ := tracker.Status(); s.Phase == statuspage.Starting {
			tracker.Step(step.Ready, nil)
		}
	}
	switch {
	case !autorestart.LastRestart().Ready.IsZero():
		isReady()
	case i.Inherited.Number(handover.PID) != 0: // the version may never call Ready
		time.AfterFunc(startLimit(i), func() {
			if !i.IsReplaced() {
				isReady()
			}
		})
	}
	go tracker.Serve(context.Background(), r.Restart)
	return nil
}

// statusPage returns the page of the previous image, or a new one. It crosses each exec.
func statusPage(i *image.Image, logger report.Logger) (*statuspage.Page, error) {
	if fd, err := i.Store.InheritedDescriptor(pageName); err == nil {
		page, err := statuspage.Adopt(fd.File("status page"))
		if err == nil {
			return page, nil
		}
		logger.Warn("a reload that is under way has no outcome: cannot use the status page of the previous version", "reason", err)
	}
	page, err := statuspage.Create()
	if err != nil {
		return nil, err
	}
	if err := i.Store.Pass(pageName, page.File()); err != nil {
		page.Close()
		return nil, err
	}
	return page, nil
}
