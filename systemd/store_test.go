//go:build linux && !autorestart_portable

package systemd_test

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/systemd"
)

// inUnit makes this process one that systemd has started, in a unit that has room for descriptors.
func inUnit(t *testing.T) *receiver {
	r := listen(t, addresses(t)["path"])
	t.Setenv("NOTIFY_SOCKET", r.address)
	t.Setenv("SYSTEMD_EXEC_PID", "")
	t.Setenv("INVOCATION_ID", "4943371f57ef4c199155ceb9d485784b")
	t.Setenv("FDSTORE", "10")
	t.Setenv("LISTEN_PID", "")
	t.Setenv("LISTEN_FDS", "")
	t.Setenv("WATCHDOG_USEC", "")
	t.Cleanup(image.Current().Use)
	return r
}

// start starts an image of this process.
func start(t *testing.T, inherited *handover.State) *image.Image {
	i := image.Start(inherited, nil)
	t.Cleanup(func() {
		i.Store.CloseUnclaimed()
		for _, name := range i.Store.Names() {
			i.Store.Unpass(name)
		}
	})
	i.Use()
	return i
}

// wantStored waits until files are stored under names that end like these. All names have the same beginning, which
// it returns; a prefix, unless it is empty. Other files are removed before.
func (r *receiver) wantStored(t *testing.T, prefix string, parts ...string) string {
	t.Helper()
	for removal := true; len(parts) > 0; {
		action, name, _ := strings.Cut(r.next(), "FDNAME=")
		if removal = removal && action == "FDSTOREREMOVE=1\n"; !removal {
			if action != "FDSTORE=1\nFDPOLL=0\n" || !strings.HasSuffix(name, "."+parts[0]) {
				t.Fatalf("received %q for %q, want that %s is stored", action, name, parts[0])
			}
			parts = parts[1:]
		}
		set := name[:strings.LastIndex(name, ".")+1]
		if prefix == "" {
			prefix = set
		}
		if set != prefix {
			t.Fatalf("received %q for %q, want %s", action, name, prefix)
		}
	}
	return prefix
}

// An image that can't read the list of what systemd stores has it removed, also if it was stored in an earlier start.
func TestUnreadableLog(t *testing.T) {
	r := inUnit(t)
	i := start(t, new(handover.State))
	if err := new(systemd.Service).Start(); err != nil {
		t.Fatal(err)
	}
	set := r.wantStored(t, "", "log0", "log1")
	logs := 0
	for _, name := range i.Store.Names() {
		if fd, err := i.Store.InheritedDescriptor(name); err == nil && strings.Contains(name.String(), "fdstore-log") {
			logs++
			if _, err := unix.Pwrite(fd.Int(), make([]byte, 100), 0); err != nil {
				t.Error(err)
			}
			fd.Close()
		}
	}
	if logs != 2 {
		t.Fatalf("%d files of the log cross an exec, want 2", logs)
	}
	h := new(handover.State)
	var inherited *handover.State
	if err := i.Store.HandOver(h, func() (err error) {
		inherited, err = passing.Duplicate(h)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	start(t, inherited)
	t.Setenv("INVOCATION_ID", "55d2e1f57ef4c199155ceb9d485784b0") // as if the set came from before a crash
	if err := new(systemd.Service).Start(); err != nil {
		t.Fatal(err)
	}
	r.wantStored(t, set, "log0", "log1")
	r.wantNothing()
}

// Two services would write to one list of what systemd stores. The second one gets an error, and the first one works on.
func TestSecondService(t *testing.T) {
	r := inUnit(t)
	for range 2 { // the next image is another process
		start(t, new(handover.State))
		first, second := new(systemd.Service), new(systemd.Service)
		for range 2 {
			if err := first.Start(); err != nil {
				t.Fatal(err)
			}
		}
		r.wantStored(t, "", "log0", "log1")
		for range 2 {
			if err := second.Start(); err == nil || !strings.Contains(err.Error(), "another Service") {
				t.Errorf("a second service: %v", err)
			}
		}
		second.Stopping()
		first.Stopping()
		r.want("STOPPING=1")
		r.wantNothing()
	}
}
