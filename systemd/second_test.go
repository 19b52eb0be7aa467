//go:build linux && !autorestart_portable

package systemd_test

import (
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/systemd"
)

// Two services would write to one list of what systemd stores. The second one gets an error, and the first one works on.
func TestSecondService(t *testing.T) {
	r := listen(t, addresses(t)["path"])
	t.Setenv("NOTIFY_SOCKET", r.address)
	t.Setenv("SYSTEMD_EXEC_PID", "")
	t.Setenv("INVOCATION_ID", "4943371f57ef4c199155ceb9d485784b")
	t.Setenv("FDSTORE", "10")
	t.Setenv("LISTEN_PID", "")
	t.Setenv("LISTEN_FDS", "")
	t.Setenv("WATCHDOG_USEC", "")
	t.Cleanup(image.Current().Use)
	for range 2 { // the next image is another process
		i := image.Start(new(handover.State), nil)
		i.Use()
		t.Cleanup(i.Store.CloseUnclaimed)
		first, second := new(systemd.Service), new(systemd.Service)
		for range 2 {
			if err := first.Start(); err != nil {
				t.Fatal(err)
			}
		}
		for _, log := range []string{"log0", "log1"} {
			if got := r.next(); !strings.HasSuffix(got, "."+log) {
				t.Errorf("received %q, want that %s is stored", got, log)
			}
		}
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
