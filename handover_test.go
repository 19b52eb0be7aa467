//go:build linux

package autorestart

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/handover"
)

// daemonCommands are what the daemon can be told beside what is in daemonMain. Each
// answers the test.
var daemonCommands = map[string]func(argument string) string{
	// pass NAME TEXT passes on a pipe with a text in it.
	"pass": func(argument string) string {
		name, text, _ := strings.Cut(argument, " ")
		r, w, err := os.Pipe()
		if err != nil {
			return err.Error()
		}
		defer r.Close()
		defer w.Close()
		if _, err := w.WriteString(text); err != nil {
			return err.Error()
		}
		return fmt.Sprint(Pass(name, r))
	},
	"withdraw": func(name string) string { return fmt.Sprint(Pass(name, nil)) },
	// inherit NAME reads what is in the pipe, and puts it back.
	"inherit": func(name string) string {
		f, err := Inherited(name)
		if err != nil {
			return err.Error()
		}
		defer f.Close()
		b := make([]byte, 100)
		n, err := f.Read(b)
		return fmt.Sprintf("%s, %v", b[:n], err)
	},
	"names": func(string) string { return strings.Join(InheritedNames(), " ") },
	"set-state": func(argument string) string {
		name, value, _ := strings.Cut(argument, " ")
		SetState(name, []byte(value))
		return ""
	},
	"set-big-state": func(argument string) string {
		name, size, _ := strings.Cut(argument, " ")
		n, err := strconv.Atoi(size)
		SetState(name, bytes.Repeat([]byte{'x'}, n))
		return fmt.Sprint(err)
	},
	"get-state": func(name string) string {
		value, ok := State(name)
		if len(value) > 100 {
			return fmt.Sprint(len(value), " bytes")
		}
		return fmt.Sprintf("%s, %t", value, ok)
	},
	// pass-many N passes a file on under N names.
	"pass-many": func(argument string) string {
		n, err := strconv.Atoi(argument)
		for i := 0; i < n && err == nil; i++ {
			err = Pass(fmt.Sprint("many ", i), os.Stdin)
		}
		return fmt.Sprint(err)
	},
	"count-names": func(string) string { return strconv.Itoa(len(InheritedNames())) },
	// relisten NAME stops passing a listener on, and listens there again.
	"relisten": func(name string) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if f, inheritErr := Inherited(name); inheritErr == nil {
			ln.Close()
			ln, err = net.FileListener(f)
			f.Close()
		}
		if err != nil {
			return err.Error()
		}
		Pass(name, nil)
		ln.Close()
		if ln, err = net.Listen("tcp", ln.Addr().String()); err != nil {
			return err.Error()
		}
		defer ln.Close()
		f, err := ln.(*net.TCPListener).File()
		if err != nil {
			return err.Error()
		}
		defer f.Close()
		return fmt.Sprint(Pass(name, f))
	},
	// fail-with REASON has a quoted reason, and how often it is repeated after it.
	"fail-with": func(argument string) string {
		var reason string
		var times int
		if _, err := fmt.Sscanf(argument, "%q %d", &reason, &times); err != nil {
			return err.Error()
		}
		return fmt.Sprint(Rollback(errors.New(strings.Repeat(reason, times))))
	},
	"ready":      func(string) string { Ready(); return "" },
	"fail":       func(reason string) string { return fmt.Sprint(Rollback(fmt.Errorf("%s", reason))) },
	"generation": func(string) string { return strconv.Itoa(Generation()) },
	"taken-back": func(string) string { return fmt.Sprint(RolledBack()) },
	"subscribe": func(argument string) string {
		n, err := strconv.Atoi(argument)
		if err == nil {
			Notify(make(chan os.Signal, 1), syscall.Signal(n), syscall.SIGTERM)
		}
		return fmt.Sprint(err)
	},
	// ignored tells which signals are, as a mask.
	"ignored": func(string) string {
		status, err := os.ReadFile("/proc/self/status")
		_, mask, _ := strings.Cut(string(status), "SigIgn:")
		mask, _, _ = strings.Cut(mask, "\n")
		return fmt.Sprint(strings.TrimSpace(mask), err)
	},
	// exec-with WHAT CONTENT is an exec as if another version of this library had
	// handed over WHAT, in which PID and MANIFEST are put in: a file with CONTENT.
	"exec-with": func(argument string) string {
		what, content, _ := strings.Cut(argument, " ")
		content, err := strconv.Unquote(`"` + content + `"`)
		if err != nil {
			return err.Error()
		}
		manifest, err := newMemoryFile([]byte(content))
		if err != nil {
			return err.Error()
		}
		unix.FcntlInt(uintptr(manifest), unix.F_SETFD, 0)
		what = strings.NewReplacer("PID", strconv.Itoa(os.Getpid()), "MANIFEST", strconv.Itoa(manifest)).Replace(what)
		os.Setenv(handover.Env, what)
		return syscall.Exec("/proc/self/exe", os.Args, os.Environ()).Error()
	},
	"times": func(string) string {
		t := LastRestart()
		var steps []string
		for _, at := range []time.Time{t.Seen, t.Judged, t.Quiesced, t.Drained, t.Executed, t.Started, t.Ready} {
			steps = append(steps, strconv.FormatInt(at.UnixNano(), 10))
		}
		return strings.Join(steps, " ")
	},
	// panic has an error that panics itself when it is printed.
	"panic": func(string) string { panic(error((*fs.PathError)(nil))) },
	"get-stuck": func(string) string {
		RegisterDrainer(stuckDrainer{})
		return ""
	},
	// restart-plainly is one without ReadyTimeout.
	"restart-plainly": func(string) string { return new(Restarter).Restart(context.Background()).Error() },
	// close-standard closes standard input and error; input is elsewhere from then on.
	"close-standard": func(string) string {
		fd, err := unix.Dup(0)
		os.Setenv(stdinEnv, strconv.Itoa(fd))
		os.Stdin.Close()
		os.Stdin = os.NewFile(uintptr(fd), "stdin")
		return fmt.Sprint(err, os.Stderr.Close())
	},
	// child prints the environment and descriptors of a child.
	"child-sees": func(string) string {
		out, err := exec.Command("/bin/sh", "-c", "env | grep -v ^"+generationEnv+"; ls /proc/self/fd").Output()
		return fmt.Sprint(string(out), err)
	},
}

type stuckDrainer struct{}

func (stuckDrainer) Quiesce()                    { select {} }
func (stuckDrainer) Drain(context.Context) error { return nil }
func (stuckDrainer) Resume()                     {}

// Versions that don't work.
const (
	versionPanics = 600 + iota
	versionReturns
	versionIsSilent // never becomes ready
	versionChangesEverything

	versionSubscribes = 700 // and all above: to SIGHUP
)

// misbehave reports whether main is to return.
func misbehave(version int) bool {
	switch version {
	case versionPanics:
		panic("this version panics")
	case versionReturns:
		return true
	case versionIsSilent:
		select {}
	case versionChangesEverything:
		os.Chdir("/")
		os.Clearenv()
		os.Args = []string{"other"}
		SetState("counter", []byte("spoilt"))
		Pass("pipe", nil)
		Rollback(io.ErrUnexpectedEOF)
	}
	if version >= versionSubscribes {
		NotifyOnSighup()
		Ready()
	}
	return false
}

// answer asks the daemon something, and compares what it says.
func (d *daemon) answers(command, want string) {
	d.t.Helper()
	if got := d.ask(command, "done").Text; got != want {
		d.t.Errorf("%s: %q, want %q", command, got, want)
	}
}

func TestFilesCrossTheExec(t *testing.T) {
	d := newDaemon(t)
	d.start()
	sees := d.ask("child-sees", "done").Text
	d.answers("names", "")
	d.answers("inherit pipe", "inherit pipe: file does not exist")
	d.answers("pass pipe one", "<nil>")
	d.answers("pass dropped two", "<nil>")
	d.answers("pass withdrawn three", "<nil>")
	d.answers("withdraw withdrawn", "<nil>")
	for version := 2; version < 5; version++ {
		d.deploy(version)
		d.wantRestart(version)
		d.answers("names", "dropped pipe")
	}
	d.answers("inherit pipe", "one, <nil>")
	d.answers("ready", "")
	d.wantLogged("file=dropped")
	d.answers("names", "pipe")
	d.deploy(5)
	d.wantRestart(5)
	d.answers("names", "pipe")
	d.answers("generation", "4")
	d.answers("child-sees", sees)
}

func TestStateCrossesTheExec(t *testing.T) {
	d := newDaemon(t)
	d.start()
	d.answers("get-state counter", ", false")
	d.answers("set-state counter 1", "")
	d.answers("set-state empty ", "")
	d.answers("set-state forgotten x", "")
	d.answers("set-big-state big 50000000", "<nil>")
	d.deploy(2)
	d.wantRestart(2)
	d.answers("get-state counter", "1, true")
	d.answers("get-state empty", ", true")
	d.answers("get-state big", "50000000 bytes")
	d.answers("set-state counter 2", "")
	d.answers("ready", "")
	d.answers("get-state forgotten", ", false")
	d.deploy(3)
	d.wantRestart(3)
	d.answers("get-state counter", "2, true")
	d.answers("get-state big", "50000000 bytes")
	d.answers("get-state forgotten", ", false")
}

// TestUnusedHandoverIsPassedOn: a version that restarts before it has asked for
// anything loses nothing.
func TestUnusedHandoverIsPassedOn(t *testing.T) {
	d := newDaemon(t)
	d.start()
	d.answers("pass pipe one", "<nil>")
	d.answers("set-state counter 1", "")
	for version := 2; version < 5; version++ {
		d.deploy(version)
		d.wantRestart(version)
	}
	d.answers("inherit pipe", "one, <nil>")
	d.answers("get-state counter", "1, true")
}

// settleEnv is how long an image has to ask for what it was handed.
const settleEnv = "AUTORESTART_TEST_SETTLE"

var _ = func() error { // before the timer is started, in an init function
	d, err := time.ParseDuration(os.Getenv(settleEnv))
	if err == nil {
		settleTime = d
	}
	return err
}()

// TestNeverReady: a version that doesn't call Ready has a minute to ask for what
// it was handed.
func TestNeverReady(t *testing.T) {
	for _, asks := range []bool{false, true} {
		t.Run(fmt.Sprint("asks=", asks), func(t *testing.T) {
			d := newDaemon(t)
			d.setenv(settleEnv + "=200ms")
			d.start()
			d.answers("pass pipe one", "<nil>")
			d.answers("pass dropped two", "<nil>")
			d.answers("set-state counter 1", "")
			d.answers("subscribe 1", "<nil>")
			d.deploy(2)
			d.wantRestart(2)
			if asks {
				d.answers("inherit pipe", "one, <nil>")
			}
			d.wantLogged("closed what the version before has handed over")
			if asks {
				d.answers("names", "pipe")
			} else {
				d.answers("names", "")
			}
			d.answers("get-state counter", ", false")
			d.deploy(3)
			d.wantRestart(3)
		})
	}
}

// probation returns a daemon that puts new versions on probation.
func probation(t *testing.T, ready time.Duration) *daemon {
	if !handover.CanReturn {
		t.Skip("there is no way back on this system")
	}
	d := newDaemon(t)
	d.setenv(readyEnv + "=" + ready.String())
	d.start()
	d.answers("pass pipe one", "<nil>")
	d.answers("set-state counter 1", "")
	return d
}

// onProbation returns one whose version 2 is.
func onProbation(t *testing.T, ready time.Duration) *daemon {
	t.Helper()
	d := probation(t, ready)
	d.deploy(2)
	d.wantRestart(2)
	return d
}

// wantBack waits until version 1 runs again, as if nothing had happened.
func (d *daemon) wantBack(reason string) {
	d.t.Helper()
	before := d.last
	r := d.want("start")
	if r.Version != 1 || r.PID != before.PID {
		d.t.Fatalf("version %d runs as PID %d", r.Version, r.PID)
	}
	d.last = r
	d.answers("taken-back", "autorestart: the new version was taken back: "+reason)
	same := func(what string, was, is any) {
		if fmt.Sprint(was) != fmt.Sprint(is) {
			d.t.Errorf("%s: was %q, is %q", what, was, is)
		}
	}
	same("arguments", before.Args, r.Args)
	same("environment", before.Env, r.Env)
	same("directory", before.Dir, r.Dir)
	same("name", before.Comm, r.Comm)
	same("umask", before.Umask, r.Umask)
	same("limit of open files", before.SoftNofile, r.SoftNofile)
	d.answers("get-state counter", "1, true")
	d.answers("names", "pipe")
}

func TestFailedVersionIsTakenBack(t *testing.T) {
	for _, test := range []struct {
		name    string
		version int
		reason  string
	}{
		{"panic", versionPanics, "main panicked: this version panics"},
		{"return", versionReturns, "main returned before it was ready"},
		{"silent", versionIsSilent, "it was not ready within 300 ms"},
		{"fail", versionChangesEverything, "unexpected EOF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := probation(t, 300*time.Millisecond)
			d.deploy(test.version)
			d.wantBack(test.reason)
			// What failed is not executed again, until there is something else.
			d.wantLogged("a version that failed before")
			d.deploy(2)
			d.wantStart(2, d.last.Generation+1)
			d.answers("inherit pipe", "one, <nil>")
			d.answers("ready", "")
			d.answers("taken-back", "<nil>")
		})
	}
}

// TestAnyReason: whatever it is, it does not stand in the way.
func TestAnyReason(t *testing.T) {
	for _, test := range []struct{ name, reason, want string }{
		{"NUL", `"a\x00b" 1`, "a�b"},
		{"fields", `",pid=1,\n" 1`, ",pid=1,\n"},
		{"long", `"é" 100000`, strings.Repeat("é", maxReason/2) + "…"},
		{"cut within a character", `"→" 100000`, strings.Repeat("→", maxReason/3) + "…"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := onProbation(t, time.Minute)
			d.tell("fail-with " + test.reason)
			d.wantBack(test.want)
		})
	}
}

// TestManyFiles: as many would not fit into a variable, one by one.
func TestManyFiles(t *testing.T) {
	const n = 14000
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Max < n+1000 {
		t.Skip("the limit of open files is", limit.Max, err)
	}
	d := newDaemon(t)
	d.start()
	d.answers(fmt.Sprint("pass-many ", n), "<nil>")
	d.deploy(2)
	d.wantRestart(2)
	d.answers("count-names", strconv.Itoa(n))
}

// TestClosedBeforeReady: what a version has no use for is closed at once, unless
// the one before may come back.
func TestClosedBeforeReady(t *testing.T) {
	d := newDaemon(t)
	d.start()
	for version := 2; version < 5; version++ {
		d.answers("relisten socket", "<nil>")
		d.deploy(version)
		d.wantRestart(version)
	}
}

// TestHangBeforeMain: another package's initialisation never ends.
func TestHangBeforeMain(t *testing.T) {
	if !handover.CanReturn {
		t.Skip("there is no way back on this system")
	}
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"go.mod": "module example.com/hangs\n\ngo 1.26\n\nrequire " + modulePath + " v0.0.0\n" +
			"replace " + modulePath + " => " + root + "\n",
		"go.sum": string(readFile(t, "go.sum")),
		// It comes early in the alphabet, and imports what almost every package does.
		"early/early.go": `package early

import ("fmt"; "os"; "time")

var Hang string

func init() {
	if Hang != "" {
		fmt.Println("hangs", os.Getpid())
		for { time.Sleep(time.Hour) }
	}
}
`,
		"main.go": `package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/autorestart-go/autorestart"
	"example.com/hangs/early"
)

func main() {
	if early.Hang == "" {
		fmt.Println("runs", os.Getpid(), autorestart.RolledBack())
	}
	r := autorestart.Restarter{ReadyTimeout: 200*time.Millisecond}
	r.Run(context.Background())
}
`,
	}
	good := buildModule(t, files)
	bad := buildModule(t, files, "-ldflags=-X example.com/hangs/early.Hang=yes")
	cmd := exec.Command(good)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := make(chan string)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(stdout); in.Scan(); {
			lines <- in.Text()
		}
	}()
	want := func(line string) {
		t.Helper()
		select {
		case got := <-lines:
			if got != line {
				t.Fatalf("it says %q, want %q", got, line)
			}
		case <-time.After(patience):
			t.Fatalf("it does not say %q", line)
		}
	}
	pid := strconv.Itoa(cmd.Process.Pid)
	want("runs " + pid + " <nil>")
	if err := os.Rename(bad, good); err != nil {
		t.Fatal(err)
	}
	want("hangs " + pid)
	want("runs " + pid + " autorestart: the new version was taken back: it was not ready within 200 ms")
}

// TestProbationIsPassedOn: a version on probation that is followed by another has
// not shown that it works.
func TestProbationIsPassedOn(t *testing.T) {
	d := onProbation(t, time.Minute)
	d.answers("set-state counter 2", "")
	d.deploy(3)
	d.wantRestart(3)
	d.answers("get-state counter", "2, true")
	d.tell("fail it is no good")
	r := d.want("start")
	if r.Version != 1 {
		t.Errorf("version %d came back", r.Version)
	}
	d.answers("taken-back", "autorestart: the new version was taken back: it is no good")
	d.answers("get-state counter", "2, true")
	d.answers("fail again", ErrNoRollback.Error())
}

// TestProbationIsPassedOnPlainly: nor if it is followed without a ReadyTimeout.
func TestProbationIsPassedOnPlainly(t *testing.T) {
	d := onProbation(t, time.Minute)
	d.tell("restart-plainly")
	d.wantRestart(2)
	d.tell("fail it is no good")
	d.wantBack("it is no good")
	d.wantLogged("a version that failed before")
	d.answers("generation", "3")
}

func TestPanicThatCantBePrinted(t *testing.T) {
	d := onProbation(t, time.Minute)
	d.tell("panic")
	d.wantBack("main panicked: with a value that can't be printed")
}

func TestStuckDrainerIsNotWaitedFor(t *testing.T) {
	d := onProbation(t, time.Minute)
	d.answers("get-stuck", "")
	d.tell("fail it is stuck")
	d.wantBack("it is stuck")
	d.wantLogged("a Drainer is stuck")
}

func TestEndlessReadyTimeout(t *testing.T) {
	d := onProbation(t, math.MaxInt64)
	d.answers("get-state counter", "1, true")
}

// TestClosedStandardStreams: what crosses the exec takes nobody's place.
func TestClosedStandardStreams(t *testing.T) {
	d := newDaemon(t)
	d.setenv(manualEnv + "=1")
	d.start()
	d.answers("close-standard", "<nil> <nil>")
	d.answers("set-state counter 1", "")
	d.tell("watch")
	if haveEvents {
		d.watching()
	}
	d.deploy(2)
	d.wantRestart(2)
	d.answers("get-state counter", "1, true")
	d.answers("generation", "1")
}

func TestReadyEndsProbation(t *testing.T) {
	d := onProbation(t, time.Minute)
	d.answers("ready", "")
	d.answers("fail too late", ErrNoRollback.Error())
	d.deploy(versionPanics)
	r := d.want("start")
	if r.Version != 2 {
		t.Errorf("version %d came back", r.Version)
	}
}

// TestForeignVersionOnProbation: it could not be taken back.
func TestForeignVersionOnProbation(t *testing.T) {
	foreign := buildForeign(t)
	d := probation(t, time.Minute)
	d.deployBytes(readFile(t, foreign))
	d.wantLogged("a program without " + modulePath)
	d.answers("generation", "0")
	d.deploy(2)
	d.wantRestart(2)
}

// What can't be understood is ignored, and what it may have belonged to is let go.
func TestDamagedHandover(t *testing.T) {
	const manifest = "pid=PID,manifest=MANIFEST,"
	for _, test := range []struct{ name, command, logged string }{
		{"other process", "exec-with pid=1,manifest=MANIFEST,", "it is for another process"},
		{"no process", "exec-with manifest=MANIFEST,", "it is for another process"},
		{"cut", "exec-with pid=PID,manifest=", "it is cut or damaged"},
		{"garbage", "exec-with !", "it is cut or damaged"},
		{"later manifest", "exec-with " + manifest + " autorestart manifest 2\\n", "another version"},
		{"empty manifest", "exec-with " + manifest, "another version"},
		{"cut manifest", "exec-with " + manifest + " autorestart manifest 1\\nf\\x04pipe", "cut or damaged"},
		{"no manifest", "exec-with pid=PID,manifest=1000,", "bad file descriptor"},
		{"stolen file", "exec-with " + manifest + " autorestart manifest 1\\nf\\x04pipe\\x01\\x02e\\x00\\x00", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDaemon(t)
			d.start()
			d.answers("pass pipe one", "<nil>")
			d.watching()
			d.tell(test.command)
			d.wantRestart(1)
			d.answers("names", "")
			d.answers("inherit pipe", "inherit pipe: file does not exist")
			if test.logged != "" {
				d.wantLogged(test.logged)
			}
			d.answers("ready", "")
			d.answers("pass pipe two", "<nil>")
			d.deploy(2)
			d.wantRestart(2)
			d.answers("inherit pipe", "two, <nil>")
		})
	}
}

// TestElevatedTakesNothing: who starts a setuid program can set the variable.
func TestElevatedTakesNothing(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to make a setuid program")
	}
	dir, err := os.MkdirTemp("", "autorestart") // not memory, which may be mounted nosuid
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := newDaemon(t)
	d.path = filepath.Join(dir, "app")
	d.cmd.Path = d.path
	d.write(d.path, image(t, 1))
	for name, mode := range map[string]os.FileMode{dir: 0o755, d.path: 0o755 | os.ModeSetuid} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	d.start()
	d.answers("pass pipe one", "<nil>")
	d.tell("exec-with pid=PID,manifest=MANIFEST,previous=MANIFEST,ready=1,")
	d.wantRestart(1)
	d.wantLogged("other rights than who started it")
	d.answers("generation", "0")
	// Nor does it hand anything over.
	d.write(d.path+".new", image(t, 2))
	if err := os.Chmod(d.path+".new", 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	d.rename(d.path+".new", d.path)
	d.wantRestart(2)
	d.answers("names", "")
}

// TestSignalsDuringRestart sends SIGHUP as fast as it can while versions that
// subscribe to it follow each other.
func TestSignalsDuringRestart(t *testing.T) {
	if !handover.CanReturn {
		t.Skip("signals keep their default action on this system")
	}
	d := newDaemon(t)
	d.start()
	d.answers("subscribe 1", "<nil>")
	stop := make(chan struct{})
	stopped := make(chan int)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				stopped <- n
				return
			default:
				syscall.Kill(d.cmd.Process.Pid, syscall.SIGHUP)
			}
		}
	}()
	for version := range 50 {
		d.deploy(versionSubscribes + version)
		d.wantRestart(versionSubscribes + version)
	}
	close(stop)
	t.Logf("%d signals during 50 restarts", <-stopped)
}

func TestIgnoredSignalsGetTheirDefaultBack(t *testing.T) {
	if !handover.CanReturn {
		t.Skip("signals keep their default action on this system")
	}
	for _, ends := range []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM} {
		t.Run(ends.String(), func(t *testing.T) {
			d := newDaemon(t)
			d.start()
			before := d.ask("ignored", "done").Text
			d.answers("subscribe 1", "<nil>")
			d.deploy(2)
			d.wantRestart(2)
			if d.ask("ignored", "done").Text == before {
				t.Error("nothing is ignored after the exec")
			}
			// Nor may the signal end a version that restarts before it has subscribed.
			d.deploy(3)
			d.wantRestart(3)
			syscall.Kill(d.cmd.Process.Pid, syscall.SIGHUP)
			if ends == syscall.SIGHUP {
				d.answers("ready", "")
				d.answers("ignored", before)
			}
			syscall.Kill(d.cmd.Process.Pid, ends)
			for range d.reports { // until it ends
			}
			if err := d.cmd.Wait(); err == nil || err.Error() != "signal: "+ends.String() {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

func TestTimesOfRestart(t *testing.T) {
	d := newDaemon(t)
	start := time.Now()
	d.start()
	d.deploy(2)
	d.wantRestart(2)
	d.answers("ready", "")
	previous := start
	for i, field := range strings.Fields(d.ask("times", "done").Text) {
		ns, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		at := time.Unix(0, ns)
		if at.Before(previous) || at.After(time.Now()) {
			t.Errorf("step %d at %v, after one at %v", i, at, previous)
		}
		previous = at
	}
}
