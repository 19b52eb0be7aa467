//go:build linux

package integrationtest

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// windowRows are the rows about signals of the table in internal/execve/signals_linux.go. In
// the tests SIGHUP is passed to Notify.
var windowRows = []struct {
	name    string
	signals []syscall.Signal
	ignored bool
}{
	{"caught and dropped by Go", []syscall.Signal{
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE, syscall.SIGALRM, syscall.SIGXCPU, syscall.SIGXFSZ,
		syscall.SIGVTALRM, syscall.SIGPROF, syscall.SIGIO, syscall.SIGPWR, 35, 36, 63, 64,
	}, true},
	{"passed to Notify", []syscall.Signal{syscall.SIGHUP}, true},
	{"end a Go program", []syscall.Signal{
		syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGTRAP, syscall.SIGSYS,
	}, false},
	{"faults", []syscall.Signal{syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL}, false},
	{"of the C library", []syscall.Signal{32, 33, 34}, false},
	{"stop", []syscall.Signal{syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGCONT}, false},
	{"do nothing", []syscall.Signal{syscall.SIGCHLD, syscall.SIGURG, syscall.SIGWINCH}, false},
}

// A window is what a new image finds of signals before its first instruction.
type window struct{ ignored, blocked, pending uint64 }

func windowOf(d *daemontest.Daemon) (w window) {
	status := testprocess.Status(d.T, d.PID())
	for _, field := range []struct {
		name string
		mask *uint64
	}{{"SigIgn", &w.ignored}, {"SigBlk", &w.blocked}, {"ShdPnd", &w.pending}} {
		*field.mask, _ = strconv.ParseUint(status[field.name], 16, 64)
	}
	return w
}

// checkWindow compares the window with the table.
func checkWindow(t *testing.T, w window) {
	for _, row := range windowRows {
		t.Run(row.name, func(t *testing.T) {
			for _, sig := range row.signals {
				if ignored := w.ignored>>(sig-1)&1 == 1; ignored != row.ignored {
					t.Errorf("signal %d (%v): ignored is %t, want %t", sig, sig, ignored, row.ignored)
				}
			}
		})
	}
	if w.blocked != 0 {
		t.Errorf("the signals %#x are blocked", w.blocked)
	}
}

// sendIgnored sends a daemon all signals that must not end it.
func sendIgnored(d *daemontest.Daemon) {
	for _, row := range windowRows {
		for _, sig := range row.signals {
			if row.ignored {
				syscall.Kill(d.PID(), sig)
			}
		}
	}
}

// TestExecWindow: no signal that a running version survives ends the next one before its
// runtime is there, also in a rollback, and in one before main. A profile of the CPU ends with
// its version.
func TestExecWindow(t *testing.T) {
	program.NeedRollback(t) // elsewhere signals keep their default action
	t.Run("next version", func(t *testing.T) {
		d := program.New(t)
		d.Start()
		d.WantAnswer("subscribe 1", "<nil>")
		d.WantAnswer("start-timers", "")
		if got := d.Ask("timers", "done"); got != "real virtual prof posix" {
			t.Logf("it has the timers %s", got) // not every kernel shows those of timer_create
		}
		d.WantAnswer("profile", "<nil>")
		var w window
		wait := daemontest.AtExec(t, d.PID(), func() { w = windowOf(d); sendIgnored(d) })
		d.DeployVersion(2)
		wait()
		checkWindow(t, w)
		d.WantRestart(2)
		d.WantAnswer("timers", "real virtual")
	})
	t.Run("rollback", func(t *testing.T) {
		d := program.OnTrial(t, time.Minute)
		d.WantAnswer("subscribe 1", "<nil>")
		d.WantAnswer("profile", "<nil>")
		var w window
		wait := daemontest.AtExec(t, d.PID(), func() { w = windowOf(d); sendIgnored(d) })
		d.Tell("fail it is a test")
		wait()
		checkWindow(t, w)
		program.WantRollback(d, "it is a test")
		d.WantAnswer("timers", "")
	})
	t.Run("rollback before main", func(t *testing.T) {
		d := program.New(t)
		d.Setenv(program.HangEnv + "=1")
		d.Setenv(program.ReadyEnv + "=100ms")
		d.Start()
		d.WantAnswer("subscribe 1", "<nil>")
		var w window
		wait := daemontest.AtExec(t, d.PID(), func() {}, func() { w = windowOf(d); sendIgnored(d) })
		d.DeployVersion(2)
		wait()
		checkWindow(t, w)
		if s := d.NextStart(); s.Version != 1 {
			t.Errorf("version %d runs", s.Version)
		}
		program.WantRolledBack(d, "it was not ready within 100ms")
		d.WantAnswer("timers", "")
	})
}

// TestSignalMaskIsThatOfTheStart: a thread that blocks signals, as many threads of C libraries
// do, may restart the program. The next version does not block them, too.
func TestSignalMaskIsThatOfTheStart(t *testing.T) {
	program.NeedRollback(t)
	d := program.New(t)
	d.Start()
	var w window
	wait := daemontest.AtExec(t, d.PID(), func() { w = windowOf(d) })
	d.Tell("restart-blocking " + strconv.Itoa(int(syscall.SIGTERM)))
	wait()
	if w.blocked != 0 {
		t.Errorf("the signals %#x are blocked", w.blocked)
	}
	d.WantRestart(1)
	d.Signal(syscall.SIGTERM)
	if err := d.WaitForEnd(); err == nil || err.Error() != "signal: terminated" {
		t.Errorf("it ended with %v", err)
	}
}

// TestSignalsOfCProgram: where Go is the library of a C program, the runtime leaves most
// signals alone. The next version finds them as the first one did.
func TestSignalsOfCProgram(t *testing.T) {
	t.Parallel()
	program.NeedRollback(t)
	if testing.Short() {
		t.Skip("builds a program")
	}
	testprocess.NeedTool(t, "go")
	testprocess.NeedTool(t, "gcc")
	dir := t.TempDir()
	library, host := filepath.Join(dir, "library.a"), filepath.Join(dir, "host")
	testprocess.Shell(t, `CGO_ENABLED=1 go build -buildmode=c-archive -o "$1" ./testdata/carchive
		gcc -o "$2" testdata/carchive.c "$1" -lpthread`, library, host)
	for _, start := range []string{`exec "$0"`, `trap "" HUP USR1 PIPE; exec "$0"`} {
		output, err := exec.Command("sh", "-c", start, host).CombinedOutput()
		first, second := output[:len(output)/2], output[len(output)/2:]
		if err != nil || !bytes.Equal(first, second) {
			t.Errorf("started by %s it finds first\n%s, then\n%s, %v", start, first, second, err)
		}
	}
}
