//go:build linux && !autorestart_portable

package systemd_test

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/elfimage"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// name returns the name of every version of the daemon.
func name(t testing.TB) string {
	t.Helper()
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	id := elfimage.ReadBuild(f, st.Size()).ID
	return id[strings.LastIndexByte(id, '/')+1:]
}

const (
	reloading = "RELOADING=1\nMONOTONIC_USEC="
	ready     = "READY=1"
	draining  = "EXTEND_TIMEOUT_USEC=15000000"
	executing = "EXTEND_TIMEOUT_USEC=75000000"
)

func TestRestart(t *testing.T) {
	for kind, address := range addresses(t) {
		t.Run(kind, func(t *testing.T) {
			r := listen(t, address)
			d := r.startService()
			d.Restart()
			r.want(reloading, executing, "STATUS="+name(t)+" is being replaced")
			r.wantNothing() // before it is ready
			d.Tell("ready")
			r.want(reloading, ready, "STATUS="+name(t)+" serves, generation 1")
			d.Ask("drainer", "done")
			d.Tell("restart")
			d.Want("quiesced")
			r.want(reloading, draining, "STATUS="+name(t)+" is being replaced")
			r.wantNothing()
			d.Tell("drained")
			r.want(executing)
			d.WantRestart(1)
			d.Tell("ready")
			r.want(reloading, ready, "STATUS="+name(t)+" serves, generation 2")
		})
	}
}

func TestRejection(t *testing.T) {
	r := listen(t, addresses(t)["path"])
	d := r.startService()
	d.Ask("reject it is|bad|READY=1|\x01MAINPID=1|", "done")
	d.Ask("restart", "failed")
	got := r.next()
	want := strings.Join([]string{reloading, ready, "STATUS=" + name(t) + " serves, generation 0: new version rejected: "}, "\n")
	if !strings.HasPrefix(got, want) || strings.Count(got, "\n") != 3 || !strings.Contains(got, "bad READY=1 MAINPID=1") {
		t.Errorf("received %q, want it to begin with %q", got, want)
	}
	d.Ask("reject "+strings.Repeat("ä", 2500), "done")
	d.Ask("restart", "failed")
	if got := r.next(); len(got) < 4000 || !utf8.ValidString(got) || !strings.HasSuffix(got, "ä…") {
		t.Errorf("received %d bytes that end with %q", len(got), got[len(got)-10:])
	}
}

func TestCalledOff(t *testing.T) {
	r := listen(t, addresses(t)["path"])
	d := r.startService()
	d.Ask("drainer", "done")
	d.Ask("call-off it is|not the time", "done")
	d.Tell("restart")
	d.Want("quiesced")
	r.want(reloading, draining, "STATUS="+name(t)+" is being replaced")
	d.Tell("drained")
	d.Want("resumed")
	r.want(reloading, ready, "STATUS="+name(t)+" serves, generation 0: new version rejected: it is not the time")
	d.Want("failed")
	r.wantNothing()
}

func TestRollback(t *testing.T) {
	r := listen(t, addresses(t)["path"])
	d := r.startService("AUTORESTART_TEST_READY=1m")
	d.Restart()
	r.want(reloading, executing, "STATUS="+name(t)+" is being replaced")
	d.Tell("fail it is|no good")
	d.WantStart(1, 2)
	r.want(executing)
	d.Tell("ready")
	r.want(reloading, ready, "STATUS="+name(t)+" serves, generation 2: the new version was rolled back: it is no good")
	r.wantNothing()
}

// until waits for an event of the main process, beside those of a stand-in.
func until(d *daemontest.Daemon, event string) {
	d.T.Helper()
	for {
		got, text := d.Next()
		if got == event && (event != "start" || strings.Contains(text, `"PID":`+strconv.Itoa(d.PID()))) {
			return
		}
	}
}

// The stand-in sends nothing, from its start to its end.
func TestOverlap(t *testing.T) {
	r := listen(t, addresses(t)["abstract"])
	d := r.startService("AUTORESTART_TEST_OVERLAP=1")
	d.Ask("drainer", "done")
	d.Tell("restart")
	standIn := 0
	for quiesced := false; !quiesced || standIn == 0; { // in any order
		switch event, text := d.Next(); event {
		case "quiesced":
			quiesced = true
		case "stand-in":
			standIn, _ = strconv.Atoi(text)
		}
	}
	r.want(reloading, draining, "STATUS="+name(t)+" is being replaced")
	d.Tell("drained")
	r.want(executing)
	until(d, "start")
	r.wantNothing()
	d.Tell("ready")
	r.want(reloading, ready, "STATUS="+name(t)+" serves, generation 1")
	testprocess.WaitFor(t, "end of the stand-in", func() bool { return syscall.Kill(standIn, 0) == syscall.ESRCH })
	r.wantNothing()
}

// A version that another Restarter rejects does not end a restart that is under way: neither before its drain has begun,
// nor if nothing is drained.
func TestOtherRestarterRejects(t *testing.T) {
	for _, step := range []string{"draining", "restarting"} {
		t.Run(step, func(t *testing.T) {
			r := listen(t, addresses(t)["path"])
			d := r.startService()
			d.Ask("hold "+step, "done")
			extend := executing
			if step == "draining" {
				d.Ask("drainer", "done")
				extend = draining
			}
			d.Tell("restart")
			d.Want("held")
			r.want(reloading, extend, "STATUS="+name(t)+" is being replaced")
			d.Ask("restart-other "+t.TempDir(), "failed")
			r.wantNothing()
			d.Tell("go-on")
			if step == "draining" {
				d.Want("quiesced")
				d.Tell("drained")
				r.want(executing)
			}
			d.WantRestart(1)
			d.Tell("ready")
			r.want(reloading, ready, "STATUS="+name(t)+" serves, generation 1")
		})
	}
}

// A program that is about to end does not execute another version any more, and systemd receives nothing after STOPPING=1
// that would have it wait longer.
func TestStopping(t *testing.T) {
	const reason = "autorestart: the program is about to end"
	r := listen(t, addresses(t)["path"])
	d := r.startService()
	d.Ask("drainer", "done")
	d.Tell("restart")
	d.Want("quiesced")
	r.want(reloading, draining, "STATUS="+name(t)+" is being replaced")
	d.Ask("stopping", "done")
	r.want("STOPPING=1")
	d.Tell("drained")
	d.Want("resumed")
	if got := d.Want("failed"); got != reason {
		t.Errorf("the restart has failed: %q, want %q", got, reason)
	}
	r.wantNothing()

	r = listen(t, addresses(t)["path"])
	d = r.startService()
	d.Ask("stopping", "done")
	r.want("STOPPING=1")
	for range 2 {
		if got := d.Ask("restart", "failed"); got != reason { // also where nothing is drained
			t.Errorf("a restart has failed: %q, want %q", got, reason)
		}
		d.Ask("drainer", "done") // it is not quiesced for nothing
	}
	r.wantNothing()
}

// Also a restart whose drain has begun before calls BeforeExec no more.
func TestStoppingBeforeExec(t *testing.T) {
	r := listen(t, addresses(t)["path"])
	d := r.startService()
	d.Ask("drainer", "done")
	d.Ask("call-off BeforeExec was called", "done")
	d.Tell("restart")
	d.Want("quiesced")
	d.Ask("stopping", "done")
	d.Tell("drained")
	d.Want("resumed")
	if got := d.Want("failed"); got != "autorestart: the program is about to end" {
		t.Errorf("the restart has failed: %q", got)
	}
}
