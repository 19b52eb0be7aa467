//go:build linux && !autorestart_portable

package systemd_test

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// Units and programs that change while the store has their sockets.

// requestCount connects and requests the count. The server that responds may start later, see wantResponse.
func (d *daemon) requestCount() net.Conn {
	d.t.Helper()
	conn, err := d.Dial(d.network, d.address)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { conn.Close() })
	fmt.Fprint(conn, "GET /count HTTP/1.0\r\n\r\n")
	return conn
}

// wantResponse reads the response of a request that was sent.
func wantResponse(t *testing.T, conn net.Conn, count int) {
	t.Helper()
	defer testprocess.LimitIO(conn, testprocess.Timeout)()
	if b, err := io.ReadAll(conn); !strings.HasSuffix(string(b), fmt.Sprintf("\r\n\r\n%d", count)) || err != nil {
		t.Errorf("a client of the queue receives %q, %v; expected the count %d", b, err, count)
	}
}

// addSocket adds a socket unit to the unit of a daemon.
func (d *daemon) addSocket(name, options string) {
	d.t.Helper()
	d.Unit(d.t, name+".socket", "[Socket]\nListenStream="+d.address+"\n")
	d.Unit(d.t, d.unit, d.crashingUnit(d.address, options+"[Unit]\nRequires="+name+".socket\nAfter="+name+".socket\n"))
}

// A socket unit that is added while systemd stores the listener of the same address can't bind it: systemctl restart
// fails, and the service stays down until the store is cleaned.
func TestSocketUnitForAddressInStore(t *testing.T) {
	const options = "FileDescriptorStoreMax=20\n"
	d := newStoring(t, "latersocket", ports(8210, 1), options)
	d.wantCount(1)
	d.addSocket("latersocket", options)
	if _, err := d.Try("systemctl", "restart", d.unit); err == nil {
		t.Error("the socket unit binds an address that is in use")
	}
	d.WantLogged(t, "latersocket.socket", "Failed to listen on sockets")
	d.Run(t, "systemctl", "clean", "--what=fdstore", d.unit)
	d.Run(t, "systemctl", "start", d.unit)
	d.wantStored(2)
	d.wantCount(1)
	d.killed(d.address)
	d.wantCount(2)
}

// A service that is stopped before it gets the socket unit starts with its listener.
func TestSocketUnitForStoppedService(t *testing.T) {
	const options = "FileDescriptorStoreMax=20\n"
	d := newStoring(t, "stoppedsocket", ports(8211, 1), options)
	d.wantCount(1)
	d.Run(t, "systemctl", "stop", d.unit)
	d.addSocket("stoppedsocket", options)
	d.Run(t, "systemctl", "start", d.unit)
	d.wantStored(2)
	d.wantCount(1)
	d.killed(d.address)
	d.wantCount(2)
}

// The socket unit of a Unix socket replaces its path. The service serves where clients connect, and the listener in the
// store is removed.
func TestSocketUnitForPathInStore(t *testing.T) {
	const options = "FileDescriptorStoreMax=20\nRuntimeDirectory=laterpath\nRuntimeDirectoryPreserve=restart\n"
	d := newStoring(t, "laterpath", []string{"/run/laterpath/sock"}, options)
	d.network = "unix"
	d.wantCount(1)
	d.addSocket("laterpath", options)
	d.Run(t, "systemctl", "restart", d.unit)
	d.wantCount(2)
	d.wantStored(2)
	d.killed(d.address)
	d.wantCount(3)
}

// A version without package systemd does not change the store: the next version that systemd starts finds the state of
// the version before.
func TestVersionWithoutStoreBetweenStarts(t *testing.T) {
	d := newCrashing(t, "between", ports(8214, 1)[0]+" -watch=false", "Type=exec\nFileDescriptorStoreMax=20\n")
	d.address = ports(8214, 1)[0]
	d.WantLogged(t, d.unit, "serving version=1 generation=0")
	d.wantCount(1)
	d.wantCount(2)
	d.deploy(plain)
	d.Run(t, "systemctl", "restart", d.unit)
	d.WantLogged(t, d.unit, "serving version=700 generation=0 count=0")
	d.wantCount(1)
	d.wantStored(3)
	d.deploy(2)
	d.Run(t, "systemctl", "restart", d.unit)
	d.WantLogged(t, d.unit, "serving version=2 generation=0 count=2")
	d.wantCount(3)
	d.wantStored(3)
}

// A version without package systemd, but with package sockets, serves at the listeners of the store when systemd starts
// it. The next version with package systemd, which it executes, stores what there is by then.
func TestVersionWithoutStore(t *testing.T) {
	for n, test := range []struct {
		name, options string
		start         func(d *daemon)
	}{
		{"restarted", "", func(d *daemon) { d.Run(t, "systemctl", "restart", d.unit) }},
		{"stopped", "FileDescriptorStorePreserve=yes\n[Install]\nWantedBy=multi-user.target\n", func(d *daemon) {
			d.Run(t, "systemctl", "enable", d.unit)
			t.Cleanup(func() { d.Try("systemctl", "disable", d.unit) })
			d.Run(t, "systemctl", "stop", d.unit)
			waiting := d.requestCount()
			d.Run(t, "systemctl", "start", d.unit)
			wantResponse(t, waiting, 1)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newStoring(t, test.name, ports(8212+n, 1), "Type=exec\nFileDescriptorStoreMax=20\n"+test.options)
			d.WantLogged(t, d.unit, "serving version=1 generation=0")
			d.wantCount(1)
			d.deploy(plain)
			d.WantLogged(t, d.unit, "serving version=700 generation=1")
			d.wantCount(2)
			d.wantStored(3)
			test.start(d)
			d.WantLogged(t, d.unit, "serving version=700 generation=0")
			before, err := d.get("/count")
			if err != nil {
				t.Fatal(err)
			}
			d.deploy(2)
			d.WantLogged(t, d.unit, "serving version=2 generation=1")
			count, _ := strconv.Atoi(before)
			d.wantCount(count + 1)
			d.wantStored(3)
			d.stop()
			waiting := d.requestCount()
			d.kill(syscall.SIGKILL)
			wantResponse(t, waiting, count+2)
			d.wantStored(3)
		})
	}
}
