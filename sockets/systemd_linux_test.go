package sockets_test

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	. "github.com/autorestart-go/autorestart/internal/daemontest"
)

const (
	activateEnv = "AUTORESTART_TEST_ACTIVATE" // addresses: network|address, separated by spaces
	namesEnv    = "AUTORESTART_TEST_NAMES"
	pidEnv      = "AUTORESTART_TEST_PID" // added to LISTEN_PID
	fdsEnv      = "AUTORESTART_TEST_FDS" // a wrong LISTEN_FDS
)

// activateMain executes the echo daemon as systemd does.
func activateMain() {
	var fds []int
	for word := range strings.FieldsSeq(os.Getenv(activateEnv)) {
		network, address, _ := strings.Cut(word, "|")
		var f *os.File
		if network == "udp" {
			f = Must(Must(net.ListenPacket(network, address)).(*net.UDPConn).File())
		} else {
			ln := Must(net.Listen(network, address))
			f = Must(ln.(interface{ File() (*os.File, error) }).File())
		}
		fds = append(fds, Must(unix.FcntlInt(f.Fd(), unix.F_DUPFD, 20)))
	}
	for i, fd := range fds {
		unix.Dup3(fd, 3+i, 0)
		unix.Close(fd)
	}
	pid, _ := strconv.Atoi(os.Getenv(pidEnv))
	os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()+pid))
	os.Setenv("LISTEN_FDNAMES", os.Getenv(namesEnv))
	os.Setenv("LISTEN_FDS", strconv.Itoa(len(fds)))
	if wrong := os.Getenv(fdsEnv); wrong != "" {
		os.Setenv("LISTEN_FDS", wrong)
	}
	os.Setenv(HelperEnv, "echo")
	panic(syscall.Exec(os.Args[0], os.Args, os.Environ()))
}

// activated starts a daemon with sockets from systemd.
func activated(t *testing.T, addresses, names string, env ...string) *Daemon {
	t.Helper()
	env = append(env, activateEnv+"="+addresses, namesEnv+"="+names)
	d := Start(t, "activate", env...)
	d.Want("start") // of echo
	return d
}

func TestSocketsFromSystemdSurvive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	port, other := freePort(t), freePort(t)
	d := activated(t, "tcp|:"+port+" unix|"+path+" udp|127.0.0.1:"+port+" tcp|127.0.0.1:"+other, "web:control:dns:unclaimed")
	if env := d.Ask("env", "env"); env != "[]" {
		t.Errorf("left in the environment: %s", env)
	}
	for generation := range 3 {
		if generation > 0 {
			d.Restart()
		}
		for _, s := range []struct{ network, address, name string }{
			{"tcp", ":1", "web"}, // the name decides
			{"unix", path, ""},
			{"udp", "127.0.0.1:" + port, "nothing of that name"},
		} {
			d.Ask("listen "+s.network+" "+s.address+" "+s.name, "open")
		}
		wantEcho(t, "tcp", "127.0.0.1:"+port, generation)
		wantEcho(t, "unix", path, generation)
		wantEcho(t, "udp", "127.0.0.1:"+port, generation)
		if generation == 0 {
			dial(t, "tcp", "127.0.0.1:"+other)
		} else if conn, err := net.Dial("tcp", "127.0.0.1:"+other); err == nil {
			t.Errorf("the unclaimed %s is open", conn.RemoteAddr())
		}
		d.Ask("ready", "done")
	}
	d.Ask("close 1", "closed")
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the path belongs to systemd: %v", err)
	}
}

func TestSecondVersionClaimsSocketFromSystemd(t *testing.T) {
	port := freePort(t)
	d := activated(t, "tcp|127.0.0.1:"+port, "web")
	d.Restart()
	d.Ask("listen tcp :0 web", "open")
	wantEcho(t, "tcp", "127.0.0.1:"+port, 1)
}

func TestSocketsForAnotherProcessAreIgnored(t *testing.T) {
	port := freePort(t)
	d := activated(t, "tcp|127.0.0.1:"+port, "web", pidEnv+"=1")
	if env := d.Ask("env", "env"); env != "[]" {
		t.Errorf("left in the environment: %s", env)
	}
	if text := d.Ask("listen tcp 127.0.0.1:"+port+" web", "error"); !strings.Contains(text, "in use") {
		t.Error(text)
	}
	d.Ask("restart-off", "before") // has a logger
	d.Tell("continue")
	d.Want("off")
	if !strings.Contains(d.Log(), "LISTEN_PID is that of another process") {
		t.Errorf("log: %s", d.Log())
	}
}

func TestDescriptorsFromSystemdThatAreNoSocketsAreIgnored(t *testing.T) {
	port := freePort(t)
	d := activated(t, "tcp|127.0.0.1:"+port, "web", fdsEnv+"=60")
	d.Ask("listen tcp 127.0.0.1:"+port, "open")
	wantEcho(t, "tcp", "127.0.0.1:"+port, 0)
}
