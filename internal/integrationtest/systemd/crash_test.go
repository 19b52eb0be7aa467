//go:build linux && !autorestart_portable

package systemd_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/systemdtest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// crashing is a program that uses package systemd.
const crashing = "internal/integrationtest/systemd/testdata/crashing"

// newCrashing starts a daemon of testdata/crashing.
func newCrashing(t *testing.T, name, address, options string) *daemon {
	t.Helper()
	d := &daemon{
		System: systemdtest.Machine(t), t: t,
		program: systemdtest.Build(t, crashing),
		path:    "/srv/" + name + "/daemon", unit: name + ".service", network: "tcp", address: address,
	}
	d.deploy(1)
	t.Cleanup(func() { d.Remove(t, "/srv/"+name) })
	d.Unit(t, d.unit, d.crashingUnit(address, options))
	d.Run(t, "systemctl", "start", d.unit)
	return d
}

// crashingUnit is the text of its unit.
func (d *daemon) crashingUnit(address, options string) string {
	return "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=notify\nExecStart=" + d.path + " -addresses=" + address +
		"\nRestart=always\nRestartSec=100ms\n" + options
}

// get requests a page on a connection of its own.
func (d *daemon) get(page string) (string, error) { return d.getFrom("1", page) }

// getFrom is get in the network of a process.
func (d *daemon) getFrom(pid, page string) (string, error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialFrom(ctx, pid, d.network, d.address)
		},
	}}
	ctx, stop := testprocess.WithTimeout(context.Background(), testprocess.Timeout)
	defer stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://machine"+page, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	return string(b), err
}

// A daemon that crashes finds its listener and its state when systemd starts it again. Clients of the time
// in between wait.
func TestServiceThatCrashes(t *testing.T) {
	d := newCrashing(t, "crashing", "127.0.0.1:8100", "FileDescriptorStoreMax=20\n")
	for n, by := range []string{"kill", "panic", "exit", "segv", "kill"} {
		want := fmt.Sprint(n + 1)
		if got, err := d.get("/count"); got != want || err != nil {
			t.Fatalf("request %d: %q, %v", n+1, got, err)
		}
		d.get("/crash?by=" + by)
	}
	if got, err := d.get("/count"); got != "6" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// A service that has ended finds its listeners when systemd starts it again: if it ends at once after it has closed them,
// and if it takes longer and has called Stopping. A client that has connected meanwhile is served. Without Stopping, a
// service that takes longer finds its state only, and refuses clients until then.
func TestServiceThatEnds(t *testing.T) {
	all := map[string]*daemon{}
	for n, by := range []string{"end", "stop", "late"} { // late is the last one to close its listener
		d := newCrashing(t, "ends-"+by, ports(8220+n, 1)[0], "FileDescriptorStoreMax=20\n")
		all[by] = d
		d.wantCount(1)
		d.wantStored(3)
		d.get("/crash?by=" + by) // returns when the listener is closed
	}
	all["late"].wantStored(2)
	if stored := all["stop"].Property(t, "ends-stop.service", "NFileDescriptorStore"); stored != "3" {
		t.Fatalf("systemd has %s files of the service that has called Stopping and has closed its listener earlier, expected 3", stored)
	}
	waiting := all["stop"].requestCount()
	all["late"].wantRefused()
	for _, by := range []string{"stop", "late"} {
		all[by].WriteFile(t, "/srv/ends-"+by+"/release", 0o600, nil)
	}
	wantResponse(t, waiting, 2)
	for by, files := range map[string]int{"end": 1, "stop": 1, "late": 0} {
		d := all[by]
		d.WantLogged(t, d.unit, fmt.Sprintf(`"found files and states of the process before this one" files=%d states=1`, files))
	}
	all["end"].wantCount(2)
	all["late"].wantCount(2)
}

// A listener that was shut down is dead: systemd stores it, and it accepts nothing. The next process opens another one,
// and finds the state.
func TestListenerThatWasShutDown(t *testing.T) {
	d := newStoring(t, "shutdown", append(ports(8240, 1), "/run/shutdown/sock"),
		"FileDescriptorStoreMax=20\nRuntimeDirectory=shutdown\nRuntimeDirectoryPreserve=restart\n")
	for n := range 2 {
		d.wantCount(n + 1)
		d.network, d.address = "unix", "/run/shutdown/sock"
		d.page("/")
		d.network, d.address = "tcp", "127.0.0.1:8240"
		if t.Failed() {
			return
		}
		d.wantStored(4)
		d.get("/crash?by=shutdown")
		d.WantLogged(t, d.unit, fmt.Sprintf("serving version=1 generation=0 count=%d", n+1))
	}
	d.wantCount(3)
	d.wantStored(4)
}

// A packet socket is found, too: datagrams that arrive while no process runs wait in it.
func TestPacketSocketInStore(t *testing.T) {
	t.Parallel()
	const packets = "127.0.0.1:8251"
	d := newCrashing(t, "packets", "127.0.0.1:8250 -packets="+packets, "FileDescriptorStoreMax=20\nRestartSec=1h\n")
	conn, err := d.Dial("udp", packets)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	d.known()
	d.wantStored(4) // the log, the state, and both sockets
	d.sendPackets(conn, "first")
	d.wantPackets(conn, "first")
	for range 3 {
		d.kill(syscall.SIGKILL)
		testprocess.WaitFor(t, "unit without a process", func() bool { return d.Property(t, d.unit, "SubState") == "auto-restart" })
		d.sendPackets(conn, "a", "b", "c")
		d.Run(t, "systemctl", "restart", d.unit) // does not wait for RestartSec
		d.known()
		d.wantPackets(conn, "a", "b", "c")
		d.wantStored(4)
	}
	d.deploy(2)
	d.WantLogged(t, d.unit, "serving version=2 generation=1")
	d.sendPackets(conn, "last")
	d.wantPackets(conn, "last")
	d.wantStored(4)
}

// sendPackets sends datagrams with these texts.
func (d *daemon) sendPackets(conn net.Conn, texts ...string) {
	d.t.Helper()
	for _, text := range texts {
		if _, err := io.WriteString(conn, text); err != nil {
			d.t.Fatalf("datagram %q is not sent: %v", text, err)
		}
	}
}

// wantPackets waits for the answers to these datagrams by the process that is known.
func (d *daemon) wantPackets(conn net.Conn, texts ...string) {
	d.t.Helper()
	defer testprocess.LimitIO(conn, testprocess.Timeout)()
	answer := make([]byte, 100)
	for _, text := range texts {
		n, err := conn.Read(answer)
		if got, want := string(answer[:n]), d.pid+" "+text; got != want || err != nil {
			d.t.Fatalf("the answer is %q, %v; expected %q", got, err, want)
		}
	}
}

// A version that does not listen at an address any more has its listener removed from the store when it is ready, and clients
// are refused there. That is so if systemd starts the version after a crash, and if it is deployed.
func TestListenerThatIsNotClaimed(t *testing.T) {
	t.Parallel()
	for n, test := range []struct {
		name, flags string
		generation  int
	}{
		{"crash", " -watch=false", 0},
		{"deploy", "", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			addresses := ports(8252+2*n, 2)
			d := newCrashing(t, "unclaimed-"+test.name, strings.Join(addresses, ",")+test.flags, "FileDescriptorStoreMax=20\n")
			d.address = addresses[1]
			d.wantCount(1)
			d.wantStored(4) // the log, the state, and both listeners
			d.deploy(fewer)
			if test.generation == 0 {
				d.kill(syscall.SIGKILL)
			}
			d.WantLogged(t, d.unit, fmt.Sprintf("serving version=%d generation=%d count=1", fewer, test.generation))
			d.wantStored(3)
			d.wantRefused()
			d.address = addresses[0]
			d.wantCount(2)
		})
	}
}
