//go:build linux && !autorestart_portable

package systemd_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/systemdtest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// sandboxCommand is where cmd/autorestart is, for all sandboxes.
const sandboxCommand = "/srv/sandboxes/autorestart"

// run runs a service in the sandbox, in a directory of its own.
func (s sandbox) run(t *testing.T, name, address string) {
	d := newDaemon(t, name, "tcp", address)
	unit := d.service("")
	if s.deploy != noPackage {
		d.program = systemdtest.Build(t, crashing)
		d.deploy(1)
		unit = s.service(d)
	}
	d.Unit(t, d.unit, s.inside(d, unit))
	d.Run(t, "systemctl", "start", "--no-block", d.unit)
	if s.deploy == unstartable {
		for _, line := range append(s.lines, "Failed to start "+d.unit) {
			d.WantLogged(t, d.unit, line)
		}
	} else {
		d.started()
		generation := s.deploys(t, d)
		s.reloads(t, d, generation)
		s.crashes(t, d)
	}
	if got := warnings(d.Log(t, d.unit)); !slices.Equal(got, slices.Sorted(slices.Values(s.lines))) {
		t.Errorf("logged %q, expected %q", got, s.lines)
	}
}

// service is the unit of a service that systemd restarts after a crash.
func (s sandbox) service(d *daemon) string {
	unit := "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=notify\n" +
		"FileDescriptorStoreMax=20\nRestart=always\nRestartSec=100ms\nExecStart=" + d.path + " -addresses=" + d.address
	if s.deploy == noTimeout {
		unit += " -ready-timeout=0"
	}
	if s.deploy == unstartable {
		unit += "\nTimeoutStartSec=2s"
	}
	if s.reload == waits {
		unit += "\nExecReload=+" + sandboxCommand + " reload -timeout=1s $MAINPID"
	} else if !strings.Contains(s.options, "ExecReload=") {
		unit += "\nExecReload=+" + sandboxCommand + " reload $MAINPID"
	}
	return unit + "\n"
}

// inside adds the options of the sandbox to a unit.
func (s sandbox) inside(d *daemon, unit string) string {
	if s.exec != "" {
		unit = strings.Replace(unit, "ExecStart="+d.path, "ExecStart="+s.exec, 1)
	}
	paths := strings.NewReplacer("/srv/server/server", d.path, "/srv/server", filepath.Dir(d.path),
		"/usr/local/bin", filepath.Dir(sandboxCommand), "; ", "\n")
	return unit + paths.Replace(s.options) + "\n"
}

// deploys deploys a version that panics, and then one that serves. It returns the generation that serves.
func (s sandbox) deploys(t *testing.T, d *daemon) (generation int) {
	t.Helper()
	switch s.deploy {
	case works, noPackage:
		d.deploy(panics)
		d.WantLogged(t, d.unit, "serving version=1 generation=2")
		generation = 2
		fallthrough
	case noTimeout:
		d.deploy(2)
		d.wantRestarted(2)
		return generation + 1
	case unnoticed, rejects:
		d.deploy(2)
		for _, line := range s.lines {
			d.WantLogged(t, d.unit, line)
		}
		if s.deploy == unnoticed { // inside there is still the first version
			if inside := testprocess.ReadFile(t, d.Path("/proc/"+d.pid+"/root"+s.exec)); !bytes.Equal(inside, d.program.Version(1)) {
				t.Error("the file inside has changed")
			}
		}
	}
	d.wantUnchanged()
	return generation
}

// reloads reloads the service.
func (s sandbox) reloads(t *testing.T, d *daemon, generation int) {
	t.Helper()
	logged := ""
	switch s.reload {
	case none:
		return
	case works:
		logged = fmt.Sprintf("serving version=2 generation=%d", generation+1)
	case runsOld:
		logged = fmt.Sprintf("serving version=1 generation=%d", generation+1)
	case fails:
		logged = "autorestart reload: process " + d.pid + ": rejected: "
	case waits:
		logged = "autorestart reload: process " + d.pid + ": "
	case noStart:
		logged = "status=203/EXEC"
	}
	output, err := d.Try("systemctl", "reload", d.unit)
	if succeeds := s.reload == works || s.reload == runsOld; succeeds != (err == nil) {
		t.Errorf("reload: %v, %s", err, output)
	}
	d.WantLogged(t, d.unit, logged)
	d.wantUnchanged()
}

// crashes kills the service. The next process, of the version that was deployed, counts on if it finds the count.
func (s sandbox) crashes(t *testing.T, d *daemon) {
	t.Helper()
	stored, count, logged := 3, 2, "found files and states of the process before this one\" files="
	switch s.crash {
	case none:
		return
	case found:
		logged += "1 states=1"
	case foundPart:
		logged += "0 states=1"
	case lost:
		stored, count, logged = 0, 1, ""
	}
	d.wantCountInside(1)
	d.wantStored(stored) // systemd may be slow
	d.kill(syscall.SIGKILL)
	d.WantLogged(t, d.unit, "serving version=2 generation=0 ")
	d.known()
	d.wantCountInside(count)
	d.WantLogged(t, d.unit, logged)
}

// wantCountInside is wantCount in the network of the service.
func (d *daemon) wantCountInside(want int) {
	d.t.Helper()
	if got, err := d.getFrom(d.pid, "/count"); got != strconv.Itoa(want) || err != nil {
		d.t.Errorf("the count is %q, %v; expected %d", got, err, want)
	}
}

var warning = regexp.MustCompile(`(?m) level=(?:WARN|ERROR) msg=("(?:[^"\\]|\\.)*"|\S+).*$`)

// warnings returns the different messages at the levels Warn and Error, without those of a rollback.
func warnings(log string) (messages []string) {
	for _, line := range warning.FindAllStringSubmatch(log, -1) {
		message, err := strconv.Unquote(line[1])
		if err != nil {
			message = line[1]
		}
		if !slices.Contains([]string{wasRolled, rollingBack, slowLog}, message) && !strings.Contains(line[0], failedBefore) {
			messages = append(messages, message)
		}
	}
	slices.Sort(messages)
	return slices.Compact(messages)
}
