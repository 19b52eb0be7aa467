//go:build linux && !autorestart_portable

package systemd_test

import (
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// systemctl stop and restart end a reload at once, and the program executes no other version.
func TestStopWhileReloading(t *testing.T) {
	for i, command := range []string{"stop", "restart"} {
		t.Run(command, func(t *testing.T) {
			d := newNotifier(t, command+"ped", "1ms 0s", "Type=notify-reload\n")
			drain, end := d.hold("drain"), d.hold("end")
			d.deploy(2)
			reload := d.systemctl("reload")
			d.WantLogged(t, d.unit, "msg=waiting file=hold-drain")
			result := d.systemctl(command)
			d.WantLogged(t, d.unit, "msg=waiting file=hold-end")
			drain()
			d.WantLogged(t, d.unit, `msg="not reloaded"`)
			end()
			if err, _ := testprocess.Receive(t, "end of the command", result); err != nil {
				t.Error(err)
			}
			testprocess.Receive(t, "end of the reload", reload)
			d.WantState(t, d.unit, []string{"inactive", "active"}[i])
			if result := d.Property(t, d.unit, "Result"); result != "success" {
				t.Errorf("the result is %s", result)
			}
			if command == "restart" {
				testprocess.WaitFor(t, "line of the next process", func() bool { // after its READY=1
					return strings.Count(d.Log(t, d.unit), "msg=serving") > 1
				})
				d.wantStatus("serves, generation 0")
				if pid := d.Property(t, d.unit, "MainPID"); pid == d.pid {
					t.Errorf("the PID is still %s", pid)
				}
			}
			if n := strings.Count(d.Log(t, d.unit), "msg=serving"); n != 1+i {
				t.Errorf("%d versions have served", n)
			}
		})
	}
}
