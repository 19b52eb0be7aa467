//go:build linux && !autorestart_portable

package systemd_test

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/systemdtest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A sandbox is options of a unit, and what a service does there that uses package systemd.
type sandbox struct {
	options string // separated by "; ". The executable is /srv/server/server.
	exec    string // path of the executable inside, if it is another one

	deploy outcome  // works if ""
	reload outcome  // works if "", by ExecReload=
	crash  outcome  // found if ""
	lines  []string // that are logged at the levels Warn and Error
}

// An outcome is what a service does, in the words of the page.
type outcome string

const (
	works     outcome = "works"
	none      outcome = "-"                               // of what is not tried
	noTimeout outcome = "works without `ReadyTimeout`"    // and with it, another row says
	noPackage outcome = "works without package `systemd`" // and with it, another row says

	// Of a deploy.
	rejects     outcome = "every version is rejected"
	unnoticed   outcome = "no version is noticed"
	unstartable outcome = "the unit does not start"

	// Of a reload.
	fails   outcome = "fails"
	waits   outcome = "waits for an executable file"
	runsOld outcome = "executes the old version"
	noStart outcome = "the command does not start"

	// Of a crash.
	found     outcome = "found"
	foundPart outcome = "state found, listener not"
	lost      outcome = "not found"
)

const (
	notNotified  = "systemd is not notified"
	notReceived  = "systemd does not receive the messages of this program: they wait, and are sent with the next one"
	notStored    = "files are not found after a crash: systemd does not receive the messages of this program"
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
	{options: "PrivateNetwork=yes", crash: foundPart},
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
	{options: "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX"},
	{options: "RestrictAddressFamilies=AF_INET AF_INET6", deploy: unstartable, reload: none, crash: none, lines: []string{notNotified}},
	{options: "RestrictAddressFamilies=AF_INET AF_INET6", deploy: noPackage, reload: none, crash: none},
	{options: "RestrictAddressFamilies=AF_INET AF_INET6; Type=simple", crash: lost, lines: []string{notNotified}},
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
	{options: "NoExecPaths=/; ExecPaths=/srv/server/server", deploy: rejects, reload: waits, lines: []string{polling, notReadyYet}},
	{options: "BindReadOnlyPaths=/srv/server:/opt/app", exec: "/opt/app/server"},
	{options: "BindReadOnlyPaths=/srv/server/server:/opt/server", exec: "/opt/server", deploy: unnoticed, reload: runsOld, lines: []string{mountedFile, polling}},
	{options: "TemporaryFileSystem=/; BindReadOnlyPaths=/srv/server /run/systemd/notify /usr/local/bin; MountAPIVFS=yes; ExecReload=/usr/local/bin/autorestart reload $MAINPID"},
	{options: "TemporaryFileSystem=/; BindReadOnlyPaths=/srv/server /run/systemd/notify", deploy: rejects, reload: noStart, lines: []string{polling, cannotRoll, rejected}},
	{options: "TemporaryFileSystem=/; BindReadOnlyPaths=/srv/server /run/systemd/notify", deploy: noTimeout, reload: noStart, lines: []string{polling}},
	{options: "TemporaryFileSystem=/; BindReadOnlyPaths=/srv/server; MountAPIVFS=yes", deploy: unstartable, reload: none, crash: none, lines: []string{notReceived, notStored}},
	{options: "TemporaryFileSystem=/; BindReadOnlyPaths=/srv/server; MountAPIVFS=yes", deploy: noPackage, reload: none, crash: none},
	{options: "RootDirectory=/srv/server; RootDirectoryStartOnly=yes", exec: "/server"},
	{options: "RootDirectory=/srv/server", exec: "/server", reload: noStart},
	{options: "RootDirectory=/srv/server; MountAPIVFS=no", exec: "/server", deploy: unstartable, reload: none, crash: none},
	{options: "InaccessiblePaths=/proc", deploy: rejects, reload: fails, lines: []string{polling, cannotRoll, rejected}},
	{options: "InaccessiblePaths=/proc", deploy: noTimeout, lines: []string{polling}},
}

// A service does in each sandbox what the page says.
func TestSandboxes(t *testing.T) {
	installCommand(t, systemdtest.Machine(t), sandboxCommand)
	for i, s := range sandboxes {
		s = s.complete()
		t.Run(fmt.Sprintf("%s: %s", s.options, s.deploy), func(t *testing.T) {
			t.Parallel()
			s.run(t, "sandbox"+strconv.Itoa(i), "127.0.0.1:"+strconv.Itoa(9000+i))
		})
	}
}

// The table of the page has a row for each sandbox, and no other.
func TestSandboxesAreDocumented(t *testing.T) {
	var rows []string
	for _, s := range sandboxes {
		rows = append(rows, s.row())
	}
	wantTable(t, "| options | a deploy | a reload | a crash | log lines |\n|---|---|---|---|---|\n", rows)
}

// wantTable compares the table of the page that has this head with the rows that are tested.
func wantTable(t *testing.T, head string, rows []string) {
	t.Helper()
	page := string(testprocess.ReadFile(t, "../../../docs/systemd.md"))
	_, table, _ := strings.Cut(page, head)
	table, _, _ = strings.Cut(table, "\n\n")
	documented := strings.Split(table, "\n")
	for i := range max(len(documented), len(rows)) {
		switch {
		case i >= len(rows):
			t.Errorf("docs/systemd.md has a row that is not tested: %s", documented[i])
		case i >= len(documented):
			t.Errorf("docs/systemd.md lacks %s", rows[i])
		case documented[i] != rows[i]:
			t.Fatalf("docs/systemd.md has the row\n%s\nexpected\n%s", documented[i], rows[i])
		}
	}
}

// complete returns s with the outcomes that are left out.
func (s sandbox) complete() sandbox {
	s.deploy, s.reload, s.crash = cmp.Or(s.deploy, works), cmp.Or(s.reload, works), cmp.Or(s.crash, found)
	return s
}

// row is that of the page.
func (s sandbox) row() string {
	s = s.complete()
	lines := string(none)
	if len(s.lines) > 0 {
		lines = strings.Join(quoted(s.lines), ", ")
	}
	options := strings.Join(quoted(strings.Split(s.options, "; ")), " ")
	return fmt.Sprintf("| %s | %s | %s | %s | %s |", options, s.deploy, s.reload, s.crash, lines)
}

func quoted(texts []string) (quoted []string) {
	for _, text := range texts {
		quoted = append(quoted, "`"+text+"`")
	}
	return quoted
}
