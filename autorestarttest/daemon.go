package autorestarttest

import (
	"crypto/rand"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/testclock"
)

// A Daemon is a running daemon. Its methods fail the test if the daemon does not do what they
// wait for. They are called on the goroutine of the test.
//
// At the end of the test the daemon is killed. If the test has failed, its output is logged.
type Daemon struct {
	t       testing.TB
	program Program
	site    site
	cmd     *exec.Cmd
	output  string // the file with what the daemon has written
	socket  net.Listener
	client  *http.Client

	reports reports
	exited  chan struct{} // closed when exitErr is set
	exitErr error

	// Guarded by the mutex of reports.
	newest  int     // version that was deployed
	deploys int     // since the last outcome
	current *report // of the last outcome; nil before the daemon is ready
}

// Start builds a program and starts it. It returns when the program has called
// autorestart.Ready, see [Program.NoReady]. It skips the test on a system other than Linux.
func Start(t testing.TB, p Program) *Daemon {
	t.Helper()
	if err := supported(); err != nil {
		t.Skip("autorestarttest: ", err)
	}
	e := p.build(t)
	dir, err := os.MkdirTemp("", "autorestarttest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &Daemon{t: t, program: p, site: site{dir, e.name}, exited: make(chan struct{}), client: p.client(true)}
	t.Cleanup(d.client.CloseIdleConnections)
	d.listen()
	if err := d.site.version(e, d.label(0)).putFirst(); err != nil {
		t.Fatal("autorestarttest: ", err)
	}
	d.start()
	what := e.name + " is not ready"
	if !p.NoReady {
		what = e.name + " has not called autorestart.Ready (is NoReady missing?)"
	}
	d.await(what, d.startedFirst)
	return d
}

// listen receives reports on an abstract address: it can also be reached in another root
// directory, and by another user.
func (d *Daemon) listen() {
	d.t.Helper()
	socket, err := net.Listen("unix", "@autorestarttest-"+rand.Text())
	if err != nil {
		d.t.Fatal(err)
	}
	d.socket = socket
	received := make(chan struct{})
	go func() {
		defer close(received)
		d.reports.receive(socket)
	}()
	d.t.Cleanup(func() {
		socket.Close()
		<-received
		d.reports.close()
	})
}

func (d *Daemon) start() {
	d.t.Helper()
	d.output = d.site.path("output")
	output, err := os.OpenFile(d.output, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer output.Close()
	d.cmd = exec.Command(d.site.executable(), d.program.Args...)
	d.cmd.Env = append(os.Environ(), d.program.Env...)
	d.cmd.Dir = d.program.Dir
	d.cmd.Stdout, d.cmd.Stderr = output, output
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal("autorestarttest: ", err)
	}
	go func() {
		d.exitErr = d.cmd.Wait()
		close(d.exited)
	}()
	d.t.Cleanup(func() {
		d.cmd.Process.Kill()
		<-d.exited
		if d.t.Failed() {
			d.t.Logf("%s has written:\n%s", d.site.name, d.Output())
		}
	})
}

// PID returns the process ID of the daemon, which stays the same.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// Path returns the path by which the daemon was started, and at which new versions are deployed.
func (d *Daemon) Path() string { return d.site.executable() }

// Generation returns the autorestart.Generation of the last outcome.
func (d *Daemon) Generation() int {
	d.reports.mu.Lock()
	defer d.reports.mu.Unlock()
	return d.current.Generation
}

// Output returns what the daemon has written to its standard output and standard error.
func (d *Daemon) Output() string {
	text, err := os.ReadFile(d.output)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Client returns an HTTP client that keeps connections, with [Program.TLS].
func (d *Daemon) Client() *http.Client { return d.client }

// Signal sends a signal to the daemon.
func (d *Daemon) Signal(sig os.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil {
		d.t.Fatalf("autorestarttest: %v", err)
	}
}

// Stop sends SIGTERM to the daemon, and waits until it has exited. The error is that of
// [exec.Cmd.Wait].
func (d *Daemon) Stop() error {
	d.t.Helper()
	d.Signal(syscall.SIGTERM)
	if !testclock.Within(d.program.timeout(), d.hasExited) {
		d.fatal(d.site.name+" has not exited", "after "+d.program.timeout().String())
	}
	return d.exitErr
}

func (d *Daemon) hasExited() bool {
	select {
	case <-d.exited:
		return true
	default:
		return false
	}
}

// exitText says how the daemon has exited.
func (d *Daemon) exitText() string {
	if d.exitErr == nil {
		return "it has exited with status 0"
	}
	return "it has exited: " + d.exitErr.Error()
}

// An outcome is what a Want method waits for. It is called with the reports locked. If it returns a
// reason, the outcome is another one.
type outcome func() (found *report, reason string)

// lastReports is how long the last reports of a daemon that has exited may take.
const lastReports = 100 * time.Millisecond

// await waits until there is the outcome. It fails the test with a reason for what.
func (d *Daemon) await(what string, o outcome) *report {
	d.t.Helper()
	watch, end := testclock.StartStopwatch(), time.Duration(0)
	for ; ; time.Sleep(2 * time.Millisecond) {
		if end == 0 && d.hasExited() {
			end = watch.Elapsed() + lastReports
		}
		d.reports.mu.Lock()
		found, reason := o()
		limit, elsewhere := d.program.timeout()+d.trialTime(), d.elsewhere()
		if found != nil {
			d.current, d.deploys = found, 0
			found.used = len(found.steps)
		}
		d.reports.mu.Unlock()
		switch {
		case found != nil:
			return found
		case reason != "":
		case end != 0 && watch.Elapsed() > end:
			reason = d.exitText() + elsewhere
		case end == 0 && watch.Elapsed() > limit:
			reason = "after " + limit.String() + elsewhere
		default:
			continue
		}
		d.fatal(what, reason)
	}
}

// trialTime returns how much longer a rollback may take. It is called with the reports locked.
func (d *Daemon) trialTime() (longest time.Duration) {
	for _, i := range d.newer() {
		longest = max(longest, i.ReadyWithin+i.HealthWithin)
	}
	return longest
}

// newer returns the images of the daemon since the last outcome. It is called with the reports locked.
func (d *Daemon) newer() (newer []*report) {
	for _, i := range d.reports.all {
		if i.PID == d.PID() && !i.StandIn && (d.current == nil || i.Generation > d.current.Generation) {
			newer = append(newer, i)
		}
	}
	return newer
}

// fatal ends the test, with what the agents have reported.
func (d *Daemon) fatal(what, reason string) {
	d.t.Helper()
	d.reports.mu.Lock()
	var seen []string
	for _, i := range d.reports.all {
		if i.PID != 0 {
			seen = append(seen, "\t"+i.String()+"\n")
		}
	}
	d.reports.mu.Unlock()
	if reason != "" {
		what += ": " + reason
	}
	if seen == nil {
		seen = []string{"\tno version has started\n"}
	}
	if d.hasExited() && !strings.HasPrefix(reason, d.exitText()) {
		seen = append(seen, "\t"+d.exitText()+"\n")
	}
	d.t.Fatalf("autorestarttest: %s\n%s", what, strings.Join(seen, ""))
}
