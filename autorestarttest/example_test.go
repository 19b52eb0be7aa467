package autorestarttest_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/autorestarttest"
)

// t is what a test gets.
var t *testing.T

// A test of a daemon with an HTTP server: a deploy, and a version that panics before it is ready. All
// requests are answered by the same process.
func Example() {
	address := autorestarttest.FreeAddress(t)
	d := autorestarttest.Start(t, autorestarttest.Program{
		Package: "./cmd/served",
		Args:    []string{"-listen", address},
	})
	load := d.Load("http://" + address)
	d.Deploy(autorestarttest.ByRename)
	d.WantRestart()
	d.DeployBroken(autorestarttest.Panics)
	d.WantRollback()
	load.WantNoneLost()
}

// A daemon for another protocol than HTTP: the load is a function. One daemon is deployed in all ways.
func ExampleDaemon_LoadFunc() {
	address := autorestarttest.FreeAddress(t)
	d := autorestarttest.Start(t, autorestarttest.Program{Package: "./cmd/echod", Args: []string{address}})
	load := d.LoadFunc(4, func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		defer conn.Close()
		context.AfterFunc(ctx, func() { conn.Close() })
		fmt.Fprintln(conn, "hello")
		var word string
		_, err = fmt.Fscan(conn, &word)
		return err
	})
	for _, way := range autorestarttest.Ways() {
		d.Deploy(way)
		d.WantRestart()
	}
	load.WantNoneLost()
}

// With Overlap, a version that exits before it is ready does not end the daemon. The program has a
// flag for Overlap, and a certificate that the clients of the test accept.
func ExampleDaemon_WantRollback() {
	d := autorestarttest.Start(t, autorestarttest.Program{
		Package: "./cmd/served",
		Args:    []string{"-overlap", "-listen", "127.0.0.1:8443"},
		TLS:     &tls.Config{InsecureSkipVerify: true},
	})
	load := d.Load("https://127.0.0.1:8443")
	for _, fault := range []autorestarttest.Fault{autorestarttest.Exits, autorestarttest.PanicsBeforeMain} {
		d.DeployBroken(fault)
		t.Log(d.WantRollback())
	}
	load.WantNoneLost()
}

// The two versions of this test answer differently.
func ExampleDaemon_Deploy() {
	d := autorestarttest.Start(t, autorestarttest.Program{
		Package: "./cmd/served",
		Flags:   []string{"-race", "-ldflags=-X main.version=1"},
	})
	d.Deploy(autorestarttest.BySymlink, "-ldflags=-X main.version=2")
	times := d.WantRestart()
	t.Log("clients have waited for about ", times.Started.Sub(times.Quiesced))
}

// Each way to deploy is a test of its own, with the same functions for the daemon and its load.
func ExampleWays() {
	start := func(t *testing.T) (*autorestarttest.Daemon, *autorestarttest.Load) {
		address := autorestarttest.FreeAddress(t)
		d := autorestarttest.Start(t, autorestarttest.Program{Package: "./cmd/served", Args: []string{"-listen", address}})
		return d, d.Load("http://" + address)
	}
	deploy := func(way autorestarttest.Way) {
		t.Run(way.String(), func(t *testing.T) {
			t.Parallel()
			d, load := start(t)
			d.Deploy(way)
			d.WantRestart()
			load.WantNoneLost()
		})
	}
	for _, way := range autorestarttest.Ways() {
		deploy(way)
	}
}

// A unit test of code that drains: nothing is built and nothing is executed.
func ExampleProcess() {
	var p *autorestarttest.Process = autorestarttest.NewProcess(t)
	unregister := autorestart.RegisterDrainer(newQueue())
	defer unregister()
	p.BeginDrain(time.Second)
	// The code under test does not accept work now.
	p.CallOff()
	// Now it does.
}

// A unit test of code that hands something over to the next version.
func ExampleProcess_Restart() {
	p := autorestarttest.NewProcess(t)
	autorestart.SetState("position", []byte("42"))
	p.Restart(&autorestart.Restarter{ReadyTimeout: time.Minute})
	if position, ok := autorestart.State("position"); !ok {
		t.Errorf("the next version begins at %q", position)
	}
	p.RollBack(errors.New("the format is unknown"))
	// The previous version runs again, with the state.
}
