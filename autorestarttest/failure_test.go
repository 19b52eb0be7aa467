package autorestarttest_test

import (
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/autorestarttest"
)

// wantText fails unless the text of a test that has failed contains all parts.
func wantText(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in\n%s", part, text)
		}
	}
}

// A daemon that can't be built or does not start fails the test, with the reason.
func TestStartFails(t *testing.T) {
	needBuilds(t)
	listen := []string{"-listen", "127.0.0.1:0"}
	for name, test := range map[string]struct {
		program autorestarttest.Program
		want    []string
	}{
		"no main package": {autorestarttest.Program{Package: "../sockets"}, []string{"sockets is package sockets; Package has to be a main package"}},
		"several":         {autorestarttest.Program{Package: "../examples/..."}, []string{"../examples/... are several packages"}},
		"no package":      {autorestarttest.Program{Package: "./testdata/nothing"}, []string{"go list", "testdata/nothing"}},
		"not ours":        {autorestarttest.Program{Package: "./testdata/foreign"}, []string{"testdata/foreign does not import github.com/autorestart-go/autorestart"}},
		"does not build":  {autorestarttest.Program{Package: "./testdata/mistaken"}, []string{"go build", "undefined: missing"}},
		"unknown flag":    {autorestarttest.Program{Package: served, Flags: []string{"-no-such-flag"}}, []string{"no-such-flag"}},
		"exits": {autorestarttest.Program{Package: served, Args: []string{"-exit"}},
			[]string{"served has not called autorestart.Ready (is NoReady missing?): it has exited: exit status 2", "version 1, generation 0: started", "served has written:", "panic: nothing works"}},
		"never ready": {autorestarttest.Program{Package: served, Args: []string{"-bare"}, Timeout: 100 * time.Millisecond},
			[]string{"served has not called autorestart.Ready (is NoReady missing?): after 100ms"}},
		"no such directory": {autorestarttest.Program{Package: served, Dir: "nowhere", Args: listen}, []string{"chdir nowhere"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantText(t, fails(t, func(t testing.TB) { autorestarttest.Start(t, test.program) }), test.want...)
		})
	}
}

// An outcome that is another one than wanted fails the test.
func TestUnexpectedOutcome(t *testing.T) {
	needBuilds(t)
	for name, test := range map[string]struct {
		args []string
		do   func(*autorestarttest.Daemon)
		want []string
	}{
		"rolled back": {nil, func(d *autorestarttest.Daemon) {
			d.DeployBroken(autorestarttest.Panics)
			d.WantRestart()
		}, []string{"no restart into version 2: it was rolled back: main panicked", "by a rollback"}},
		"rejected stand-in": {[]string{"-overlap"}, func(d *autorestarttest.Daemon) {
			d.DeployBroken(autorestarttest.Exits)
			d.WantRestart()
		}, []string{"no restart into version 2: autorestart: ", "exited with status 2", "stand-in "}},
		"ready": {nil, func(d *autorestarttest.Daemon) {
			d.Deploy(autorestarttest.ByRename)
			d.WantRollback()
		}, []string{"version 2 is not rolled back: it is ready"}},
		"not on trial": {[]string{"-ready", "0"}, func(d *autorestarttest.Daemon) {
			d.DeployBroken(autorestarttest.Hangs)
			d.WantRollback()
		}, []string{"version 2 is not rolled back: it is not on trial; set a ReadyTimeout"}},
		"exits": {nil, func(d *autorestarttest.Daemon) {
			d.DeployBroken(autorestarttest.Exits)
			d.WantRollback()
		}, []string{"version 2 is not rolled back: it has exited: exit status 2", "this version exits"}},
		"panics before main": {nil, func(d *autorestarttest.Daemon) {
			d.DeployBroken(autorestarttest.PanicsBeforeMain)
			d.WantRollback()
		}, []string{"version 2 is not rolled back: it has exited: exit status 2", "this version panics before main"}},
		"no deploy":  {nil, func(d *autorestarttest.Daemon) { d.WantRestart() }, []string{"nothing was deployed since the last outcome"}},
		"no fault":   {nil, func(d *autorestarttest.Daemon) { d.DeployBroken(0) }, []string{"there is no fault 0"}},
		"no way":     {nil, func(d *autorestarttest.Daemon) { d.Deploy(17) }, []string{"deploy by unknown (17): there is no such way"}},
		"no clients": {nil, func(d *autorestarttest.Daemon) { d.LoadFunc(0, nil) }, []string{"a load of 0 clients"}},
		"stopped": {nil, func(d *autorestarttest.Daemon) {
			d.Stop()
			d.Deploy(autorestarttest.ByRename)
			d.WantRestart()
		}, []string{"no restart into version 2: it has exited: signal: terminated"}},
		"no server": {nil, func(d *autorestarttest.Daemon) { d.Load("http://127.0.0.1:1") }, []string{"no answer before the first deploy: GET on a kept connection", "connection refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantText(t, fails(t, func(tb testing.TB) {
				d := autorestarttest.Start(tb, autorestarttest.Program{Package: served, Args: append([]string{"-listen", autorestarttest.FreeAddress(t)}, test.args...)})
				test.do(d)
			}), test.want...)
		})
	}
}

// A daemon that watches another file does nothing. The test says what was seen.
func TestNothingHappens(t *testing.T) {
	t.Parallel()
	needBuilds(t)
	text := fails(t, func(tb testing.TB) {
		d := autorestarttest.Start(tb, autorestarttest.Program{
			Package: served,
			Args:    []string{"-listen", autorestarttest.FreeAddress(t), "-path", "/bin/true"},
			Timeout: 500 * time.Millisecond,
		})
		d.Deploy(autorestarttest.ByRename)
		d.WantRestart()
	})
	wantText(t, text, "no restart into version 2: after 500ms")
	if !regexp.MustCompile(`process \d+, version 1, generation 0: started at .*; ready at `).MatchString(text) {
		t.Errorf("nothing of what was seen is in\n%s", text)
	}
}

// A version that this library has not started is no restart, whether it runs in the same process or in another.
func TestOtherSuccessors(t *testing.T) {
	needBuilds(t)
	for by, want := range map[string]string{
		"exec": `no restart into version 2: version 2 has started with generation 0: nothing was handed over to it`,
		"fork": `no restart into version 2: it has exited: signal: terminated; version 2 has started in process \d+, and not in process %d`,
	} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			text := fails(t, func(tb testing.TB) {
				d := autorestarttest.Start(tb, autorestarttest.Program{
					Package: served,
					Args:    []string{"-listen", autorestarttest.FreeAddress(t), "-path", "/bin/true", "-successor", by},
				})
				if by == "fork" {
					want = fmt.Sprintf(want, d.PID())
				}
				d.Deploy(autorestarttest.ByRename)
				d.Signal(syscall.SIGHUP)
				d.WantRestart()
			})
			if !regexp.MustCompile(want).MatchString(text) {
				t.Errorf("%q is not in\n%s", want, text)
			}
		})
	}
}

// The load finds requests that a restart loses.
func TestLoadFindsLostRequests(t *testing.T) {
	t.Parallel()
	needBuilds(t)
	text := fails(t, func(tb testing.TB) {
		address := autorestarttest.FreeAddress(t)
		d := autorestarttest.Start(tb, autorestarttest.Program{Package: served, Args: []string{"-listen", address, "-lose"}})
		load := d.Load("http://" + address)
		d.Deploy(autorestarttest.ByRename)
		d.WantRestart()
		load.WantNoneLost()
	})
	if !regexp.MustCompile(`\d+ of \d+ requests were lost: (GET|POST) on a (kept|new) connection at `).MatchString(text) {
		t.Errorf("no lost request in\n%s", text)
	}
}
