//go:build linux && !autorestart_portable

package systemd_test

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A sandbox is options of a unit, and what a deploy does there.
type sandbox struct {
	options string // separated by "; ". The executable is /srv/server/server.
	exec    string // path of the executable inside, if it is another one

	outcome outcome
	lines   []string // that the daemon logs at the levels Warn and Error
	flags   string   // of the daemon
}

// An outcome of a deploy.
type outcome string

const (
	works       outcome = "works"
	noRollback  outcome = "works without `ReadyTimeout`"
	rejects     outcome = "every version is rejected"
	unnoticed   outcome = "no version is noticed"
	unstartable outcome = "the unit does not start"
)

const (
	mountedFile  = "a version that is renamed over the executable will not be noticed: the file is mounted by itself; mount its directory instead"
	polling      = "watching without relying on events"
	cannotRoll   = "new versions will be rejected: none can be rolled back; mount /proc, or leave ReadyTimeout and Overlap out"
	rejected     = "new version rejected"
	notReadyYet  = "new version not ready yet"
	wasRolled    = "the new version was executed and rolled back: this one runs again"
	rollingBack  = "rolling back to the previous version"
	failedBefore = "found a version that failed before"
	slowLog      = "log lines lost at the restart: the logger of the previous version was too slow"
)

// withoutProc are the flags of a daemon that can't roll back.
const withoutProc = " -ready-timeout=0"

var sandboxes = []sandbox{
	{options: "NoNewPrivileges=yes"},
	{options: "User=daemon"},
	{options: "DynamicUser=yes"},
	{options: "CapabilityBoundingSet="},
	{options: "PrivateUsers=yes"},
	{options: "UMask=0077"},
	{options: "KeyringMode=private; RemoveIPC=yes; User=daemon"},

	{options: "ProtectSystem=strict"},
	{options: "ProtectHome=yes"},
	{options: "PrivateTmp=disconnected"},
	{options: "PrivateMounts=yes"},
	{options: "PrivateDevices=yes"},
	{options: "DevicePolicy=closed"},
	{options: "PrivateIPC=yes"},
	{options: "PrivateNetwork=yes"},
	{options: "PrivatePIDs=yes"},
	{options: "ProtectProc=invisible"},
	{options: "ProcSubset=pid"},
	{options: "ProtectClock=yes"},
	{options: "ProtectHostname=yes"},
	{options: "ProtectKernelTunables=yes"},
	{options: "ProtectKernelModules=yes"},
	{options: "ProtectKernelLogs=yes"},
	{options: "ProtectControlGroups=strict"},

	{options: "RestrictNamespaces=yes"},
	{options: "RestrictRealtime=yes"},
	{options: "RestrictSUIDSGID=yes"},
	{options: "RestrictAddressFamilies=AF_INET AF_INET6"},
	{options: "LockPersonality=yes"},
	{options: "MemoryDenyWriteExecute=yes"},
	{options: "SystemCallArchitectures=native"},
	{options: "SystemCallFilter=@system-service"},
	{options: "SystemCallFilter=~@resources"},
	{options: "SystemCallFilter=~@resources; SystemCallErrorNumber=EPERM"},
	{options: "SystemCallFilter=~@privileged"},
	{options: "IPAddressDeny=any; IPAddressAllow=localhost"},
	{options: "LimitNOFILE=64"},

	{options: "ReadOnlyPaths=/"},
	{options: "NoExecPaths=/; ExecPaths=/srv/server"},
	{options: "NoExecPaths=/; ExecPaths=/srv/server/server", outcome: rejects, lines: []string{polling, notReadyYet}},
	{options: "BindReadOnlyPaths=/srv/server:/opt/app", exec: "/opt/app/server"},
	{options: "BindReadOnlyPaths=/srv/server/server:/opt/server", exec: "/opt/server", outcome: unnoticed, lines: []string{mountedFile, polling}},
	{options: "TemporaryFileSystem=/; BindReadOnlyPaths=/srv/server; MountAPIVFS=yes"},
	{options: "TemporaryFileSystem=/; BindReadOnlyPaths=/srv/server", outcome: rejects, lines: []string{polling, cannotRoll, rejected}},
	{options: "TemporaryFileSystem=/; BindReadOnlyPaths=/srv/server", outcome: noRollback, lines: []string{polling}, flags: withoutProc},
	{options: "RootDirectory=/srv/server", exec: "/server"},
	{options: "RootDirectory=/srv/server; MountAPIVFS=no", exec: "/server", outcome: unstartable},
	{options: "InaccessiblePaths=/proc", outcome: rejects, lines: []string{polling, cannotRoll, rejected}},
	{options: "InaccessiblePaths=/proc", outcome: noRollback, lines: []string{polling}, flags: withoutProc},
}

// For each option of a sandbox the page says what a deploy does there.
func TestSandboxes(t *testing.T) {
	page := testprocess.ReadFile(t, "../../../docs/systemd.md")
	for i, s := range sandboxes {
		if s.outcome == "" {
			s.outcome = works
		}
		if row := s.row(); !bytes.Contains(page, []byte(row)) {
			t.Errorf("docs/systemd.md lacks %s", row)
		}
		t.Run(s.options+s.flags, func(t *testing.T) {
			t.Parallel()
			s.run(t, "sandbox"+strconv.Itoa(i), "127.0.0.1:"+strconv.Itoa(9000+i))
		})
	}
}

// row is that of the table.
func (s *sandbox) row() string {
	lines := []string{"-"}
	if len(s.lines) > 0 {
		lines = quoted(s.lines)
	}
	return fmt.Sprintf("| %s | %s | %s |\n", strings.Join(quoted(strings.Split(s.options, "; ")), " "), s.outcome, strings.Join(lines, ", "))
}

func quoted(texts []string) (quoted []string) {
	for _, text := range texts {
		quoted = append(quoted, "`"+text+"`")
	}
	return quoted
}

// run runs the daemon in the sandbox, in a directory of its own.
func (s *sandbox) run(t *testing.T, name, address string) {
	d := newDaemon(t, name, "tcp", address)
	d.Unit(t, d.unit, s.unit(d))
	if _, err := d.Try("systemctl", "start", d.unit); err != nil {
		t.Error("systemd does not accept the unit")
	}
	if s.outcome == unstartable {
		d.WantState(t, d.unit, "failed")
		return
	}
	d.started()
	switch s.outcome {
	case works:
		d.deploy(panics)
		d.WantLogged(t, d.unit, "serving version=1 generation=2")
		fallthrough
	case noRollback:
		d.deploy(2)
		d.wantRestarted(2)
	case rejects:
		d.deploy(2)
		for _, line := range s.lines {
			d.WantLogged(t, d.unit, line)
		}
		d.wantUnchanged()
	case unnoticed:
		d.deploy(2)
		for _, line := range s.lines {
			d.WantLogged(t, d.unit, line)
		}
		// Inside there is still the first version.
		if inside := testprocess.ReadFile(t, d.Path("/proc/"+d.pid+"/root"+s.exec)); !bytes.Equal(inside, d.program.Version(1)) {
			t.Error("the file inside has changed")
		}
		d.wantUnchanged()
	}
	if got := warnings(d.Log(t, d.unit)); !slices.Equal(got, slices.Sorted(slices.Values(s.lines))) {
		t.Errorf("logged %q, expected %q", got, s.lines)
	}
}

// unit is the text of the unit of a daemon.
func (s *sandbox) unit(d *daemon) string {
	directory := strings.TrimSuffix(d.path, "/server")
	exec := d.path
	if s.exec != "" {
		exec = s.exec
	}
	text := strings.Replace(d.service(""), d.path, exec+s.flags, 1) + strings.ReplaceAll(s.options, "; ", "\n") + "\n"
	return strings.NewReplacer("/srv/server/server", d.path, "/srv/server", directory).Replace(text)
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
