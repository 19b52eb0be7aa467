//go:build linux

package autorestart

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/elfimage"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// The daemon of these tests is the test binary itself, copied to where it is
// deployed. Its versions differ in a line after the end of the ELF file.

const patience = testprocess.Patience

const (
	trailerPrefix = "\nautorestart test version "
	trailerSize   = len(trailerPrefix) + len("00000000\n")

	generationEnv = "AUTORESTART_TEST_GENERATION" // counted up by each image
	manualEnv     = "AUTORESTART_TEST_MANUAL"     // set: watch only when told to
	stdinEnv      = "AUTORESTART_TEST_STDIN"      // the descriptor of standard input, unless it is 0
	verifyEnv     = "AUTORESTART_TEST_VERIFY"     // set: ask the test about each version; "exact": execute that file
	pollEnv       = "AUTORESTART_TEST_POLL"       // set: poll as RestartOnChange does
	readyEnv      = "AUTORESTART_TEST_READY"      // a ReadyTimeout
)

func versionTrailer(version int) []byte {
	return fmt.Appendf(nil, "%s%08d\n", trailerPrefix, version)
}

// image returns the bytes of a version.
func image(t testing.TB, version int) []byte {
	t.Helper()
	return append(slices.Clip(testBinary(t)), versionTrailer(version)...)
}

var readTestBinary = sync.OnceValues(func() ([]byte, error) { return os.ReadFile("/proc/self/exe") })

func testBinary(t testing.TB) []byte {
	t.Helper()
	b, err := readTestBinary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// status is what the daemon tells of itself, in a line of JSON on its standard
// output: when it starts and whenever it is asked.
type status struct {
	Event       string
	PID         int
	Version     int
	Generation  int
	Args, Env   [][]byte
	Dir         string
	Comm        string
	Umask       int
	SoftNofile  uint64
	ParentDeath int               // the signal for it
	Files       map[string]string // descriptor -> what it leads to
	Threads     int
	Goroutines  int
	Text        string
}

var _ = registerHelper("daemon", daemonMain)

func daemonMain() {
	if fd, err := strconv.Atoi(os.Getenv(stdinEnv)); err == nil {
		os.Stdin = os.NewFile(uintptr(fd), "stdin")
	}
	generation, _ := strconv.Atoi(os.Getenv(generationEnv))
	generation++
	env := os.Environ()
	os.Setenv(generationEnv, strconv.Itoa(generation))
	tell := func(event, text string) {
		r := describeSelf()
		r.Event, r.Text, r.Generation = event, text, generation
		for _, kv := range env {
			if !strings.HasPrefix(kv, generationEnv+"=") {
				r.Env = append(r.Env, []byte(kv))
			}
		}
		line, err := json.Marshal(r)
		if err != nil {
			panic(err)
		}
		os.Stdout.Write(append(line, '\n'))
	}
	defer RollbackUnlessReady()
	if misbehave(describeSelf().Version) {
		return
	}
	tell("start", "")
	answers := make(chan string)
	switch {
	case os.Getenv(verifyEnv) != "":
		go verifyHere(tell, answers)
	case os.Getenv(manualEnv) == "":
		go watchHere()
	}
	var changes chan bool
	for {
		command, argument, _ := strings.Cut(testprocess.ReadLine(), " ")
		switch command {
		case "":
			return // standard input was closed
		case "watch":
			go watchHere()
		case "exec":
			go RestartViaExec()
		case "verify":
			answers <- argument
		case "exec-once":
			var r Restarter
			tell("failed", r.Restart(context.Background()).Error())
		case "setenv":
			key, value, _ := strings.Cut(argument, " ")
			os.Setenv(key, value)
			tell("done", "")
		case "child":
			out, err := exec.Command("/bin/sh", "-c", "ulimit -Sn").Output()
			if err != nil {
				panic(err)
			}
			tell("done", strings.TrimSpace(string(out)))
		case "chdir":
			if err := os.Chdir(argument); err != nil {
				panic(err)
			}
			tell("done", "")
		case "notify":
			changes = NotifyOnChange(argument == "poll")
			tell("done", "")
		case "receive":
			go func() {
				<-changes
				tell("received", "")
			}()
		case "pending":
			time.Sleep(50 * time.Millisecond) // a second one would need to be made first
			tell("done", strconv.Itoa(len(changes)))
		case "state":
			tell("state", "")
		default:
			answer, ok := daemonCommands[command]
			if !ok {
				panic("unknown command " + command)
			}
			tell("done", answer(argument))
		}
	}
}

// verifyHere restarts by a Restarter whose Verify asks the test.
func verifyHere(tell func(event, text string), answers chan string) {
	r := Restarter{
		Logger:    newStderrLogger(),
		ExactFile: os.Getenv(verifyEnv) == "exact",
		Verify: func(ctx context.Context, exe *os.File) error {
			tell("verifying", exe.Name())
			if answer := <-answers; answer != "" {
				return errors.New(answer)
			}
			return nil
		},
	}
	if !haveEvents {
		r.PollInterval = 10 * time.Millisecond
	}
	r.Run(context.Background())
}

// watchHere is RestartOnChange; polling at its pace would take minutes.
func watchHere() {
	ready, _ := time.ParseDuration(os.Getenv(readyEnv))
	if ready == 0 && (haveEvents || os.Getenv(pollEnv) != "") {
		RestartOnChange()
	}
	r := Restarter{Logger: newStderrLogger(), ReadyTimeout: ready}
	if !haveEvents {
		r.PollInterval = 10 * time.Millisecond
	}
	if err := r.Run(context.Background()); err != nil {
		panic(err)
	}
}

func describeSelf() status {
	r := status{PID: os.Getpid(), Files: map[string]string{}, ParentDeath: parentDeathAtStart}
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		exe, err = os.Open(os.Args[0])
	}
	if err == nil {
		trailer := make([]byte, trailerSize)
		if info, err := exe.Stat(); err == nil {
			exe.ReadAt(trailer, info.Size()-int64(trailerSize))
		}
		exe.Close()
		r.Version, _ = strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(string(trailer), trailerPrefix)))
	}
	for _, arg := range os.Args {
		r.Args = append(r.Args, []byte(arg))
	}
	r.Dir, _ = syscall.Getwd()
	comm, _ := os.ReadFile("/proc/self/comm")
	r.Comm = strings.TrimSpace(string(comm))
	r.Umask = unix.Umask(0)
	unix.Umask(r.Umask)
	status, _ := os.ReadFile("/proc/self/limits")
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			r.SoftNofile, _ = strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
		}
	}
	files, _ := os.ReadDir("/proc/self/fd")
	for _, file := range files {
		// Gone is the one that ReadDir itself used.
		if target, err := os.Readlink("/proc/self/fd/" + file.Name()); err == nil {
			r.Files[file.Name()] = target
		}
	}
	threads, _ := os.ReadDir("/proc/self/task")
	r.Threads = len(threads)
	return r
}

// parentDeathAtStart is asked by the first thread.
var parentDeathAtStart = func() int {
	var sig int32
	unix.Prctl(unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&sig)), 0, 0, 0)
	return int(sig)
}()

// daemon is a running daemon, as its test sees it.
type daemon struct {
	t       *testing.T
	path    string // where versions are deployed
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	reports chan status
	stderr  *testprocess.Log
	last    status // the start report of the image that runs
}

// newDaemon prepares a daemon with version 1 in a directory of its own, not
// started yet.
func newDaemon(t *testing.T) *daemon {
	dir := memoryDir(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, path: filepath.Join(dir, "app"), reports: make(chan status, 1000), stderr: new(testprocess.Log)}
	d.write(d.path, image(t, 1))
	d.cmd = exec.Command(d.path)
	d.cmd.Env = append(os.Environ(), helperEnv+"=daemon")
	return d
}

func (d *daemon) setenv(kv string) { d.cmd.Env = append(d.cmd.Env, kv) }

// start starts it and waits for its main.
func (d *daemon) start() status {
	d.t.Helper()
	stdin, err := d.cmd.StdinPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	d.stdin, d.cmd.Stderr = stdin, d.stderr
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	go func() {
		defer close(d.reports)
		for lines := bufio.NewReader(stdout); ; {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				return
			}
			var r status
			if err := json.Unmarshal(line, &r); err != nil {
				r = status{Event: "garbage", Text: string(line)}
			}
			d.reports <- r
		}
	}()
	d.t.Cleanup(func() {
		d.cmd.Process.Kill()
		d.cmd.Wait()
		if d.t.Failed() {
			d.t.Logf("standard error of the daemon:\n%s", d.stderr)
		}
	})
	return d.wantStart(1, 1)
}

// want waits for the next report and returns it.
func (d *daemon) want(event string) status {
	d.t.Helper()
	select {
	case r, ok := <-d.reports:
		if !ok {
			d.t.Fatalf("the daemon has ended, expected %q", event)
		}
		if r.Event != event {
			d.t.Fatalf("the daemon reported %q (version %d, generation %d, %s), expected %q", r.Event, r.Version, r.Generation, r.Text, event)
		}
		return r
	case <-time.After(patience):
		d.t.Fatalf("no %q from the daemon for %v", event, patience)
	}
	panic("unreachable")
}

// wantStart waits for the start of an image.
func (d *daemon) wantStart(version, generation int) status {
	d.t.Helper()
	r := d.want("start")
	if r.Version != version || r.Generation != generation || r.PID != d.cmd.Process.Pid {
		d.t.Fatalf("started version %d, generation %d, PID %d; expected version %d, generation %d, PID %d",
			r.Version, r.Generation, r.PID, version, generation, d.cmd.Process.Pid)
	}
	d.last = r
	return r
}

// wantRestart waits for the next image, which must be the given version.
func (d *daemon) wantRestart(version int) status {
	d.t.Helper()
	return d.wantStart(version, d.last.Generation+1)
}

func (d *daemon) tell(command string) {
	d.t.Helper()
	if _, err := io.WriteString(d.stdin, command+"\n"); err != nil {
		d.t.Fatal(err)
	}
}

// ask tells it something and waits for the answer.
func (d *daemon) ask(command, event string) status {
	d.t.Helper()
	d.tell(command)
	return d.want(event)
}

// watching waits until the daemon's watches are in place, so that what follows
// is found by its events; the portable side logs that it polls.
func (d *daemon) watching() {
	d.t.Helper()
	if !haveEvents {
		// An image that finds a new version at its first look says nothing of polling.
		waitFor(d.t, "line about polling from this image", func() bool {
			log := d.stderr.String()
			const restart = "restarting path=" // as either logger writes it
			return strings.Count(log, restart) >= d.last.Generation-1 &&
				strings.LastIndex(log, "polling every") > strings.LastIndex(log, restart)
		})
		return
	}
	waitFor(d.t, "inotify watches of the daemon", func() bool {
		return d.watches(filepath.Dir(d.path))
	})
}

// watches reports whether the daemon has an inotify watch on dir.
func (d *daemon) watches(dir string) bool {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return false
	}
	// The kernel's own form of a device number, not the one that stat(2) has.
	dev := uint64(unix.Major(uint64(st.Dev)))<<20 | uint64(unix.Minor(uint64(st.Dev)))
	inode := fmt.Appendf(nil, " ino:%x sdev:%x ", st.Ino, dev)
	infos, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", d.cmd.Process.Pid))
	for _, info := range infos {
		b, _ := os.ReadFile(info)
		for line := range bytes.Lines(b) {
			if bytes.HasPrefix(line, []byte("inotify wd:")) && bytes.Contains(line, inode) {
				return true
			}
		}
	}
	return false
}

// deploy puts a version in place the way it should be done.
func (d *daemon) deploy(version int) {
	d.t.Helper()
	d.deployBytes(image(d.t, version))
}

func (d *daemon) deployBytes(content []byte) {
	d.t.Helper()
	d.write(d.path+".new", content)
	d.rename(d.path+".new", d.path)
}

func (d *daemon) write(name string, content []byte) {
	d.t.Helper()
	writeExecutable(d.t, name, content)
}

func (d *daemon) rename(from, to string) {
	d.t.Helper()
	if err := os.Rename(from, to); err != nil {
		d.t.Fatal(err)
	}
}

var waitFor = testprocess.WaitFor

func (d *daemon) wantLogged(text string) {
	d.t.Helper()
	waitFor(d.t, "log line with "+strconv.Quote(text), func() bool {
		return strings.Contains(d.stderr.String(), text)
	})
}

func TestRestartKeepsTheProcess(t *testing.T) {
	d := newDaemon(t)
	dir := t.TempDir()
	// A shell sets what a parent process would; exec keeps its PID.
	d.cmd.Path = "/bin/sh"
	d.cmd.Args = []string{"sh", "-c", `umask 027; ulimit -Sn 777; exec "$0" "$@"`, d.path, "", "a b", "\xff\xfe=\x01", "--", ""}
	d.cmd.Dir = dir
	d.setenv("EMPTY=")
	d.setenv("LINES=one\ntwo\n")
	d.setenv("BYTES=\xff\x80")
	before := d.start()
	if before.SoftNofile == 777 {
		t.Error("the runtime did not raise RLIMIT_NOFILE: this test proves nothing")
	}
	for version := 2; version <= 4; version++ {
		d.watching()
		d.deploy(version)
		after := d.wantRestart(version)
		for _, c := range []struct {
			what      string
			got, want any
		}{
			{"arguments", after.Args, before.Args},
			{"environment", after.Env, before.Env},
			{"working directory", after.Dir, dir},
			{"process name", after.Comm, before.Comm},
			{"umask", after.Umask, 0o027},
			{"soft RLIMIT_NOFILE after the runtime raised it", after.SoftNofile, before.SoftNofile},
			{"standard input", after.Files["0"], before.Files["0"]},
			{"standard output", after.Files["1"], before.Files["1"]},
			{"standard error", after.Files["2"], before.Files["2"]},
		} {
			if got, want := fmt.Sprintf("%q", c.got), fmt.Sprintf("%q", c.want); got != want {
				t.Errorf("version %d: %s is %s, expected %s", version, c.what, got, want)
			}
		}
	}
	if got := string(bytes.Join(before.Args, []byte("|"))); got != d.path+"||a b|\xff\xfe=\x01|--|" {
		t.Errorf("arguments %q", got)
	}
}

// The runtime raises the limit for itself; what it found when it started, and
// its children get, must be the same in each image, even after an exec that
// failed.
func TestRestartKeepsOpenFilesLimit(t *testing.T) {
	d := newDaemon(t)
	d.cmd.Path = "/bin/sh"
	d.cmd.Args = []string{"sh", "-c", `ulimit -Sn 777; exec "$0"`, d.path}
	d.setenv(manualEnv + "=1")
	raised := d.start().SoftNofile
	for restart := range 2 {
		for range 2 {
			d.ask("setenv BIG "+strings.Repeat("x", 1<<20), "done") // E2BIG
			d.tell("exec-once")
			if r := d.want("failed"); r.SoftNofile != raised || !strings.Contains(r.Text, "too long") {
				t.Fatalf("after an exec that failed (%s) the limit is %d, expected %d", r.Text, r.SoftNofile, raised)
			}
		}
		d.ask("setenv BIG ", "done")
		d.tell("exec-once")
		d.wantRestart(1)
		if limit := d.ask("child", "done").Text; limit != "777" {
			t.Fatalf("restart %d: a child has the limit %s, expected 777", restart, limit)
		}
	}
}

func TestStartedBy(t *testing.T) {
	for _, tt := range []struct {
		name  string
		start func(d *daemon)
	}{
		{"absolute path", func(d *daemon) {}},
		{"relative path", func(d *daemon) {
			d.cmd.Dir = filepath.Dir(d.path)
			d.cmd.Path = "./app"
			d.cmd.Args[0] = "./app"
		}},
		{"relative path with dots", func(d *daemon) {
			d.cmd.Dir = filepath.Dir(d.path)
			d.cmd.Path = "../" + filepath.Base(d.cmd.Dir) + "//app"
			d.cmd.Args[0] = d.cmd.Path
		}},
		{"PATH", func(d *daemon) {
			d.cmd.Path = "/bin/sh"
			d.cmd.Args = []string{"sh", "-c", "exec app"}
			d.setenv("PATH=" + filepath.Dir(d.path) + ":" + os.Getenv("PATH"))
		}},
		{"made-up argv[0]", func(d *daemon) { d.cmd.Args[0] = "worker: main" }},
		{"another program's name", func(d *daemon) { d.cmd.Args[0] = "/bin/sh" }},
		{"empty argv[0]", func(d *daemon) { d.cmd.Args[0] = "" }},
		{"descriptor", func(d *daemon) {
			f, err := os.Open(d.path)
			if err != nil {
				d.t.Fatal(err)
			}
			d.t.Cleanup(func() { f.Close() })
			d.cmd.ExtraFiles = []*os.File{f}
			d.cmd.Path = "/proc/self/fd/3"
		}},
	} {
		for _, chdir := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/chdir=%t", tt.name, chdir), func(t *testing.T) {
				d := newDaemon(t)
				tt.start(d)
				d.setenv(manualEnv + "=1")
				d.start()
				if chdir {
					d.ask("chdir /", "done")
				}
				for version := 2; version <= 3; version++ {
					d.tell("watch")
					d.watching()
					d.deploy(version)
					d.wantRestart(version)
				}
			})
		}
	}
}

func TestSymlinkIsKept(t *testing.T) {
	d := newDaemon(t)
	dir := filepath.Dir(d.path)
	for version := 1; version <= 3; version++ {
		d.write(filepath.Join(dir, fmt.Sprintf("app-%d", version)), image(t, version))
	}
	flip := func(version int) {
		link := filepath.Join(dir, "link")
		if err := os.Symlink(fmt.Sprintf("app-%d", version), link+".new"); err != nil {
			t.Fatal(err)
		}
		d.rename(link+".new", link)
	}
	flip(1)
	d.cmd.Path = filepath.Join(dir, "link")
	d.cmd.Args[0] = d.cmd.Path
	d.start()
	for _, version := range []int{2, 3, 1} {
		d.watching()
		flip(version)
		d.wantRestart(version)
	}
	d.watching()
	d.write(filepath.Join(dir, "new"), image(t, 4))
	d.rename(filepath.Join(dir, "new"), filepath.Join(dir, "app-1"))
	d.wantRestart(4)
}

func TestDeployBeforeWatchIsFound(t *testing.T) {
	d := newDaemon(t)
	d.setenv(manualEnv + "=1")
	d.start()
	d.deploy(2)
	d.tell("watch")
	d.wantRestart(2)
}

func TestSameContentRestartsNothing(t *testing.T) {
	d := newDaemon(t)
	d.start()
	same := []struct {
		name string
		do   func()
	}{
		{"touch", func() { os.Chtimes(d.path, time.Now(), time.Now()) }},
		{"chmod", func() { os.Chmod(d.path, 0o700) }},
		{"chmod -x", func() { os.Chmod(d.path, 0o600) }},
		{"copy over", func() {
			os.Remove(d.path)
			d.write(d.path, image(t, 1))
		}},
		{"rename over", func() { d.deploy(1) }},
	}
	for i, tt := range same {
		d.watching()
		tt.do()
		d.deploy(i + 2)
		d.wantRestart(i + 2) // and no restart between: the generations count
		d.watching()
		d.deploy(1)
		d.wantRestart(1)
	}
}

func TestLastOfManyVersionsRuns(t *testing.T) {
	d := newDaemon(t)
	d.start()
	const last = 6
	for version := 2; version <= last; version++ {
		d.write(fmt.Sprintf("%s.%d", d.path, version), image(t, version))
	}
	d.watching()
	for version := 2; version <= last; version++ {
		d.rename(fmt.Sprintf("%s.%d", d.path, version), d.path)
	}
	seen := map[int]bool{1: true}
	for {
		r := d.want("start")
		if seen[r.Version] {
			t.Fatalf("version %d restarted twice", r.Version)
		}
		seen[r.Version] = true
		if d.last = r; r.Version == last {
			break
		}
	}
	d.watching()
	d.deploy(last + 1)
	d.wantRestart(last + 1)
}

// Each bad file is followed by a good one: what counts is that nothing was
// executed between.
func TestBadCandidates(t *testing.T) {
	good := testBinary(t)
	foreign := slices.Clone(good)
	foreign[18], foreign[19] = foreign[19]^0x55, foreign[18] // e_machine
	library := slices.Clone(good)
	clear(library[24:32]) // e_entry
	for _, tt := range []struct {
		name   string
		make   func(d *daemon)
		logged string
	}{
		{"empty", func(d *daemon) { d.deployBytes(nil) }, "an empty file"},
		{"first page", func(d *daemon) { d.deployBytes(good[:4096]) }, "not complete"},
		{"half", func(d *daemon) { d.deployBytes(good[:len(good)/2]) }, "not complete"},
		{"last byte missing", func(d *daemon) { d.deployBytes(good[:elfExtent(t, good)-1]) }, "not complete"},
		{"two bytes", func(d *daemon) { d.deployBytes(good[:2]) }, "not complete"},
		{"garbage", func(d *daemon) { d.deployBytes([]byte("garbage\n")) }, "expected an ELF executable"},
		{"script", func(d *daemon) { d.deployBytes([]byte("#!/bin/true\n")) }, "expected an ELF executable"},
		{"other architecture", func(d *daemon) { d.deployBytes(foreign) }, "expected an ELF executable for"},
		{"shared library", func(d *daemon) { d.deployBytes(library) }, "no entry point"},
		{"directory", func(d *daemon) {
			os.Remove(d.path)
			os.Mkdir(d.path, 0o755)
		}, "not a regular file"},
		{"named pipe", func(d *daemon) {
			os.Remove(d.path)
			unix.Mkfifo(d.path, 0o755)
		}, "not a regular file"},
		{"not executable", func(d *daemon) {
			d.write(d.path+".new", image(d.t, 2))
			os.Chmod(d.path+".new", 0o644)
			d.rename(d.path+".new", d.path)
		}, "may not be executed"},
		{"dangling link", func(d *daemon) {
			os.Remove(d.path)
			os.Symlink("nowhere", d.path)
		}, "no such file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t)
			d.start()
			d.watching()
			tt.make(d)
			d.wantLogged(tt.logged)
			os.Remove(d.path) // a directory can't be renamed over
			d.deploy(3)
			d.wantRestart(3)
		})
	}
}

func elfExtent(t *testing.T, b []byte) int64 {
	t.Helper()
	img, err := elfimage.Parse(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return img.Extent
}

func TestSlowWriteIsNotExecutedHalf(t *testing.T) {
	d := newDaemon(t)
	d.start()
	d.watching()
	if err := os.Remove(d.path); err != nil {
		t.Fatal(err)
	}
	content := image(t, 2)
	piece := len(content)/7 + 1 // the last one ends the ELF file, and more
	for len(content) > 0 {
		n := min(len(content), piece)
		f, err := os.OpenFile(d.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o755)
		if err != nil {
			t.Fatal(err)
		}
		// Closed after each piece: each time there is an event to look at.
		if _, err := f.Write(content[:n]); err != nil {
			t.Fatal(err)
		}
		f.Close()
		content = content[n:]
	}
	d.wantRestart(2)
}

func TestRestartViaExec(t *testing.T) {
	d := newDaemon(t)
	d.setenv(manualEnv + "=1")
	d.start()
	d.tell("exec") // the same version again
	d.wantRestart(1)

	os.Rename(d.path, d.path+".away") // missing for a moment
	d.tell("exec")
	d.wantLogged("no such file")
	d.ask("state", "state")
	d.rename(d.path+".away", d.path)
	d.wantRestart(1)

	before := d.last
	d.deployBytes([]byte("garbage"))
	d.tell("exec")
	d.wantLogged("expected an ELF executable")
	state := d.ask("state", "state")
	if state.Generation != before.Generation {
		t.Fatalf("generation %d, expected %d", state.Generation, before.Generation)
	}
	d.deploy(2)
	d.wantRestart(2)
	if n := strings.Count(d.stderr.String(), "expected an ELF executable"); n != 1 {
		t.Errorf("a reason that lasts was logged %d times", n)
	}
}

func TestNotifyOnChange(t *testing.T) {
	for _, mode := range []string{"events", "poll"} {
		t.Run(mode, func(t *testing.T) {
			d := newDaemon(t)
			d.setenv(manualEnv + "=1")
			d.start()
			d.ask("notify "+mode, "done")
			d.tell("receive")
			d.watching()
			d.deploy(2)
			d.want("received")
			// The program runs on, and takes the next versions when it likes: they
			// don't pile up.
			for version := 3; version <= 5; version++ {
				d.deploy(version)
				waitFor(t, "pending notification", func() bool { return d.ask("pending", "done").Text == "1" })
			}
			d.ask("receive", "received")
			// Touched, it is still version 5.
			os.Chtimes(d.path, time.Now(), time.Now())
			if pending := d.ask("pending", "done").Text; pending != "0" {
				t.Errorf("%s notifications pending after a touch", pending)
			}
			d.tell("exec")
			d.wantRestart(5)
		})
	}
}

// Whatever one restart leaves behind, a hundred leave behind a hundred times. It
// is the short form of
//
//	AUTORESTART_TEST_RESTARTS=10000 go test -timeout 1h -run TestRestartsLeakNothing
func TestRestartsLeakNothing(t *testing.T) {
	restarts := fromEnv(t, "AUTORESTART_TEST_RESTARTS", 100)
	d := newDaemon(t)
	d.start()
	// How much memory a runtime has in use is a matter of moments too: an image
	// more or less says nothing.
	var memory []int // kB
	samples := max(1, min(15, restarts/4))
	var first, last status
	for version := 2; version <= restarts+1; version++ {
		d.deploy(version)
		d.wantRestart(version)
		if version-2 < samples || restarts+1-version < samples {
			last = d.settled()
			memory = append(memory, d.rss())
		}
		if version == 2 {
			first = last
		}
	}
	if before, after := median(memory[:samples]), median(memory[samples:]); after*10 > before*11 {
		t.Errorf("%d kB resident after %d restarts, %d kB after the first", after, restarts, before)
	} else {
		t.Logf("%d kB resident after %d restarts, %d kB after the first", after, restarts, before)
	}
	if got, want := files(last), files(first); !slices.Equal(got, want) {
		t.Errorf("descriptors %q after %d restarts, %q after one", got, restarts, want)
	}
	if got, want := fmt.Sprintf("%q", last.Env), fmt.Sprintf("%q", first.Env); got != want {
		t.Errorf("environment %s after %d restarts, %s after one", got, restarts, want)
	}
	if last.Threads > first.Threads+2 { // the runtime starts them as they are needed
		t.Errorf("%d threads after %d restarts, %d after one", last.Threads, restarts, first.Threads)
	}
	// One for each directory down to the executable's, the root included.
	if got, want := d.watchCount(), strings.Count(d.path, "/"); haveEvents && got != want {
		t.Errorf("%d watches after %d restarts, expected %d", got, restarts, want)
	}
}

// settled waits until the watcher waits, and returns the daemon's state.
func (d *daemon) settled() (state status) {
	d.t.Helper()
	waitFor(d.t, "watcher that waits", func() bool {
		state = d.ask("state", "state")
		images, instances := 0, 0
		for _, target := range state.Files {
			if strings.HasPrefix(target, d.path) {
				images++
			}
			if target == "anon_inode:inotify" {
				instances++
			}
		}
		if !haveEvents {
			return images == 0
		}
		return images == 1 && instances == 1 && d.watches(filepath.Dir(d.path))
	})
	return state
}

func (d *daemon) watchCount() (n int) {
	infos, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", d.cmd.Process.Pid))
	for _, info := range infos {
		b, _ := os.ReadFile(info)
		n += bytes.Count(b, []byte("inotify wd:"))
	}
	return n
}

// files lists what is open; the numbers depend on who came first.
func files(r status) []string {
	var list []string
	for _, target := range r.Files {
		list = append(list, strings.TrimSuffix(target, " (deleted)"))
	}
	slices.Sort(list)
	return list
}

// inOwnUserNamespace makes a process root of a user namespace of its own.
func inOwnUserNamespace(attr *syscall.SysProcAttr) {
	attr.Cloneflags |= unix.CLONE_NEWUSER
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
}

func userNamespaces() error {
	cmd := exec.Command("/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
	return cmd.Run()
}

func TestVerifyHasTheLastWord(t *testing.T) {
	modes := []string{"by path"}
	if haveEvents {
		modes = append(modes, "exact")
	}
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			d := newDaemon(t)
			link := filepath.Join(filepath.Dir(d.path), "current-app")
			if err := os.Symlink("app", link); err != nil {
				t.Fatal(err)
			}
			d.cmd.Path, d.cmd.Args[0] = link, link
			if haveEvents { // only the kernel knows the link then
				d.cmd.Args[0] = "worker"
			}
			d.setenv(verifyEnv + "=" + mode)
			first := d.start()

			d.deploy(2)
			if r := d.want("verifying"); r.Text != link {
				t.Errorf("verifying %q, expected %q", r.Text, link)
			}
			d.tell("verify too young")
			d.wantLogged("a file that Verify rejects (too young)")

			d.deploy(3)
			d.want("verifying")
			// Replaced after it was opened: what runs is what was accepted.
			d.deploy(4)
			d.tell("verify")
			d.want("verifying")
			d.tell("verify")
			after := d.wantRestart(4)
			if after.Comm != first.Comm || !slices.EqualFunc(after.Args, first.Args, bytes.Equal) {
				t.Errorf("name %q, arguments %q; before %q, %q", after.Comm, after.Args, first.Comm, first.Args)
			}

			// The link is still what is watched.
			d.write(filepath.Join(filepath.Dir(d.path), "app-5"), image(t, 5))
			if err := os.Symlink("app-5", link+".new"); err != nil {
				t.Fatal(err)
			}
			d.rename(link+".new", link)
			d.want("verifying")
			// Written to after it was opened: the same inode, not the same bytes.
			f, err := os.OpenFile(filepath.Join(filepath.Dir(d.path), "app-5"), os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(versionTrailer(6), int64(len(testBinary(t)))); err != nil {
				t.Fatal(err)
			}
			f.Close()
			d.tell("verify")
			d.want("verifying")
			d.tell("verify")
			d.wantRestart(6)
		})
	}
}

// Whoever can write what root executes is root.
func TestRootTrustsItsOwn(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	const stranger = 12345
	for _, tt := range []struct {
		name   string
		spoil  func(name string) error
		logged string
		mend   func(name string) error
	}{
		{"owner", func(name string) error { return os.Chown(name, stranger, 0) },
			"belongs to UID 12345", func(name string) error { return os.Chown(name, 0, 0) }},
		{"group", func(name string) error { return os.Chmod(name, 0o775) },
			"GID 0 can write", func(name string) error { return os.Chmod(name, 0o755) }},
		{"everybody", func(name string) error { return os.Chmod(name, 0o757) },
			"everybody can write", func(name string) error { return os.Chmod(name, 0o755) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDaemon(t)
			d.start()
			d.watching()
			d.write(d.path+".new", image(t, 2))
			if err := tt.spoil(d.path + ".new"); err != nil {
				t.Fatal(err)
			}
			d.rename(d.path+".new", d.path)
			d.wantLogged(tt.logged)
			if err := tt.mend(d.path); err != nil {
				t.Fatal(err)
			}
			d.wantRestart(2)
		})
	}
}

// renice, ionice and taskset change a process's first thread, the parent-death
// signal is set for it, and the restart comes from another.
func TestRestartKeepsThreadAttributes(t *testing.T) {
	if !haveEvents {
		t.Skip("threads have their own only on Linux")
	}
	// The parent is the thread that forks.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	d := newDaemon(t)
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	pid := d.start().PID
	if err := unix.Setpriority(unix.PRIO_PROCESS, pid, 7); err != nil {
		t.Fatal(err)
	}
	const whoProcess, idle = 1, 3 << 13
	if _, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, whoProcess, uintptr(pid), idle); errno != 0 {
		t.Fatal(errno)
	}
	var cpus unix.CPUSet
	if err := unix.SchedGetaffinity(pid, &cpus); err != nil {
		t.Fatal(err)
	}
	for cpu := range 1024 {
		if cpus.IsSet(cpu) {
			cpus.Zero()
			cpus.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(pid, &cpus); err != nil {
		t.Fatal(err)
	}
	for version := 2; version <= 5; version++ {
		d.deploy(version)
		if sig := d.wantRestart(version).ParentDeath; sig != int(syscall.SIGTERM) {
			t.Errorf("version %d: parent-death signal %d, expected %d", version, sig, syscall.SIGTERM)
		}
		nice, err := unix.Getpriority(unix.PRIO_PROCESS, pid)
		if err != nil || 20-nice != 7 { // the system call answers 20 less the nice value
			t.Errorf("version %d: nice value %d (%v), expected 7", version, 20-nice, err)
		}
		if io, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, whoProcess, uintptr(pid), 0); errno != 0 || io != idle {
			t.Errorf("version %d: I/O priority %#x (%v), expected %#x", version, io, errno, idle)
		}
		var now unix.CPUSet
		if err := unix.SchedGetaffinity(pid, &now); err != nil || now != cpus {
			t.Errorf("version %d: %d CPUs (%v), expected 1", version, now.Count(), err)
		}
	}
}

// A version that doesn't have this library, as after rolling back, gets nothing
// that it could not know what to do with.
func TestForeignVersionInheritsNothing(t *testing.T) {
	d := newDaemon(t)
	foreign := buildForeign(t)
	before := d.start().Files
	d.watching()
	d.answers("pass pipe one", "<nil>")
	d.deployBytes(readFile(t, foreign))
	proc := fmt.Sprintf("/proc/%d/", d.cmd.Process.Pid)
	waitFor(t, "version without the library", func() bool {
		command, _ := os.ReadFile(proc + "cmdline")
		exe, _ := os.Stat(proc + "exe")
		return len(command) > 0 && exe != nil && exe.Size() != int64(len(image(t, 1)))
	})
	if env := readFile(t, proc+"environ"); bytes.Contains(env, []byte(handover.Env)) {
		t.Errorf("%s is in its environment", handover.Env)
	}
	d.wantLogged("the new version gets no file and no state")
	for _, file := range glob(t, "/proc/%d/fd/*", d.cmd.Process.Pid) {
		target, _ := os.Readlink(file)
		if n := filepath.Base(file); strings.HasPrefix(target, "pipe:") && before[n] != target {
			t.Errorf("it has %s as descriptor %s", target, n)
		}
	}
	if n := inotifyInstances(t, d.cmd.Process.Pid); n > 0 {
		t.Errorf("it has %d inotify instances", n)
	}
}

// buildForeign builds a program without this library.
func buildForeign(t *testing.T) string {
	t.Helper()
	return buildModule(t, map[string]string{
		"go.mod":  "module example.com/foreign\n",
		"main.go": "package main\nimport \"time\"\nfunc main() { time.Sleep(time.Hour) }\n",
	})
}

// buildModule builds a program in a module of its own: in ours it would count as
// ours.
func buildModule(t *testing.T, files map[string]string, flags ...string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a program")
	}
	source := t.TempDir()
	for name, content := range files {
		name = filepath.Join(source, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(memoryDir(t), "program")
	build := exec.Command("go", append(append([]string{"build", "-o", program}, flags...), ".")...)
	build.Dir = source
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return program
}

// What the watcher hands out tells one build from the other.
func TestChangeTellsBuilds(t *testing.T) {
	w := Watcher{Path: filepath.Join(memoryDir(t), "app")}
	defer w.Close()
	writeExecutable(t, w.Path, image(t, 2))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	before := time.Now()
	own := buildInfo(elfimage.ReadBuild(bytes.NewReader(testBinary(t)), int64(len(testBinary(t)))))
	first, err := w.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if first.Path != w.Path || first.Size != int64(len(image(t, 2))) || first.Seen.Before(before) || first.New != own || own.ID == "" {
		t.Errorf("got %+v, of the build %+v", first, own)
	}
	if haveEvents && first.Old != own {
		t.Errorf("got the old build %+v, expected %+v", first.Old, own)
	}

	foreign := buildForeign(t)
	content := readFile(t, foreign)
	writeExecutable(t, w.Path+".new", content)
	if err := os.Rename(w.Path+".new", w.Path); err != nil {
		t.Fatal(err)
	}
	second, err := w.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if second.Old != own || second.New.Module != "example.com/foreign" || second.New.ID == own.ID {
		t.Errorf("got %+v", second)
	}
}

// An exec that is called off, or that can't be, leaves nothing behind.
func TestRestarterGivesUp(t *testing.T) {
	dir := memoryDir(t)
	path := filepath.Join(dir, "app")
	writeExecutable(t, path, image(t, 2))
	calledOff := errors.New("not now")
	before := descriptors(t)

	r := Restarter{Path: path, BeforeExec: func(context.Context) error { return calledOff }}
	if err := r.Restart(context.Background()); err != calledOff {
		t.Errorf("%v, expected %v", err, calledOff)
	}

	ctx, cancel := context.WithCancelCause(context.Background())
	called := make(chan bool, 1)
	r = Restarter{Path: path, PollInterval: 10 * time.Millisecond, BeforeExec: func(context.Context) error {
		called <- true
		return calledOff
	}}
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	<-called
	waitFor(t, "mode", func() bool { return r.Mode() != WatchMode{} })
	cancel(calledOff)
	if err := <-ended; err != calledOff {
		t.Errorf("Run ended with %v, expected %v", err, calledOff)
	}

	r = Restarter{Path: filepath.Join(dir, "missing")}
	ctx, stop := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer stop()
	err := r.Restart(ctx)
	if unfit, ok := errors.AsType[*RejectedError](err); !ok || !unfit.Retryable || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Restart without a file ended with %v", err)
	}
	if after := descriptors(t); !slices.Equal(before, after) {
		t.Errorf("descriptors %q, %q before", after, before)
	}
}

// Two restarts at once: the second waits to hear whether the first has failed.
func TestRestartsTakeTurns(t *testing.T) {
	path := filepath.Join(memoryDir(t), "app")
	writeExecutable(t, path, image(t, 2))
	var inside, most atomic.Int32
	r := Restarter{Path: path, BeforeExec: func(context.Context) error {
		most.Store(max(most.Load(), inside.Add(1)))
		defer inside.Add(-1)
		time.Sleep(time.Millisecond) // to be found inside
		return errors.New("called off")
	}}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { r.Restart(context.Background()) })
	}
	all.Wait()
	if most.Load() != 1 {
		t.Errorf("%d restarts at once", most.Load())
	}
}

// descriptors lists what this process has open, but for what the runtime and
// os.ReadDir open themselves.
func descriptors(t *testing.T) []string {
	t.Helper()
	var list []string
	for _, target := range describeSelf().Files {
		if !strings.HasPrefix(target, "anon_inode:[event") && !strings.Contains(target, "/proc/") {
			list = append(list, target)
		}
	}
	slices.Sort(list)
	return list
}

// A program written for the library that this one replaces compiles.
var (
	_ func()                = RestartOnChange
	_ func()                = RestartViaExec
	_ func(bool) chan bool  = NotifyOnChange
	_ func() chan os.Signal = NotifyOnSighup
	_ func() chan os.Signal = NotifyOnSigterm
	_ func()                = CleanUpChildZombies
	_ func()                = CleanUpChildZombiesQuietly
)

func TestNotifyOnSignals(t *testing.T) {
	for _, c := range []struct {
		channel chan os.Signal
		signal  syscall.Signal
	}{{NotifyOnSighup(), syscall.SIGHUP}, {NotifyOnSigterm(), syscall.SIGTERM}} {
		for range 3 {
			if err := syscall.Kill(os.Getpid(), c.signal); err != nil {
				t.Fatal(err)
			}
			select {
			case got := <-c.channel:
				if got != c.signal {
					t.Errorf("received %v, expected %v", got, c.signal)
				}
			case <-time.After(patience):
				t.Fatalf("no %v", c.signal)
			}
		}
		signal.Stop(c.channel)
	}
}
