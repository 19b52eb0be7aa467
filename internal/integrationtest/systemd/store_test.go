//go:build linux && !autorestart_portable

package systemd_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/systemdtest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// Units whose store has no room, or is lost, or is not alone.

const fullStore = "files are not found after a crash: systemd stores no more"

// ports returns addresses of that many ports.
func ports(first, n int) (addresses []string) {
	for i := range n {
		addresses = append(addresses, "127.0.0.1:"+strconv.Itoa(first+i))
	}
	return addresses
}

// newStoring starts a daemon with these addresses.
func newStoring(t *testing.T, name string, addresses []string, options string) *daemon {
	t.Helper()
	d := newCrashing(t, name, strings.Join(addresses, ","), options)
	d.address = addresses[0]
	return d
}

// wantCount requests the count, which must be that number.
func (d *daemon) wantCount(want int) {
	d.t.Helper()
	if got, err := d.get("/count"); got != fmt.Sprint(want) || err != nil {
		d.t.Errorf("the count is %q, %v; expected %d", got, err, want)
	}
}

func (d *daemon) wantStored(n int) {
	d.t.Helper()
	var got string
	if !testprocess.Within(testprocess.Timeout, func() bool {
		got = d.Property(d.t, d.unit, "NFileDescriptorStore")
		return got == strconv.Itoa(n)
	}) {
		d.t.Errorf("systemd has stored %s files, expected %d", got, n)
	}
}

// wantRefused waits until connections are refused: systemd closes what it removes from the store in a process of its own.
func (d *daemon) wantRefused() {
	d.t.Helper()
	testprocess.WaitFor(d.t, "refused connection", func() bool {
		conn, err := d.Dial(d.network, d.address)
		if err == nil {
			conn.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
}

// killed kills the daemon and waits until the next process serves at all addresses.
func (d *daemon) killed(addresses ...string) {
	d.t.Helper()
	before := d.Property(d.t, d.unit, "MainPID")
	d.kill(syscall.SIGKILL)
	testprocess.WaitFor(d.t, "next process", func() bool {
		p := d.Properties(d.t, d.unit, "MainPID", "ActiveState")
		return p["ActiveState"] == "active" && p["MainPID"] != before
	})
	first := d.address
	for _, d.address = range addresses {
		if got := d.page("/"); got != "1" {
			d.t.Errorf("%s: %q", d.address, got)
		}
	}
	d.address = first
}

// A store that is too small keeps the states and what has room. The rest is opened anew after a crash.
func TestStoreThatIsFull(t *testing.T) {
	addresses := ports(8130, 4)
	d := newStoring(t, "fullstore", addresses, "FileDescriptorStoreMax=3\n")
	d.WantLogged(t, d.unit, fullStore)
	d.wantStored(3)
	for n := range 3 {
		d.wantCount(n + 1)
		d.killed(addresses...)
		d.wantStored(3)
	}
	d.wantCount(4)
}

// More files than the soft limit of descriptors are never stored: systemd could not start the unit.
func TestStoreAboveLimitOfDescriptors(t *testing.T) {
	addresses := ports(8140, 60)
	d := newStoring(t, "fewdescriptors", addresses, "FileDescriptorStoreMax=1000\nLimitNOFILE=64:4096\n")
	d.WantLogged(t, d.unit, fullStore)
	d.wantStored(64 - 16)
	for n := range 2 {
		d.wantCount(n + 1)
		d.killed(addresses...)
	}
	d.wantCount(3)
}

// Without FileDescriptorStoreMax nothing is kept, and nothing is logged.
func TestServiceWithoutStore(t *testing.T) {
	d := newStoring(t, "nostore", ports(8134, 1), "")
	d.wantCount(1)
	d.killed(d.address)
	d.wantCount(1)
	d.wantStored(0)
	if lines := warnings(d.Log(t, d.unit)); len(lines) > 0 {
		t.Errorf("logged %q", lines)
	}
}

// When StartLimitBurst is reached, systemd releases the store: clients are refused, and the next
// start is a fresh one.
func TestStoreIsReleasedAtStartLimit(t *testing.T) {
	d := newStoring(t, "startlimit", ports(8135, 1),
		"FileDescriptorStoreMax=20\n[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=2\n")
	d.wantCount(1)
	d.killed(d.address)
	d.wantCount(2)
	d.kill(syscall.SIGKILL)
	d.WantState(t, d.unit, "failed")
	d.wantStored(0)
	d.wantRefused()
	d.Run(t, "systemctl", "reset-failed", d.unit)
	d.Run(t, "systemctl", "start", d.unit)
	d.wantCount(1)
}

// Each instance of a template has a store of its own.
func TestInstancesHaveTheirStores(t *testing.T) {
	d := &daemon{
		System: systemdtest.Machine(t), t: t,
		program: systemdtest.Build(t, crashing),
		path:    "/srv/instances/daemon", network: "tcp",
	}
	d.deploy(1)
	t.Cleanup(func() { d.Remove(t, "/srv/instances") })
	d.Unit(t, "instance@.service", "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=notify\nRestart=always\nRestartSec=100ms\n"+
		"FileDescriptorStoreMax=20\nExecStart="+d.path+" -addresses=127.0.0.1:%i\n")
	instance := func(port int) *daemon {
		other := *d
		other.unit, other.address = fmt.Sprintf("instance@%d.service", port), fmt.Sprintf("127.0.0.1:%d", port)
		return &other
	}
	a, b := instance(8136), instance(8137)
	d.Run(t, "systemctl", "start", a.unit, b.unit)
	a.wantCount(1)
	b.wantCount(1)
	b.wantCount(2)
	a.killed(a.address)
	a.wantCount(2)
	b.killed(b.address)
	b.wantCount(3)
	a.wantStored(3)
	b.wantStored(3)
}

// A listener of a .socket unit is not stored: systemd passes it to each start.
func TestSocketUnitBesideStore(t *testing.T) {
	addresses := ports(8138, 2)
	d := newStoring(t, "besidesocket", addresses, "FileDescriptorStoreMax=20\n")
	d.Run(t, "systemctl", "stop", d.unit)
	d.Unit(t, "besidesocket.socket", "[Socket]\nListenStream="+addresses[0]+"\n")
	d.Run(t, "systemctl", "start", "besidesocket.socket")
	for n := range 3 {
		d.wantCount(n + 1)
		d.wantStored(3) // the log, and the other listener
		d.killed(addresses...)
	}
	d.deploy(2)
	d.WantLogged(t, d.unit, "serving version=2 generation=1")
	d.wantCount(4)
	d.wantStored(3)
	if lines := warnings(d.Log(t, d.unit)); len(lines) > 0 {
		t.Errorf("logged %q", lines)
	}
}

// A descriptor that the program stores by itself stays, and takes a place of the store. The library counts it when systemd
// has passed it to a start.
func TestStoreOfProgram(t *testing.T) {
	const text = "a file of the program"
	t.Run("room", func(t *testing.T) {
		addresses := ports(8230, 2)
		d := newCrashing(t, "ownroom", strings.Join(addresses, ",")+" -own", "FileDescriptorStoreMax=5\n")
		d.address = addresses[0]
		for n := range 3 {
			d.wantCount(n + 1)
			d.wantStored(5)
			d.killed(addresses...)
			if got := d.page("/own"); got != text {
				t.Errorf("the stored file contains %q", got)
			}
		}
		d.deploy(2)
		d.WantLogged(t, d.unit, "serving version=2 generation=1")
		d.wantCount(4)
		if got := d.page("/own"); got != text {
			t.Errorf("after a deploy, the stored file contains %q", got)
		}
		d.wantStored(5)
		if log := d.Log(t, d.unit); strings.Contains(log, fullStore) {
			t.Error("logged that there is no room")
		}
	})
	t.Run("no room", func(t *testing.T) {
		addresses := ports(8232, 3)
		d := newCrashing(t, "ownfull", strings.Join(addresses, ",")+" -own", "FileDescriptorStoreMax=5\n")
		d.address = addresses[0]
		d.wantCount(1)
		d.wantStored(5)
		d.killed(addresses...)
		// systemd has dropped a listener silently. From now on, the library knows that there is no room.
		d.WantLogged(t, d.unit, "what systemd has stored is not complete")
		d.WantLogged(t, d.unit, fullStore)
		d.WantLogged(t, d.unit, "limit=5 needed=6")
		for n := range 3 {
			d.wantCount(n + 1)
			d.wantStored(5)
			if n == 1 {
				d.deploy(2)
				d.WantLogged(t, d.unit, "serving version=2 generation=1")
				continue
			}
			d.killed()
			if got := d.page("/own"); got != text {
				t.Errorf("the stored file contains %q", got)
			}
		}
		d.wantCount(4)
	})
}

// With PrivatePIDs=, LISTEN_PID is a PID outside of the namespace of the service.
func TestStoreWithPrivatePIDs(t *testing.T) {
	d := newStoring(t, "privatestore", ports(8139, 1), "FileDescriptorStoreMax=20\nPrivatePIDs=yes\n")
	for n := range 3 {
		d.wantCount(n + 1)
		d.killed(d.address)
	}
	d.wantCount(4)
	if lines := warnings(d.Log(t, d.unit)); len(lines) > 0 {
		t.Errorf("logged %q", lines)
	}
}

// With PrivateNetwork=, a process that systemd starts again is in another network: a listener of the one before has no clients
// there. The network stays the same while another unit is in it, too.
func TestStoreWithPrivateNetwork(t *testing.T) {
	other := newStoring(t, "othernetwork", ports(8140, 1), "PrivateNetwork=yes\n")
	for name, test := range map[string]struct{ options, found string }{
		"alone":  {"", "files=0 states=1"},
		"joined": {"[Unit]\nJoinsNamespaceOf=" + other.unit + "\n", "files=1 states=1"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newStoring(t, name+"network", ports(8141, 1), "FileDescriptorStoreMax=20\nPrivateNetwork=yes\n"+test.options)
			for n := range 3 {
				d.known()
				d.wantCountInside(n + 1)
				d.wantStored(3)
				d.kill(syscall.SIGKILL)
				d.WantLogged(t, d.unit, fmt.Sprintf("serving version=1 generation=0 count=%d", n+1))
			}
			if log := d.Log(t, d.unit); strings.Count(log, test.found) != 3 {
				t.Errorf("there is not three times %q in the log", test.found)
			}
		})
	}
}

// The listeners of a .socket unit count against the limit of descriptors, too.
func TestStoreBesideManySockets(t *testing.T) {
	addresses := ports(8300, 80)
	d := newStoring(t, "manysockets", addresses, "FileDescriptorStoreMax=1000\nLimitNOFILE=64:4096\n")
	d.Run(t, "systemctl", "stop", d.unit)
	d.Unit(t, "manysockets.socket", "[Socket]\nListenStream="+strings.Join(addresses[:30], "\nListenStream=")+"\n")
	d.Run(t, "systemctl", "start", "manysockets.socket")
	for n := range 3 {
		d.wantCount(n + 1)
		d.killed(addresses[0], addresses[79])
	}
	d.wantStored(64 - 16 - 30)
	d.deploy(2)
	d.WantLogged(t, d.unit, "serving version=2 generation=1")
	d.wantCount(4)
	d.wantStored(64 - 16 - 30)
	d.kill(syscall.SIGKILL)
	d.wantCount(5)
}

// systemctl restart keeps the store. systemctl stop keeps it where the unit asks for that, and is enabled: otherwise systemd
// forgets the unit.
func TestStoreOverRestartAndStop(t *testing.T) {
	for name, keeps := range map[string]bool{"restart": false, "yes": true} {
		t.Run(name, func(t *testing.T) {
			d := newCrashing(t, "preserve-"+name, "127.0.0.1:8112",
				"FileDescriptorStoreMax=20\nFileDescriptorStorePreserve="+name+"\n[Install]\nWantedBy=multi-user.target\n")
			d.Run(t, "systemctl", "enable", d.unit)
			t.Cleanup(func() { d.Run(t, "systemctl", "disable", d.unit) })
			d.wantCount(1)
			d.Run(t, "systemctl", "restart", d.unit)
			d.wantCount(2)
			d.Run(t, "systemctl", "stop", d.unit)
			stored := d.Property(t, d.unit, "NFileDescriptorStore")
			if (stored != "0") != keeps {
				t.Errorf("systemd has %s files of the stopped unit", stored)
			}
			d.Run(t, "systemctl", "start", d.unit)
			if keeps {
				d.wantCount(3)
			} else {
				d.wantCount(1)
			}
		})
	}
}
