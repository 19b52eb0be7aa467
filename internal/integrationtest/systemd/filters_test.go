//go:build linux && !autorestart_portable

package systemd_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/systemdtest"
)

// A filter is options of a unit that forbid system calls, and what a deploy does there.
type filter struct {
	options string // separated by "; "
	deploy  outcome
	lines   []string // that the service logs as warnings
}

const noPage = "cannot create a status page: autorestart ps, deploy and reload don't see what this process does"

// killed is the outcome of a deploy under a filter that forbids a call of a restart, and none of those before.
const killed outcome = "the service is killed"

// optional are the groups of calls that neither the library nor Go's runtime needs.
const optional = "SystemCallFilter=~@aio @chown @clock @cpu-emulation @debug @keyring @memlock @module @mount @obsolete " +
	"@pkey @privileged @raw-io @reboot @resources @sandbox @setuid @swap @sync @timer"

var filters = []filter{
	{options: optional, deploy: works},
	{options: optional + "; SystemCallErrorNumber=EPERM", deploy: works},
	{options: "SystemCallFilter=~@ipc", deploy: killed, lines: []string{noPage}},
	{options: "SystemCallFilter=~@ipc; SystemCallErrorNumber=EPERM", deploy: works, lines: []string{noPage}},
	{options: "SystemCallFilter=~@ipc; SystemCallFilter=memfd_create", deploy: works},
	{options: "SystemCallFilter=~@basic-io", deploy: unstartable},
	{options: "SystemCallFilter=~@default", deploy: unstartable},
	{options: "SystemCallFilter=~@file-system", deploy: unstartable},
	{options: "SystemCallFilter=~@io-event", deploy: unstartable},
	{options: "SystemCallFilter=~@known", deploy: unstartable},
	{options: "SystemCallFilter=~@network-io", deploy: unstartable},
	{options: "SystemCallFilter=~@process", deploy: unstartable},
	{options: "SystemCallFilter=~@signal", deploy: unstartable},
	{options: "SystemCallFilter=~@system-service", deploy: unstartable},
}

// The table of the page has a row for each filter, and no other.
func TestFiltersAreDocumented(t *testing.T) {
	var rows []string
	for _, f := range filters {
		rows = append(rows, fmt.Sprintf("| %s | %s |", strings.Join(quoted(strings.Split(f.options, "; ")), " "), f.deploy))
	}
	wantTable(t, "| options | a deploy |\n|---|---|\n", rows)
}

// A deploy does under each filter what the page says, and the filters forbid each group of calls.
func TestSystemCallFilters(t *testing.T) {
	forbidden := map[string]bool{}
	for i, f := range filters {
		for _, group := range strings.Fields(strings.NewReplacer("~", " ", ";", " ").Replace(f.options)) {
			forbidden[group] = true
		}
		t.Run(f.options, func(t *testing.T) {
			t.Parallel()
			f.run(t, "filter"+strconv.Itoa(i), "127.0.0.1:"+strconv.Itoa(9200+i))
		})
	}
	groups := systemdtest.Machine(t).Run(t, "systemd-analyze", "--no-pager", "syscall-filter")
	for line := range strings.Lines(groups) {
		if group := strings.TrimSpace(line); line[0] == '@' && !forbidden[group] {
			t.Errorf("no filter forbids %s", group)
		}
	}
}

// run runs the daemon under the filter. Its directory and address are its own.
func (f *filter) run(t *testing.T, name, address string) {
	d := newDaemon(t, name, "tcp", address)
	d.Unit(t, d.unit, d.service(strings.ReplaceAll(f.options, "; ", "\n")+"\n"))
	d.Run(t, "systemctl", "start", d.unit)
	if f.deploy == unstartable {
		d.WantState(t, d.unit, "failed")
		return
	}
	d.started()
	switch f.deploy {
	case works:
		d.deploy(panics)
		d.WantLogged(t, d.unit, "serving version=1 generation=2")
		d.deploy(2)
		d.wantRestarted(2)
	case killed:
		d.deploy(2)
		d.WantState(t, d.unit, "failed")
		const sigsys = "31"
		if got := d.Properties(t, d.unit, "Result", "ExecMainStatus"); got["Result"] != "signal" || got["ExecMainStatus"] != sigsys {
			t.Errorf("the unit is %q", got)
		}
	}
	d.wantWarnings(f.lines...)
}

// wantWarnings compares the warnings that the service has logged.
func (d *daemon) wantWarnings(want ...string) {
	d.t.Helper()
	if got := warnings(d.Log(d.t, d.unit)); !slices.Equal(got, want) {
		d.t.Errorf("logged %q, expected %q", got, want)
	}
}

// A service whose filter has memfd_create alone of @ipc finds after a crash what it has stored, and restarts.
func TestStoreUnderFilterOfIPC(t *testing.T) {
	t.Parallel()
	addresses := []string{"127.0.0.1:9240"}
	d := newStoring(t, "filteredstore", addresses, "FileDescriptorStoreMax=16\nSystemCallFilter=~@ipc\nSystemCallFilter=memfd_create\n")
	d.wantCount(1)
	d.killed(addresses...)
	d.wantCount(2)
	d.deploy(2)
	d.WantLogged(t, d.unit, "serving version=2 generation=1 count=2")
	if got := d.Property(t, d.unit, "NRestarts"); got != "1" {
		t.Errorf("systemd has started the service %s times again, expected once", got)
	}
	d.wantWarnings()
}
