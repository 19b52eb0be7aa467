package autorestarttest

import (
	"fmt"
	"slices"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/step"
)

// isReady reports whether the image is ready.
func (d *Daemon) isReady(i *report) bool { return d.program.NoReady || i.has(step.Ready) }

// startedFirst is the outcome of the start.
func (d *Daemon) startedFirst() (*report, string) {
	for _, i := range d.newer() {
		if d.isReady(i) {
			return i, ""
		}
	}
	return nil, ""
}

// WantRestart waits until the newest version is ready. The process must be the same, and the
// [autorestart.Generation] the next one. After several deploys, one restart is enough, and there
// may be one for each.
//
// WantRestart returns the times of the restart. Ready is zero.
func (d *Daemon) WantRestart() autorestart.RestartTimes {
	d.t.Helper()
	d.wantDeploy()
	return d.await(fmt.Sprintf("no restart into version %d", d.newestVersion()), d.restarted).Times
}

// wantDeploy fails the test if there is no outcome to wait for.
func (d *Daemon) wantDeploy() {
	d.t.Helper()
	d.reports.mu.Lock()
	deploys := d.deploys
	d.reports.mu.Unlock()
	if deploys == 0 {
		d.t.Fatal("autorestarttest: nothing was deployed since the last outcome")
	}
}

func (d *Daemon) newestVersion() int {
	d.reports.mu.Lock()
	defer d.reports.mu.Unlock()
	return d.newest
}

func (d *Daemon) restarted() (*report, string) {
	for _, i := range d.newer() {
		switch {
		case i.RolledBack != "":
			return nil, "it was rolled back: " + i.RolledBack
		case i.Generation > d.current.Generation+d.deploys:
			return nil, fmt.Sprintf("generation %d after %d; the daemon has restarted more often than new versions were deployed",
				i.Generation, d.current.Generation)
		case i.Version == d.newest && d.isReady(i):
			return i, ""
		}
	}
	if reason, ofStandIn := d.current.rejection(); ofStandIn {
		return nil, reason
	}
	return d.lostGeneration()
}

// lostGeneration returns a reason if the process runs a version that does not know of the current
// one.
func (d *Daemon) lostGeneration() (*report, string) {
	at := slices.Index(d.reports.all, d.current)
	for _, i := range d.reports.all[at+1:] {
		if i.PID == d.PID() && !i.StandIn && i.Generation <= d.current.Generation {
			return nil, fmt.Sprintf("version %d has started with generation %d: nothing was handed over to it", i.Version, i.Generation)
		}
	}
	return nil, ""
}

// elsewhere says that the newest version has started in another process only, as a successor by fork does. It is
// empty otherwise. It is no reason to fail before the timeout: it may be a child of a daemon that restarts next.
func (d *Daemon) elsewhere() (text string) {
	for _, i := range d.reports.all {
		switch {
		case i.PID == 0 || i.StandIn || i.Version != d.newest:
		case i.PID == d.PID():
			return ""
		default:
			text = fmt.Sprintf("; version %d has started in process %d, and not in process %d", i.Version, i.PID, d.PID())
		}
	}
	return text
}

// WantRollback waits until the newest version is rolled back and the version before it is ready
// again, in the same process. With Overlap, it waits until the newest version is rejected because
// its stand-in has failed. WantRollback returns the reason.
//
// A version on trial for a HealthTimeout may also be rolled back because its own Check fails.
func (d *Daemon) WantRollback() (reason string) {
	d.t.Helper()
	d.wantDeploy()
	d.await(fmt.Sprintf("version %d is not rolled back", d.newestVersion()), func() (*report, string) {
		for _, i := range d.newer() {
			switch {
			case i.RolledBack != "" && d.isReady(i):
				reason = i.RolledBack
				return i, ""
			case i.Version != d.newest || i.RolledBack != "":
			case d.isReady(i) && (i.HealthWithin == 0 || i.has(step.Healthy)):
				return nil, "it is ready"
			case !i.OnTrial:
				return nil, "it is not on trial; set a ReadyTimeout in Restarter"
			}
		}
		text, ofStandIn := d.current.rejection()
		if ofStandIn {
			reason = text
			return d.current, ""
		}
		return d.lostGeneration()
	})
	return reason
}
