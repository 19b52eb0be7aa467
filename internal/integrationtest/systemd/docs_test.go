//go:build linux && !autorestart_portable

package systemd_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/systemdtest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// The units in docs/systemd.md, and how they are run. A unit begins with its name in a comment, as
// "# server.service".

var (
	heading   = regexp.MustCompile(`(?m)^###? (.*)$`)
	unitBlock = regexp.MustCompile("(?s)```ini\n# (\\S+)\n(.*?)```\n")
	execStart = regexp.MustCompile(`(?m)^ExecStart=(\S+) -address=(\S+)$`)
)

// documentedUnits returns the texts of the units in each section of the page, by name.
func documentedUnits(t *testing.T) map[string]map[string]string {
	t.Helper()
	page := string(testprocess.ReadFile(t, "../../../docs/systemd.md"))
	sections := make(map[string]map[string]string)
	starts := heading.FindAllStringSubmatchIndex(page, -1)
	for i, at := range starts {
		end := len(page)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		for _, block := range unitBlock.FindAllStringSubmatch(page[at[1]:end], -1) {
			section := page[at[2]:at[3]]
			if sections[section] == nil {
				sections[section] = make(map[string]string)
			}
			sections[section][block[1]] = block[2]
		}
	}
	return sections
}

// A run is the test of the units in a section.
type run struct {
	program string // "" for testdata/daemon
	test    func(t *testing.T, d *daemon)
}

// service is the program that uses package systemd.
const service = "examples/systemd"

var runs = map[string]run{
	"A service":                      {"", restartsInPlace},
	"Socket activation":              {"", restartsInPlace},
	"Type=notify":                    {service, notifies},
	"Reload":                         {service, reloadsByCommand},
	"Type=notify-reload":             {service, reloadsBySignal},
	"A watchdog":                     {service, isWatched},
	"A crash":                        {service, survivesCrashes},
	"Unix sockets in a crash":        {service, keepsPath},
	"Stop and start":                 {service, survivesStops},
	"A soft reboot":                  {service, survivesSoftReboots},
	"A sandbox":                      {"", restartsInPlace},
	"A sandbox with package systemd": {service, worksSandboxed},
}

// Each unit in the documentation does what the page says.
func TestDocumentedUnits(t *testing.T) {
	sections := documentedUnits(t)
	if got, want := slices.Sorted(maps.Keys(sections)), slices.Sorted(maps.Keys(runs)); !slices.Equal(got, want) {
		t.Errorf("docs/systemd.md has units in the sections %q; there are tests for %q", got, want)
	}
	for section, units := range sections {
		if run, ok := runs[section]; ok {
			t.Run(section, func(t *testing.T) { run.test(t, startDocumented(t, run.program, units)) })
		}
	}
}

// startDocumented starts the units of a section, with the program by ExecStart of server.service.
func startDocumented(t *testing.T, program string, units map[string]string) *daemon {
	t.Helper()
	match := execStart.FindStringSubmatch(units["server.service"])
	if match == nil {
		t.Fatal("server.service has no ExecStart of the form that is expected")
	}
	network := "tcp"
	if strings.HasPrefix(match[2], "/") {
		network = "unix"
	}
	d := newDaemon(t, "server", network, match[2])
	if program != "" {
		d.program = systemdtest.Build(t, program)
		d.deploy(1)
	}
	if strings.Contains(units["server.service"], "/usr/local/bin/autorestart") {
		installReload(t, d)
	}
	if d.path != match[1] {
		t.Fatalf("ExecStart=%s, expected %s", match[1], d.path)
	}
	for _, name := range slices.Sorted(maps.Keys(units)) {
		// A watchdog with less time for the test. A busy machine takes a part of it.
		d.Unit(t, name, strings.Replace(units[name], "WatchdogSec=30s", "WatchdogSec=4s", 1))
	}
	start := "server.service"
	if units["server.socket"] != "" {
		start = "server.socket"
	}
	d.Run(t, "systemctl", "start", start)
	if start == "server.socket" { // the service starts at the first connection
		conn, err := d.Dial(d.network, d.address)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	if program == "" {
		d.started()
	} else {
		d.wantVersion(1, 0)
		d.known()
	}
	return d
}

// restartsInPlace deploys versions under load.
func restartsInPlace(t *testing.T, d *daemon) {
	t.Helper()
	load := d.Load(t, d.network, d.address)
	d.deploy(2)
	d.wantRestarted(2)
	d.deploy(panics)
	d.WantLogged(t, d.unit, "serving version=2 generation=3")
	d.wantUnchanged()
	load.Await(t, 20)
	load.Stop(t, "1", "2")
	if lines := warnings(d.Log(t, d.unit)); len(lines) > 0 {
		t.Errorf("logged %q", lines)
	}
}

// A deploy keeps the environment, the limits and the sandbox that systemd has started the process with.
func TestUnitChangesTakeEffectWhenSystemdStarts(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "changed", "tcp", "127.0.0.1:8003")
	has := func(file, text string) bool {
		t.Helper()
		path := d.Path("/proc/" + d.Property(t, d.unit, "MainPID") + "/" + file)
		return strings.Contains(string(testprocess.ReadFile(t, path)), text)
	}
	isBefore := func() bool {
		return has("environ", "SETTING=before\x00") && has("limits", " 100 ") && !has("mountinfo", " / / ro,")
	}
	isAfter := func() bool {
		return has("environ", "SETTING=after\x00") && has("limits", " 200 ") && has("mountinfo", " / / ro,")
	}
	d.Unit(t, d.unit, d.service("Environment=SETTING=before\nLimitSIGPENDING=100\n"))
	d.Run(t, "systemctl", "start", d.unit)
	d.started()
	d.Unit(t, d.unit, d.service("Environment=SETTING=after\nLimitSIGPENDING=200\nReadOnlyPaths=/\n"))
	d.deploy(2)
	d.wantRestarted(2)
	if !isBefore() {
		t.Error("the deploy has changed environment, limits or mounts")
	}
	d.Run(t, "systemctl", "restart", d.unit)
	testprocess.WaitFor(t, "environment, limits and mounts of the changed unit", isAfter)
}
