package autorestarttest

import (
	"fmt"

	"github.com/autorestart-go/autorestart/autorestarttest/internal/protocol"
)

// A Way is a way to put a new version of an executable in place. Each makes the changes of the
// named command, without running that command.
type Way int

// Ways.
const (
	// ByRename writes a file beside the executable, and renames it: mv.
	ByRename Way = iota

	// ByCopy removes the executable, and writes a new one: cp -f.
	ByCopy

	// ByInstall does the same, and makes the file executable when it is complete: install.
	ByInstall

	// ByLink removes the executable, and puts a hard link in its place: ln -f.
	ByLink

	// BySymlink writes a file in another directory, and makes the symbolic link through which
	// the daemon was started lead to that directory: ln -sfn.
	BySymlink
)

var wayNames = [...]string{"rename", "copy", "install", "link", "symlink"}

// String returns the way as a word, as "rename".
func (w Way) String() string { return nameIn(wayNames[:], int(w)) }

// Ways returns all ways.
func Ways() []Way { return []Way{ByRename, ByCopy, ByInstall, ByLink, BySymlink} }

func nameIn(names []string, i int) string {
	if i < 0 || i >= len(names) {
		return fmt.Sprintf("unknown (%d)", i)
	}
	return names[i]
}

// A Fault is how a version fails.
type Fault int

// Faults.
const (
	// Panics is a version in which autorestart.Ready panics. It is rolled back if main calls
	// Ready, with autorestart.RollbackUnlessReady deferred.
	Panics Fault = iota + 1

	// PanicsBeforeMain is a version that panics in the initialisation of a package. Without
	// Overlap that ends the daemon.
	PanicsBeforeMain

	// Exits is a version that calls os.Exit in place of autorestart.Ready. Without Overlap that
	// ends the daemon.
	Exits

	// Hangs is a version that does not come to main.
	Hangs

	// NeverReady is a version in which autorestart.Ready does nothing.
	NeverReady
)

var (
	faultNames = [...]string{"none", "panics", "panics before main", "exits", "hangs", "never ready"}
	faults     = [...]string{"", protocol.FaultPanic, protocol.FaultInitPanic, protocol.FaultExit, protocol.FaultHang, protocol.FaultNotReady}
)

// String returns the fault in words, as "never ready".
func (f Fault) String() string { return nameIn(faultNames[:], int(f)) }

// Deploy deploys a new version. The flags of go build are those of the [Program] and the given
// ones, as "-ldflags=-X main.version=2". Without flags, the versions of a daemon differ only in
// what follows the end of the executable.
func (d *Daemon) Deploy(way Way, flags ...string) {
	d.t.Helper()
	d.deploy(way, 0, flags)
}

// DeployBroken deploys a version that fails, by a rename.
func (d *Daemon) DeployBroken(fault Fault) {
	d.t.Helper()
	if fault <= 0 || int(fault) >= len(faults) {
		d.t.Fatalf("autorestarttest: there is no fault %d", fault)
	}
	d.deploy(ByRename, fault, nil)
}

func (d *Daemon) deploy(way Way, fault Fault, flags []string) {
	d.t.Helper()
	e := d.program.build(d.t, flags...)
	v := d.site.version(e, d.label(fault))
	if err := v.put(way); err != nil {
		d.t.Fatalf("autorestarttest: deploy by %v: %v", way, err)
	}
}

// label returns the label of one more version.
func (d *Daemon) label(fault Fault) protocol.Label {
	d.reports.mu.Lock()
	defer d.reports.mu.Unlock()
	d.newest++
	d.deploys++
	return protocol.Label{Version: d.newest, Fault: faults[fault], Socket: d.socket.Addr().String()}
}
