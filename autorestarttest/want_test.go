package autorestarttest

import (
	"os"
	"os/exec"
	"testing"

	"github.com/autorestart-go/autorestart/autorestarttest/internal/protocol"
	"github.com/autorestart-go/autorestart/internal/step"
)

// Version 1 of process 7 runs as generation 3, and version 2 was deployed. WantRestart waits for its next
// generation, which is ready.
func TestRestarted(t *testing.T) {
	const pid = 7
	start := func(pid, version, generation int) *report {
		return &report{Start: protocol.Start{PID: pid, Version: version, Generation: generation}}
	}
	ready := func(i *report) *report {
		i.steps = append(i.steps, protocol.Message{Step: step.Ready})
		return i
	}
	standIn := func(i *report) *report {
		i.StandIn = true
		return i
	}
	for name, test := range map[string]struct {
		reports []*report
		found   bool
		reason  string
		other   string // what elsewhere returns
	}{
		"restarted":            {[]*report{ready(start(pid, 2, 4))}, true, "", ""},
		"not ready":            {[]*report{start(pid, 2, 4)}, false, "", ""},
		"old version":          {[]*report{ready(start(pid, 1, 4))}, false, "", ""},
		"no start yet":         {[]*report{start(0, 0, 0)}, false, "", ""},
		"more often":           {[]*report{ready(start(pid, 1, 4)), ready(start(pid, 2, 5))}, false, "generation 5 after 3; the daemon has restarted more often than new versions were deployed", ""},
		"nothing handed":       {[]*report{ready(start(pid, 2, 0))}, false, "version 2 has started with generation 0: nothing was handed over to it", ""},
		"another process":      {[]*report{ready(start(8, 2, 4))}, false, "", "; version 2 has started in process 8, and not in process 7"},
		"child of the old one": {[]*report{ready(start(8, 1, 0))}, false, "", ""},
		"and a child":          {[]*report{ready(start(pid, 2, 4)), start(8, 2, 0)}, true, "", ""},
		"stand-in":             {[]*report{standIn(ready(start(8, 2, 4)))}, false, "", ""},
		"stand-in, then exec":  {[]*report{standIn(ready(start(8, 2, 4))), ready(start(pid, 2, 4))}, true, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := Daemon{cmd: &exec.Cmd{Process: &os.Process{Pid: pid}}, newest: 2, deploys: 1, current: ready(start(pid, 1, 3))}
			d.reports.all = append([]*report{d.current}, test.reports...)
			found, reason := d.restarted()
			if (found != nil) != test.found || reason != test.reason {
				t.Errorf("got %v, %q", found, reason)
			}
			if got := d.elsewhere(); got != test.other {
				t.Errorf("elsewhere: %q, want %q", got, test.other)
			}
		})
	}
}
