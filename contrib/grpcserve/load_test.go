//go:build linux

package grpcserve_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/handover"
)

// A load has clients make unary calls while a daemon is restarted.
type load struct {
	network  string
	tls      bool
	mutual   bool // TLS with a client's certificate
	own      bool // a listener that is not of package sockets
	overlap  bool
	restarts int
	restart  func(d *Daemon, awaitCalls func()) // returns when the last image is ready
}

func restartOnce(d *Daemon, _ func()) {
	d.Restart()
	d.Want("ready")
}

func TestNoCallIsLost(t *testing.T) {
	for name, l := range map[string]load{
		"tcp":     {network: "tcp"},
		"unix":    {network: "unix"},
		"TLS":     {network: "tcp", tls: true},
		"mTLS":    {network: "tcp", tls: true, mutual: true},
		"wrapped": {network: "tcp", own: true},
	} {
		t.Run(name, func(t *testing.T) {
			l.restarts, l.restart = 6, restartOnce
			if testing.Short() {
				l.restarts = 3
			}
			l.run(t)
		})
	}
}

func TestNoCallIsLostByDeploy(t *testing.T) {
	l := load{network: "tcp", restarts: 3, restart: func(d *Daemon, _ func()) {
		d.Tell("watch")
		d.Deploy()
		d.Want("start")
		d.Want("ready")
	}}
	l.run(t)
}

func TestNoCallIsLostByRestartThatIsCalledOff(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", secure), func(t *testing.T) {
			l := load{network: "tcp", tls: secure, restarts: 6, restart: func(d *Daemon, _ func()) {
				if got := d.Ask("restart-off", "off"); got != "true" {
					t.Errorf("the restart was not called off: %s", got)
				}
			}}
			l.run(t)
		})
	}
}

// A version that has served is rolled back before it is ready.
func TestNoCallIsLostByRollback(t *testing.T) {
	if !handover.CanRollBack {
		t.Skip("no rollback on this system")
	}
	l := load{network: "tcp", restarts: 2, restart: func(d *Daemon, awaitCalls func()) {
		d.Deploy() // a version that has failed is not executed again
		d.Ask("next unready", "done")
		d.Restart()
		d.Want("ready")
		awaitCalls()
		d.Tell("fail")
		d.NextStart()
		d.Want("ready")
	}}
	l.run(t)
}

func TestNoCallIsLostWithOverlap(t *testing.T) {
	l := load{network: "tcp", overlap: true, restarts: 3, restart: func(d *Daemon, _ func()) {
		d.Tell("restart")
		for event := ""; event != "ready"; { // the stand-in starts, too
			event, _ = d.Next()
		}
	}}
	l.run(t)
}

func (l load) run(t *testing.T) {
	env := []string{networkEnv + "=" + l.network}
	var target func(address string) string
	if l.network == "unix" {
		env = append(env, addressEnv+"="+filepath.Join(t.TempDir(), "socket"))
		target = func(address string) string { return "unix:" + address }
	} else {
		env = append(env, addressEnv+"=127.0.0.1:0")
		target = func(address string) string { return "passthrough:///" + address }
	}
	var config *tls.Config
	if l.tls {
		cert := writeCertificate(t)
		config = &tls.Config{InsecureSkipVerify: true}
		env = append(env, certEnv+"="+cert)
		if l.mutual {
			config.Certificates = []tls.Certificate{Must(tls.LoadX509KeyPair(cert+".pem", cert+".key"))}
			env = append(env, mutualEnv+"=1")
		}
	}
	if l.own {
		env = append(env, listenerEnv+"=own")
	}
	if l.overlap {
		env = append(env, overlapEnv+"=1")
	}
	d := Start(t, "rpc", env...)
	address := target(d.Want("ready"))

	calls := startCalls(t, address, config, l.mutual)
	var longest time.Duration
	for range l.restarts {
		calls.awaitSome()
		l.restart(d, calls.awaitSome)
		if drain, err := time.ParseDuration(d.Ask("drain", "drain")); err != nil {
			t.Fatal(err)
		} else {
			longest = max(longest, drain)
		}
	}
	calls.awaitSome()
	calls.end()
	if got := d.Ask("calls", "done"); got == "0" {
		t.Error("the interceptor has seen no calls")
	}
	t.Logf("%d calls, the longest drain took %v", calls.done.Load(), longest)
}

// calls are unary calls of several clients. Half of the clients keep their connection, the others
// make a new one for each call.
type calls struct {
	t    *testing.T
	done atomic.Int64
	wg   sync.WaitGroup
	end  func()
}

func startCalls(t *testing.T, target string, config *tls.Config, mutual bool) *calls {
	const clients = 6
	c := &calls{t: t}
	stop := make(chan struct{})
	c.end = sync.OnceFunc(func() {
		close(stop)
		c.wg.Wait()
	})
	t.Cleanup(c.end)
	for i := range clients {
		keep := i%2 == 0
		client, err := newClient(target, config)
		if err != nil {
			t.Fatal(err)
		}
		c.wg.Go(func() {
			defer func() { client.Close() }()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if !keep {
					client.Close()
					if client, err = newClient(target, config); err != nil {
						t.Error(err)
						return
					}
				}
				want := fmt.Sprint(i, " ", n)
				body := "echo " + want
				if mutual {
					body, want = "name", "example"
				}
				if got, err := client.call(context.Background(), body); got != want || err != nil {
					t.Errorf("call %q, on a connection of its own: %v: %q, %v", body, !keep, got, err)
				}
				c.done.Add(1)
			}
		})
	}
	return c
}

// awaitSome waits for a number of calls.
func (c *calls) awaitSome() {
	c.t.Helper()
	before := c.done.Load()
	WaitFor(c.t, "call", func() bool { return c.done.Load() > before+50 })
}
