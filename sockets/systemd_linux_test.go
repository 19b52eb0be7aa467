package sockets_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/handover"
)

func TestSocketsFromSystemdSurvive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	port, other := freePort(t), freePort(t)
	d, passed := activated(t, "tcp|:"+port+" unix|"+path+" udp|127.0.0.1:"+port+" tcp|127.0.0.1:"+other, "web:control:dns:untaken")
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
		// The library closes only what it has taken.
		d.Ask("ready", "done")
		dial(t, "tcp", "127.0.0.1:"+other)
		wantPassed(t, d, "", "", "", passed[3])
		wantAnnounced(t, d, true)
	}
	d.Ask("close 1", "closed")
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the path belongs to systemd: %v", err)
	}
}

func TestSystemdSocketsAreLeftAloneUntilListen(t *testing.T) {
	port := freePort(t)
	d, passed := activated(t, "tcp|:"+port+" unix|@autorestart-"+port+" file|/dev/null", "web::")
	for range 3 { // versions
		wantPassed(t, d, passed...)
		wantAnnounced(t, d, true)
		d.Ask("ready", "done")
		d.Ask("listen tcp 127.0.0.1:0", "open") // which systemd has not passed
		wantPassed(t, d, passed...)
		wantAnnounced(t, d, true)
		d.Restart()
	}
}

func TestOtherSystemdLibrary(t *testing.T) {
	for _, test := range []struct{ name, listen string }{
		{"comes first", ""},
		{"comes after a new socket", "listen tcp 127.0.0.1:0"},
		{"comes after a socket of systemd", "listen tcp 127.0.0.1:0 ours"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b, ours := "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
			d, _ := activated(t, "tcp|"+a+" tcp|"+ours+" tcp|"+b, "a:ours:b")
			if test.listen != "" {
				d.Ask(test.listen, "open")
			}
			want := a + " " + ours + " " + b
			if strings.HasSuffix(test.listen, "ours") {
				want = a + " none " + b
				wantEcho(t, "tcp", ours, 0)
			}
			if got := d.Ask("other-library", "listens"); got != want {
				t.Fatalf("another library listens on %s, want %s", got, want)
			}
			wantEcho(t, "tcp", a, 0)
			wantEcho(t, "tcp", b, 0)
			// Its sockets are not taken away from it, though it has left the variables.
			if text := d.Ask("listen tcp "+a+" a", "error"); !strings.Contains(text, "in use") {
				t.Error(text)
			}
			d.Ask("listen tcp 127.0.0.1:0", "open")
			wantEcho(t, "tcp", a, 0)
			wantEcho(t, "tcp", b, 0)
			wantAnnounced(t, d, true)
		})
	}
}

// Another library has removed the variables: the sockets are its own.
func TestOtherSystemdLibraryRemovesVariables(t *testing.T) {
	a, b := "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
	d, _ := activated(t, "tcp|"+a+" tcp|"+b, "a:b")
	d.Ask("listen tcp "+b, "open")
	if got := d.Ask("other-library unset", "listens"); got != a+" none" {
		t.Errorf("another library listens on %s", got)
	}
	if text := d.Ask("listen tcp "+a, "error"); !strings.Contains(text, "in use") {
		t.Error(text)
	}
	wantEcho(t, "tcp", a, 0)
	d.Restart()
	d.Ask("listen tcp "+b, "open")
	wantEcho(t, "tcp", b, 1)
}

// Without the variables nothing is announced any more.
func TestVariablesRemovedByTheProgram(t *testing.T) {
	a, b := "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
	d, passed := activated(t, "tcp|"+a+" tcp|"+b, "a:b")
	d.Ask("listen tcp "+b, "open")
	d.Ask("unset", "done")
	if text := d.Ask("listen tcp "+a, "error"); !strings.Contains(text, "in use") {
		t.Error(text)
	}
	wantPassed(t, d, passed[0], "closed")
	wantEcho(t, "tcp", b, 0)
}

// What another library has taken is no wrong announcement.
func TestNoWarningAboutFilesOfAnotherLibrary(t *testing.T) {
	d, _ := activated(t, "file|/dev/null file|/dev/zero", "a:b")
	d.Ask("other-library", "listens")
	d.Ask("listen tcp 127.0.0.1:0", "open")
	if log := logOf(d); strings.Contains(log, "announces") {
		t.Errorf("logged %s", log)
	}
}

func TestSocketsFromSystemdAreThereAfterReady(t *testing.T) {
	a, b := "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
	d, _ := activated(t, "tcp|"+a+" tcp|"+b, "a:b")
	d.Ask("listen tcp "+a, "open")
	d.Ask("ready", "done")
	d.Ask("listen tcp "+b, "open")
	wantEcho(t, "tcp", b, 0)
}

func TestVariablesAreRemovedWithTheLastSocket(t *testing.T) {
	a, b := "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
	d, passed := activated(t, "tcp|"+a+" tcp|"+b, "a:b")
	d.Ask("listen tcp "+b, "open")
	wantPassed(t, d, passed[0], "")
	wantAnnounced(t, d, true)
	d.Restart()
	wantPassed(t, d, passed[0], "")
	wantAnnounced(t, d, true)
	d.Ask("listen tcp "+a, "open")
	wantAnnounced(t, d, false)
	if fds := d.Ask("inheritable", "inheritable"); fds != "" {
		t.Errorf("children inherit descriptors %s", fds)
	}
	d.Ask("listen tcp "+b, "open")
	d.Restart()
	for _, address := range []string{a, b} {
		d.Ask("listen tcp "+address, "open")
		wantEcho(t, "tcp", address, 2)
	}
}

// A copy that stays open would keep the socket listening.
func TestCloseEndsListeningOnSocketFromSystemd(t *testing.T) {
	a, b := "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
	d, passed := activated(t, "tcp|"+a+" tcp|"+b, "a:b")
	d.Ask("listen tcp "+a, "open")
	wantEcho(t, "tcp", a, 0)
	d.Ask("close 0", "closed")
	wantRefused(t, a)
	// The number stands for no other socket, now and in later versions.
	d.Ask("listen tcp "+a, "open")
	for generation := range 3 {
		wantPassed(t, d, "", passed[1])
		wantEcho(t, "tcp", a, generation)
		d.Restart()
		d.Ask("listen tcp "+a+" a", "open")
	}
}

func TestLaterVersionTakesSocketFromSystemd(t *testing.T) {
	port := freePort(t)
	d, passed := activated(t, "tcp|127.0.0.1:"+port, "web")
	for range 3 {
		d.Ask("ready", "done")
		d.Restart()
		wantPassed(t, d, passed...)
	}
	d.Ask("listen tcp :0 web", "open")
	wantEcho(t, "tcp", "127.0.0.1:"+port, 3)
	wantAnnounced(t, d, false)
}

// What a version on trial has taken is there for the previous one.
func TestRollbackPutsSocketsFromSystemdBack(t *testing.T) {
	if !handover.CanRollBack {
		t.Skip("no rollback on this system")
	}
	a, b, c := "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
	for _, test := range []struct {
		name      string
		takes     []string // by the version on trial
		announced bool     // then
		restarts  bool     // the version on trial, before it fails
	}{
		{"none", nil, true, false},
		{"one", []string{b}, true, false},
		{"all", []string{b, c}, false, false},
		{"one in a version before the last", []string{b}, true, true},
		{"all in a version before the last", []string{a, b, c}, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, passed := activated(t, "tcp|"+a+" tcp|"+b+" tcp|"+c, "a:b:c")
			if !test.restarts { // a version to which something was handed is not replaced on trial
				d.Ask("listen tcp "+a, "open")
			}
			d.Ask("trial", "done")
			d.Restart()
			for i, address := range test.takes {
				d.Ask("listen tcp "+address, "open")
				wantEcho(t, "tcp", address, 1)
				if !test.restarts {
					d.Ask(fmt.Sprint("close ", i), "closed") // as deferred calls do
				}
			}
			wantAnnounced(t, d, test.announced)
			generation := 2
			if test.restarts {
				d.Ask("trial", "done")
				d.Restart()
				wantAnnounced(t, d, test.announced)
				generation++
			}
			d.Ask("fail", "start")
			if !test.restarts {
				wantPassed(t, d, "", passed[1], passed[2])
				wantAnnounced(t, d, true)
			}
			for _, address := range []string{a, b, c} {
				d.Ask("listen tcp "+address, "open")
				wantEcho(t, "tcp", address, generation)
			}
			wantAnnounced(t, d, false)
			if fds := d.Ask("inheritable", "inheritable"); fds != "" {
				t.Errorf("children inherit descriptors %s", fds)
			}
		})
	}
}

// The same while the health of a version is watched that is ready, and after a further version was
// deployed then.
func TestRollbackOfUnhealthyPutsSocketsFromSystemdBack(t *testing.T) {
	if !handover.CanRollBack {
		t.Skip("no rollback on this system")
	}
	for _, further := range []bool{false, true} {
		a, b, c := "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
		d, passed := activated(t, "tcp|"+a+" tcp|"+b+" tcp|"+c, "a:b:c")
		d.Ask("listen tcp "+a, "open")
		generation := 2
		d.Ask("health 1h", "done")
		d.Restart()
		for _, address := range []string{a, b, c} {
			d.Ask("listen tcp "+address, "open")
		}
		d.Ask("ready", "done")
		wantAnnounced(t, d, false)
		if further {
			d.Restart()
			d.Ask("listen tcp "+b, "open")
			d.Ask("ready", "done")
			wantEcho(t, "tcp", b, 2)
			generation++
		}
		d.Ask("fail", "start")
		if !further {
			wantPassed(t, d, "", passed[1], passed[2])
			wantAnnounced(t, d, true)
		}
		for _, address := range []string{a, b, c} {
			d.Ask("listen tcp "+address, "open")
			wantEcho(t, "tcp", address, generation)
		}
		wantAnnounced(t, d, false)
		if fds := d.Ask("inheritable", "inheritable"); fds != "" {
			t.Errorf("further version: %t: children inherit descriptors %s", further, fds)
		}
	}
}

// When a version is ready, nothing is kept for the previous one any more.
func TestReadyReleasesSocketsFromSystemd(t *testing.T) {
	if !handover.CanRollBack {
		t.Skip("no rollback on this system")
	}
	a, b := "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
	d, _ := activated(t, "tcp|"+a+" tcp|"+b, "a:b")
	d.Ask("listen tcp "+a, "open")
	d.Ask("trial", "done")
	d.Restart()
	d.Ask("listen tcp "+a, "open")
	d.Ask("listen tcp "+b, "open")
	wantAnnounced(t, d, false)
	d.Ask("close 1", "closed")
	dial(t, "tcp", b) // the previous version may need it
	d.Ask("ready", "done")
	wantRefused(t, b)
	if fds := d.Ask("inheritable", "inheritable"); fds != "" {
		t.Errorf("children inherit descriptors %s", fds)
	}
	files := d.Ask("files", "files")
	d.Ask("trial", "done")
	d.Restart()
	d.Ask("listen tcp "+a, "open")
	d.Ask("ready", "done")
	if now := d.Ask("files", "files"); now != files {
		t.Errorf("%s descriptors, %s in the previous version", now, files)
	}
	wantEcho(t, "tcp", a, 2)
}

// The previous version contains an earlier version of this library, which has passed
// all sockets of systemd on by the handover.
func TestSocketsThatAnEarlierVersionHasPassedOn(t *testing.T) {
	a, b, c := "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
	d, _ := activated(t, "tcp|"+a+" tcp|"+b+" tcp|"+c, "a:b:c")
	for i, key := range []string{
		fmt.Sprintf(`systemd-socket tcp/0 %q %q "a"`, a, a),
		fmt.Sprintf(`systemd-socket-spare tcp/4 "" %q "b"`, b),
		fmt.Sprintf(`systemd-socket-spare tcp/5 "" %q "c"`, c),
	} {
		d.Ask(fmt.Sprintf("pass %d %s", firstPassed+i, key), "done")
	}
	d.Ask("unset", "done")
	d.Restart()
	d.Ask("listen tcp "+a, "open")
	d.Ask("listen tcp :0 b", "open")
	wantEcho(t, "tcp", a, 1)
	wantEcho(t, "tcp", b, 1)
	d.Ask("ready", "done")
	wantRefused(t, c) // which that version had taken
	d.Restart()
	d.Ask("listen tcp "+a, "open")
	d.Ask("listen tcp :0 b", "open")
	wantEcho(t, "tcp", a, 2)
	wantEcho(t, "tcp", b, 2)
}

// logOf gives the daemon a logger, and returns what it has logged until then.
func logOf(d *Daemon) string {
	d.Ask("restart-off", "before")
	d.Tell("continue")
	d.Want("off")
	return d.Log()
}

func TestWrongAnnouncementsAreIgnored(t *testing.T) {
	port := freePort(t)
	address := "127.0.0.1:" + port
	for _, test := range []struct{ name, env, logged string }{
		{"another process", pidEnv + "=1", "LISTEN_PID is that of another process"},
		{"no number", fdsEnv + "=1x", "not a valid number"},
		{"negative", fdsEnv + "=-1", "not a valid number"},
		{"too large", fdsEnv + "=65536", "not a valid number"},
		{"larger than an integer", fdsEnv + "=99999999999999999999", "not a valid number"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, passed := activated(t, "tcp|"+address, "web", test.env)
			if log := logOf(d); strings.Contains(log, "announces") {
				t.Errorf("logged before a socket was opened: %s", log)
			}
			for range 2 {
				if text := d.Ask("listen tcp "+address+" web", "error"); !strings.Contains(text, "in use") {
					t.Error(text)
				}
			}
			d.WantLogged(test.logged)
			if log := d.Log(); strings.Count(log, "announces") != 1 {
				t.Errorf("want one line, got: %s", log)
			}
			wantPassed(t, d, passed...)
			wantAnnounced(t, d, true)
			d.Restart()
			d.Ask("listen tcp "+address+" web", "error")
			logOf(d)
			if log := d.Log(); strings.Count(log, "announces") != 1 {
				t.Errorf("the next version has logged it again: %s", log)
			}
		})
	}
}

func TestDescriptorsFromSystemdThatAreNoListenersAreIgnored(t *testing.T) {
	for _, test := range []struct{ name, others, fds string }{
		{"file", " file|/dev/null", ""},
		{"accepted connection", " accepted|127.0.0.1:0", ""},
		{"not open", "", "60"},
		{"as many as there can be", "", "65535"},
	} {
		t.Run(test.name, func(t *testing.T) {
			port := freePort(t)
			d, passed := activated(t, "tcp|127.0.0.1:"+port+test.others, "web:web", fdsEnv+"="+test.fds)
			passed[0] = ""
			d.Ask("listen tcp 127.0.0.1:"+port+" web", "open")
			wantEcho(t, "tcp", "127.0.0.1:"+port, 0)
			d.Ask("listen tcp 127.0.0.1:0 web", "open")
			wantPassed(t, d, passed...)
			wantAnnounced(t, d, true)
			logOf(d)
			d.WantLogged("announces")
			if log := d.Log(); strings.Count(log, "announces") != 1 {
				t.Errorf("want one line, got: %s", log)
			}
			for generation := range 2 {
				d.Restart()
				d.Ask("listen tcp 127.0.0.1:"+port+" web", "open")
				wantEcho(t, "tcp", "127.0.0.1:"+port, generation+1)
				wantPassed(t, d, passed...)
			}
		})
	}
}

// A socket that can't be taken stays as it is.
func TestDescriptorsExhaustedForSocketFromSystemd(t *testing.T) {
	a, b := "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
	d, passed := activated(t, "tcp|"+a+" tcp|"+b, "a:b")
	if !strings.Contains(passed[1], "nonblock=false") {
		t.Fatalf("passed %s", passed[1])
	}
	d.Ask("listen udp 127.0.0.1:0", "open") // opens the descriptors of the runtime
	files := d.Ask("files", "files")
	var errs int
	for limit := Must(strconv.Atoi(files)) - 5; ; limit++ {
		d.Ask(fmt.Sprintf("nofile %d", limit), "done")
		d.Tell("listen tcp " + b)
		event, text := d.Next()
		d.Ask("nofile 1000", "done")
		if event == "open" {
			break
		}
		if errs++; !strings.Contains(text, "too many open files") {
			t.Fatalf("%s: %s", event, text)
		}
		if now := d.Ask("files", "files"); now != files {
			t.Fatalf("%s descriptors after an error, %s before", now, files)
		}
		wantPassed(t, d, passed...)
	}
	if errs < 3 {
		t.Errorf("%d errors only", errs)
	}
	wantPassed(t, d, passed[0], "")
	wantEcho(t, "tcp", b, 0)
}

// Any user can start a setuid program with variables and sockets of their choice.
func TestElevatedTakesNothingFromSystemd(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to make a setuid program")
	}
	dir, err := os.MkdirTemp("", "autorestart") // not memory, which may be mounted nosuid
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "app")
	address := "127.0.0.1:" + freePort(t)
	d := newActivated(t, "tcp|"+address, "web")
	d.StartedAs(path)
	d.Write(path, Image(t, 1))
	for name, mode := range map[string]os.FileMode{dir: 0o755, path: 0o755 | os.ModeSetuid} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	d.Cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	passed := startActivated(t, d)
	if text := d.Ask("listen tcp "+address+" web", "error"); !strings.Contains(text, "in use") {
		t.Error(text)
	}
	wantPassed(t, d, passed...)
	if HaveEvents { // elsewhere nothing tells the path of the program, and no restart begins
		logOf(d)
		d.WantLogged("other rights than its starter")
	}
}
