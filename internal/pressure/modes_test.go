//go:build linux && !autorestart_portable

package pressure

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A mode is what makes a run harder.
type mode struct {
	name    string
	short   int  // pairs of deploys in the short form
	pairs   int  // for a server at most; 0 means all
	overlap bool // of the Restarter
	clients []clientKind
	before  func(*run) // prepares the server, which has not been started
	loaded  func(*run) // is called when the clients have begun
}

var modes = []mode{
	{name: "plain", short: 8, clients: allKinds},
	{name: "busy", short: 3, clients: allKinds, before: (*run).keepBusy},
	{name: "full", short: 5, clients: keptKinds, before: (*run).limitDescriptors, loaded: (*run).fillTable},
	{name: "faults", short: 3, pairs: 100, clients: allKinds, before: (*run).injectFaults},
	{name: "overlap", short: 4, overlap: true, clients: allKinds},
	{name: "overlap-full", short: 3, overlap: true, clients: keptKinds, before: (*run).limitDescriptors, loaded: (*run).fillTable},
	{name: "overlap-crowded", short: 2, overlap: true, clients: keptKinds, before: (*run).crowd, loaded: (*run).fillTable},
	{name: "overlap-faults", short: 3, pairs: 100, overlap: true, clients: allKinds, before: (*run).injectFaults},
}

// run runs the servers of the mode.
func (m mode) run(t *testing.T, p plan) {
	parts := []plan{p}
	if m.pairs > 0 {
		parts = p.parts(m.pairs)
	}
	rep := newReport(p, m)
	for i, part := range parts {
		t.Run(fmt.Sprintf("server %d", i+1), func(t *testing.T) { runServer(t, part, m, rep) })
	}
	if p.whole {
		rep.write(t)
	}
}

// A clientKind is a number of clients of one kind.
type clientKind struct {
	name  string
	n     int
	start func(r *run, c *client)
}

var (
	allKinds = append([]clientKind{
		{"new", 2, overHTTP("tcp", false)},
		{"unix new", 2, overHTTP("unix", false)},
		{"http2", 4, overHTTP2},
	}, keptKinds...)
	keptKinds = []clientKind{
		{"kept", 2, overHTTP("tcp", true)},
		{"unix kept", 2, overHTTP("unix", true)},
		{"idle", 15, overIdle("tcp")},
		{"unix idle", 5, overIdle("unix")},
	}
)

func overHTTP(network string, keepAlive bool) func(*run, *client) {
	return func(r *run, c *client) {
		c.transport = newTransport(r.address(network))
		c.transport.DisableKeepAlives = !keepAlive
		c.wait, c.post = waitShortly, byTransport
	}
}

// overHTTP2 has all clients share connections.
func overHTTP2(r *run, c *client) {
	if r.http2 == nil {
		r.http2 = newTransport(r.address("tls"))
		r.http2.ForceAttemptHTTP2 = true
	}
	c.transport, c.wait, c.post = r.http2, waitShortly, byTransport
}

func overIdle(network string) func(*run, *client) {
	return func(r *run, c *client) {
		c.idle.network, c.idle.address = r.address(network)
		c.wait, c.post = waitIdle, byIdleConn
	}
}

// keepBusy starts processes that do nothing but run. They end with the test.
func (r *run) keepBusy() {
	testprocess.NeedTool(r.t, "sh")
	n := 4
	if r.whole {
		n = 20
	}
	r.notes = append(r.notes, strconv.Itoa(n)+" busy processes")
	for range n {
		cmd := exec.Command("sh", "-c", "while kill -0 $PPID; do :; done")
		if err := cmd.Start(); err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
	}
}

// limitDescriptors gives the server a small table of descriptors.
func (r *run) limitDescriptors() {
	limit := 128
	if r.whole {
		limit = 1024
	}
	testprocess.NeedTool(r.t, "sh")
	r.d.Cmd.Path = "/bin/sh"
	r.d.Cmd.Args = []string{"sh", "-c", `ulimit -n "$1" && exec "$0"`, r.d.Path, strconv.Itoa(limit)}
	r.notes = append(r.notes, "RLIMIT_NOFILE "+strconv.Itoa(limit))
}

// crowd has the main process refuse connections from stand-ins that end.
func (r *run) crowd() {
	r.limitDescriptors()
	r.d.Setenv(crowdedEnv + "=1")
}

// fillTable opens idle connections until the server has no descriptor for another one.
func (r *run) fillTable() {
	answered := func(c *client) bool {
		if err := c.idle.open(); err != nil {
			r.t.Fatal(err)
		}
		_, _, err := c.idle.post("fill", time.Second)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			r.t.Fatal(err)
		}
		return err == nil
	}
	for _, c := range r.clients { // each has a connection before there is none left
		testprocess.Receive(r.t, "first answer", c.served)
	}
	kind := clientKind{name: "idle", start: overIdle("tcp")}
	for n := 0; ; n++ {
		probe := new(client)
		kind.start(r, probe)
		if !answered(probe) {
			probe.close()
			r.notes = append(r.notes, fmt.Sprintf("%d idle connections fill the table", n))
			return
		}
		fresh := kind
		fresh.start = func(_ *run, c *client) { kind.start(r, c); c.idle = probe.idle }
		r.startClient(fresh)
	}
}
