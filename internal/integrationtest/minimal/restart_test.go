//go:build linux && !autorestart_portable

package minimal_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// On each system a daemon restarts with everything that it has. A log line tells of each
// feature that is off there.
func TestWholeRestart(t *testing.T) {
	for _, s := range systems {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			wholeRestart(t, &s)
		})
	}
}

func wholeRestart(t *testing.T, s *system) {
	env := []string{program.VerifyEnv + "=1"}
	if !s.noRollback {
		env = append(env, program.ReadyEnv+"=1m")
	}
	d := s.start(t, env...)
	address := d.Want("serving")
	client := connect(t, address)
	client.wantVersion(1)
	d.WantAnswer("start-child", "<nil>")
	large := strings.Repeat("x", 200<<10) // more than there is room for in a variable
	d.WantAnswer("set-state "+large, "")
	deploy(d, 2)
	if after := d.Want("serving"); after != address {
		t.Errorf("serving %s, before %s", after, address)
	}
	client.wantVersion(2)
	state := large + ", true"
	if s.noState {
		state = ", false"
	}
	if got := d.Ask("get-state", "done"); got != state {
		t.Errorf("%d bytes of state, ending with %q", len(got), got[max(0, len(got)-20):])
	}
	d.WantAnswer("set-state small", "")

	d.Tell("reap")
	if end := d.Want("reaped"); end != "signal: terminated" {
		t.Errorf("the child has ended with %s", end)
	}
	if err := d.Want("end"); err != "<nil>" {
		t.Error("reaper: ", err)
	}
	d.Tell("orphan")
	if end := d.Want("orphan"); end != "exit status 0" && !(emulated() && end == unix.EINVAL.Error()) {
		t.Errorf("the orphan has ended with %s", end)
	}

	running, images := 2, 3
	if !s.noRollback {
		images += 2
		d.DeployVersion(program.Panics)
		d.WantRestart(program.Panics)
		if after := d.NextStart(); after.Version != running || after.PID != d.PID() {
			t.Fatalf("version %d runs as PID %d", after.Version, after.PID)
		}
		if after := d.Want("serving"); after != address {
			t.Errorf("serving %s, before %s", after, address)
		}
		client.wantVersion(running)
		program.WantRolledBack(d, "main panicked: this version panics")
		d.WantAnswer("get-state", "small, true")
		d.WantAnswer("set-state small", "")
	}
	deploy(d, 3)
	d.Want("serving")
	client.wantVersion(3)
	d.WantAnswer("get-state", "small, true")
	wantLines(d, s.lines, images)
}

// deploy deploys a version and waits until it runs.
func deploy(d *daemontest.Daemon, version int) {
	d.T.Helper()
	d.DeployVersion(version)
	d.WantRestart(version)
}

// A client asks over one connection. That of an [http.Client] won't do: it connects anew
// where an answer comes before it has noted, within 50 ms, that the request was written.
type client struct {
	*testing.T
	conn   net.Conn
	reader *bufio.Reader
}

func connect(t *testing.T, address string) *client {
	t.Helper()
	conn, err := testprocess.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{t, conn, bufio.NewReader(conn)}
}

// wantVersion asks the daemon which version it is.
func (c *client) wantVersion(version int) {
	c.Helper()
	if _, err := io.WriteString(c.conn, "GET /version HTTP/1.1\r\nHost: example\r\n\r\n"); err != nil {
		c.Fatal(err)
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		c.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil || string(got) != strconv.Itoa(version) || response.Close {
		c.Errorf("version %s, %v, Connection: close: %t; want %d", got, err, response.Close, version)
	}
}

// wantLines waits for the lines that this image warns of, and checks that there are no others,
// and none more often than there were images.
func wantLines(d *daemontest.Daemon, lines []string, images int) {
	d.T.Helper()
	for _, line := range lines {
		d.WantLogged(line)
	}
	lines = append(lines[:len(lines):len(lines)], slowLog)
	if emulated() {
		lines = append(lines, noOrphans, unchecked)
	}
	seen := make(map[string]int)
	for line := range strings.Lines(d.Log()) {
		if !strings.Contains(line, "level=WARN") && !strings.Contains(line, "level=ERROR") ||
			strings.Contains(line, program.LoggedFailedBefore) || strings.Contains(line, "rolling back") || strings.Contains(line, "rolled back") {
			continue
		}
		i := slices.IndexFunc(lines, func(text string) bool { return strings.Contains(line, text) })
		if i < 0 {
			d.T.Errorf("unexpected: %s", line)
			continue
		}
		if seen[lines[i]]++; seen[lines[i]] > images {
			d.T.Errorf("too often: %s", line)
		}
	}
}

// Where no version can be rolled back, a ReadyTimeout has each rejected. The daemon says so when
// it starts.
func TestNoRollback(t *testing.T) {
	for _, s := range systems {
		if !s.noRollback {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			d := s.start(t, program.ReadyEnv+"=1m")
			d.Want("serving")
			d.WantLogged("new versions will be rejected: none can be rolled back")
			d.DeployVersion(2)
			d.WantLogged("new version rejected")
			d.WantLogged("ReadyTimeout")
		})
	}
}
