//go:build linux && !autorestart_portable

package systemd_test

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/systemd"
)

// A program outside of systemd and a stand-in pay nothing: no descriptor, no goroutine, no call in a
// restart. Neither does one whose NOTIFY_SOCKET can't be used.
func TestNothingIsNotified(t *testing.T) {
	standIn := &handover.State{IsStandIn: true}
	standIn.Set(handover.PID, os.Getppid())
	for name, test := range map[string]struct {
		socket    string
		execPID   string
		inherited *handover.State
		err       string
	}{
		"no socket": {"", "", new(handover.State), ""},
		"stand-in":  {"/run/systemd/notify", "", standIn, ""},
		"child":     {"/run/systemd/notify", "1", new(handover.State), "systemd: found SYSTEMD_EXEC_PID=\"1\", expected " + strconv.Itoa(os.Getpid())},
		"relative":  {"run/notify", "", new(handover.State), "systemd: notify socket \"run/notify\": found a relative path, expected an absolute path"},
		"too long":  {"/" + strings.Repeat("x", 107), "", new(handover.State), "found 108 bytes, expected at most 107"},
		"vsock":     {"vsock:2:9999", "", new(handover.State), "found an address of the kind vsock"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("NOTIFY_SOCKET", test.socket)
			t.Setenv("SYSTEMD_EXEC_PID", test.execPID)
			t.Setenv("INVOCATION_ID", "")
			t.Setenv("WATCHDOG_USEC", "1000000")
			t.Cleanup(image.Current().Use)
			i := image.Start(test.inherited, nil)
			i.Use()
			goroutines, next := runtime.NumGoroutine(), nextDescriptor(t)
			service := new(systemd.Service)
			if test.socket == "" || test.execPID != "" || test.inherited == standIn { // reloads need no such socket
				service.Restarter = new(autorestart.Restarter)
			}
			err := service.Start()
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("%v, want %q", err, test.err)
			}
			if n := runtime.NumGoroutine(); n > goroutines {
				t.Errorf("%d goroutines, before there were %d", n, goroutines)
			}
			if n := nextDescriptor(t); n != next {
				t.Errorf("the next descriptor is %d, before it was %d", n, next)
			}
			if i.Reports() {
				t.Error("the steps of a restart are reported")
			}
		})
	}
}

// nextDescriptor returns the lowest descriptor that is not open.
func nextDescriptor(t testing.TB) int {
	t.Helper()
	fd, err := unix.Dup(0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	return fd
}

// A restart goes on where the socket is missing or closed, and systemd gets what waits as soon as it has
// a socket again.
func TestSocketIsMissing(t *testing.T) {
	for _, kind := range []string{"missing", "closed"} {
		t.Run(kind, func(t *testing.T) {
			r := &receiver{t: t, address: addresses(t)["path"]}
			if kind == "closed" {
				bind(t, r.address).file.Close()
			}
			d := r.newService()
			d.Start()
			d.Tell("ready")
			d.WantLogged("systemd does not receive the messages of this program")
			d.Restart()
			d.Tell("ready")
			d.Ask("reject bad", "done")
			os.Remove(r.address)
			r = listen(t, r.address)
			r.daemon = d
			d.Ask("restart", "failed")
			if got := r.next(); !strings.HasPrefix(got, reloading+"\n"+ready+"\n") || !strings.Contains(got, "generation 1: new version rejected: ") {
				t.Errorf("received %q", got)
			}
		})
	}
}

// Nothing waits for a systemd that reads nothing. When it reads again, the last state counts.
func TestSocketIsFull(t *testing.T) {
	r := bind(t, addresses(t)["abstract"])
	d := r.newService()
	d.Start()
	d.Tell("ready")
	d.Ask("reject it is the last one", "done")
	for range 20 {
		d.Ask("restart", "failed")
	}
	r.read()
	last := ""
	for !strings.Contains(last, "it is the last one") || len(r.messages) > 0 {
		last = r.next()
	}
	if !strings.HasPrefix(last, reloading+"\n"+ready+"\n") {
		t.Errorf("received %q at last", last)
	}
}

// A restart does not wait for a systemd that reads nothing, either. The messages that wait at the exec are lost, and the
// first message of the version that runs when systemd reads again says everything.
func TestSocketIsFullInRestart(t *testing.T) {
	r := bind(t, addresses(t)["path"])
	r.fill()
	d := r.newService()
	d.Start()
	d.Tell("ready")
	for range 2 {
		d.Restart()
		d.Tell("ready")
	}
	d.Ask("drainer", "done") // it has called Ready
	r.read()
	r.want(reloading, ready, "STATUS="+name(t)+" serves, generation 2")
	r.wantNothing()
}

// The reason of a rejection by a newer version, while the program is drained, does not end the reload. A
// drain that is called off for a reason that may pass does.
func TestNewerVersionIsRejectedInDrain(t *testing.T) {
	r := listen(t, addresses(t)["path"])
	d := r.startService("AUTORESTART_TEST_OVERLAP=1")
	d.Ask("drainer", "done")
	d.Ask("call-off-later not now", "done")
	d.Tell("watch")
	d.WaitForWatch()
	d.Deploy()
	until(d, "quiesced")
	r.want(reloading, draining, "STATUS="+name(t)+" is being replaced")
	d.DeployBytes([]byte("#!/bin/sh\n"))
	d.WantLogged("new version rejected")
	r.wantNothing()
	d.Tell("drained")
	until(d, "resumed")
	if got := r.next(); !strings.HasPrefix(got, reloading+"\n"+ready+"\n") {
		t.Errorf("received %q", got)
	}
}
