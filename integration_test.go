//go:build linux

package autorestart_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestMain(m *testing.M) {
	daemontest.Main(m, map[string]func(){program.Name: program.Main})
}

// A program written for the library that this one replaces compiles.
var (
	_ func()                = autorestart.RestartOnChange
	_ func()                = autorestart.RestartViaExec
	_ func(bool) chan bool  = autorestart.NotifyOnChange
	_ func() chan os.Signal = autorestart.NotifyOnSighup
	_ func() chan os.Signal = autorestart.NotifyOnSigterm
	_ func()                = autorestart.CleanUpChildZombies
	_ func()                = autorestart.CleanUpChildZombiesQuietly
)

// The new version runs in the same process, as if it had been started there.
func TestRestartKeepsTheProcess(t *testing.T) {
	d := program.New(t)
	dir := t.TempDir()
	// A shell prepares the process as a parent would; exec keeps its PID.
	d.Cmd.Path = "/bin/sh"
	d.Cmd.Args = []string{"sh", "-c", `umask 027; ulimit -Sn 777; exec "$0" "$@"`, d.Path, "", "a b", "\xff\xfe=\x01", "--", ""}
	d.Cmd.Dir = dir
	d.Setenv("EMPTY=")
	d.Setenv("LINES=one\ntwo\n")
	d.Setenv("BYTES=\xff\x80")
	before := d.Start()
	if before.SoftNofile == 777 {
		t.Error("the runtime did not raise RLIMIT_NOFILE: this test proves nothing")
	}
	for version := 2; version <= 4; version++ {
		d.WaitForWatch()
		d.DeployVersion(version)
		after := d.WantRestart(version)
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
	if got := string(bytes.Join(before.Args, []byte("|"))); got != d.Path+"||a b|\xff\xfe=\x01|--|" {
		t.Errorf("arguments %q", got)
	}
}

func TestDeployBeforeWatchIsFound(t *testing.T) {
	d := program.New(t)
	d.Setenv(program.ManualEnv + "=1")
	d.Start()
	d.DeployVersion(2)
	d.Tell("watch")
	d.WantRestart(2)
}

func TestLastOfManyVersionsRuns(t *testing.T) {
	d := program.New(t)
	d.Start()
	const last = 6
	for version := 2; version <= last; version++ {
		d.Write(fmt.Sprintf("%s.%d", d.Path, version), daemontest.Image(t, version))
	}
	d.WaitForWatch()
	for version := 2; version <= last; version++ {
		d.Rename(fmt.Sprintf("%s.%d", d.Path, version), d.Path)
	}
	seen := map[int]bool{1: true}
	for {
		r := d.NextStart()
		if seen[r.Version] {
			t.Fatalf("version %d restarted twice", r.Version)
		}
		seen[r.Version] = true
		if r.Version == last {
			break
		}
	}
	d.WaitForWatch()
	d.DeployVersion(last + 1)
	d.WantRestart(last + 1)
}

// Only another content is another version.
func TestSameContentRestartsNothing(t *testing.T) {
	d := program.New(t)
	d.Start()
	same := []struct {
		name string
		do   func()
	}{
		{"touch", func() { os.Chtimes(d.Path, time.Now(), time.Now()) }},
		{"chmod", func() { os.Chmod(d.Path, 0o700) }},
		{"chmod -x", func() { os.Chmod(d.Path, 0o600) }},
		{"copy over", func() {
			os.Remove(d.Path)
			d.Write(d.Path, daemontest.Image(t, 1))
		}},
		{"rename over", func() { d.DeployVersion(1) }},
	}
	for i, tt := range same {
		d.WaitForWatch()
		tt.do()
		d.DeployVersion(i + 2)
		d.WantRestart(i + 2) // and no restart between: the generations count
		d.WaitForWatch()
		d.DeployVersion(1)
		d.WantRestart(1)
	}
}

// Each bad file is followed by a good one. The generations count, so nothing was
// executed in between.
func TestBadCandidates(t *testing.T) {
	good := daemontest.Binary(t)
	foreign := slices.Clone(good)
	foreign[18], foreign[19] = foreign[19]^0x55, foreign[18] // e_machine
	library := slices.Clone(good)
	clear(library[24:32]) // e_entry
	for _, tt := range []struct {
		name   string
		make   func(d *daemontest.Daemon)
		logged string
	}{
		{"empty", func(d *daemontest.Daemon) { d.DeployBytes(nil) }, "an empty file"},
		{"first page", func(d *daemontest.Daemon) { d.DeployBytes(good[:4096]) }, "not complete"},
		{"half", func(d *daemontest.Daemon) { d.DeployBytes(good[:len(good)/2]) }, "not complete"},
		{"last byte missing", func(d *daemontest.Daemon) { d.DeployBytes(good[:elfExtent(t, good)-1]) }, "not complete"},
		{"two bytes", func(d *daemontest.Daemon) { d.DeployBytes(good[:2]) }, "not complete"},
		{"garbage", func(d *daemontest.Daemon) { d.DeployBytes([]byte("garbage\n")) }, "expected an ELF executable"},
		{"script", func(d *daemontest.Daemon) { d.DeployBytes([]byte("#!/bin/true\n")) }, "expected an ELF executable"},
		{"other architecture", func(d *daemontest.Daemon) { d.DeployBytes(foreign) }, "expected an ELF executable for"},
		{"shared library", func(d *daemontest.Daemon) { d.DeployBytes(library) }, "no entry point"},
		{"directory", func(d *daemontest.Daemon) {
			os.Remove(d.Path)
			os.Mkdir(d.Path, 0o755)
		}, "not a regular file"},
		{"named pipe", func(d *daemontest.Daemon) {
			os.Remove(d.Path)
			unix.Mkfifo(d.Path, 0o755)
		}, "not a regular file"},
		{"not executable", func(d *daemontest.Daemon) {
			d.Write(d.Path+".new", daemontest.Image(d.T, 2))
			os.Chmod(d.Path+".new", 0o644)
			d.Rename(d.Path+".new", d.Path)
		}, "may not be executed"},
		{"dangling link", func(d *daemontest.Daemon) {
			os.Remove(d.Path)
			os.Symlink("nowhere", d.Path)
		}, "no such file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := program.New(t)
			d.Start()
			d.WaitForWatch()
			tt.make(d)
			d.WantLogged(tt.logged)
			os.Remove(d.Path) // a directory can't be renamed over
			d.DeployVersion(3)
			d.WantRestart(3)
		})
	}
}

// elfExtent returns where the last byte is that the headers of an ELF file name.
func elfExtent(t *testing.T, content []byte) int {
	t.Helper()
	var header elf.Header64
	r := bytes.NewReader(content)
	if err := binary.Read(r, binary.NativeEndian, &header); err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(r)
	if err != nil {
		t.Fatal(err)
	}
	extent := header.Shoff + uint64(header.Shnum)*uint64(header.Shentsize)
	for _, p := range f.Progs {
		extent = max(extent, p.Off+p.Filesz)
	}
	for _, section := range f.Sections {
		if section.Type != elf.SHT_NOBITS {
			extent = max(extent, section.Offset+section.FileSize)
		}
	}
	return int(extent)
}

func TestSlowWriteIsNotExecutedHalf(t *testing.T) {
	d := program.New(t)
	d.Start()
	d.WaitForWatch()
	if err := os.Remove(d.Path); err != nil {
		t.Fatal(err)
	}
	content := daemontest.Image(t, 2)
	piece := len(content)/7 + 1 // the last one ends the ELF file, and more
	for len(content) > 0 {
		n := min(len(content), piece)
		f, err := os.OpenFile(d.Path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o755)
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
	d.WantRestart(2)
}

func TestRestartViaExec(t *testing.T) {
	d := program.New(t)
	d.Setenv(program.ManualEnv + "=1")
	d.Start()
	d.Tell("exec") // the same version again
	d.WantRestart(1)

	os.Rename(d.Path, d.Path+".away") // missing for a moment
	d.Tell("exec")
	d.WantLogged("no such file")
	d.State()
	d.Rename(d.Path+".away", d.Path)
	d.WantRestart(1)

	before := d.Last
	d.DeployBytes([]byte("garbage"))
	d.Tell("exec")
	d.WantLogged("expected an ELF executable")
	state := d.State()
	if state.Generation != before.Generation {
		t.Fatalf("generation %d, expected %d", state.Generation, before.Generation)
	}
	d.DeployVersion(2)
	d.WantRestart(2)
	if n := strings.Count(d.Log(), "expected an ELF executable"); n != 1 {
		t.Errorf("a reason that lasts was logged %d times", n)
	}
}

func TestNotifyOnChange(t *testing.T) {
	for _, mode := range []string{"events", "poll"} {
		t.Run(mode, func(t *testing.T) {
			d := program.New(t)
			d.Setenv(program.ManualEnv + "=1")
			d.Start()
			d.Ask("notify "+mode, "done")
			d.Tell("receive")
			d.WaitForWatch()
			d.DeployVersion(2)
			d.Want("received")
			// The program runs on. The channel holds one value: further changes are
			// merged into it.
			for version := 3; version <= 5; version++ {
				d.DeployVersion(version)
				testprocess.WaitFor(t, "pending notification", func() bool { return d.Ask("pending", "done") == "1" })
			}
			d.Ask("receive", "received")
			d.Tell("exec")
			d.WantRestart(5)
		})
	}
}

func TestNotifyOnSignals(t *testing.T) {
	for _, c := range []struct {
		channel chan os.Signal
		signal  syscall.Signal
	}{{autorestart.NotifyOnSighup(), syscall.SIGHUP}, {autorestart.NotifyOnSigterm(), syscall.SIGTERM}} {
		for range 3 {
			if err := syscall.Kill(os.Getpid(), c.signal); err != nil {
				t.Fatal(err)
			}
			if got, _ := testprocess.Receive(t, c.signal.String(), c.channel); got != c.signal {
				t.Errorf("received %v, expected %v", got, c.signal)
			}
		}
		signal.Stop(c.channel)
	}
}

// A descriptor, a watch or a thread that one restart leaves behind is there a hundred
// times after a hundred restarts. This is the short form of
//
//	AUTORESTART_TEST_RESTARTS=10000 go test -timeout 1h -run TestRestartsLeakNothing
func TestRestartsLeakNothing(t *testing.T) {
	restarts := testprocess.FromEnv(t, "AUTORESTART_TEST_RESTARTS", 100)
	d := program.New(t)
	d.Start()
	// How much memory a runtime has in use varies from moment to moment: the medians
	// of several images are compared.
	var memory, threads []int // kB; the runtime starts threads as it needs them
	samples := max(1, min(15, restarts/4))
	var first, last daemontest.Status
	for version := 2; version <= restarts+1; version++ {
		d.DeployVersion(version)
		d.WantRestart(version)
		if version-2 < samples || restarts+1-version < samples {
			last = d.Settled()
			memory = append(memory, d.ResidentMemory())
			threads = append(threads, last.Threads)
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
	if got, want := last.OpenFiles(), first.OpenFiles(); !slices.Equal(got, want) {
		t.Errorf("descriptors %q after %d restarts, %q after one", got, restarts, want)
	}
	if got, want := fmt.Sprintf("%q", last.Env), fmt.Sprintf("%q", first.Env); got != want {
		t.Errorf("environment %s after %d restarts, %s after one", got, restarts, want)
	}
	if before, after := slices.Min(threads[:samples]), slices.Min(threads[samples:]); after > before+2 {
		t.Errorf("%d threads at least after %d restarts, %d after the first", after, restarts, before)
	}
	// One for each directory down to the executable's, the root included.
	if got, want := d.WatchCount(), strings.Count(d.Path, "/"); daemontest.HaveEvents && got != want {
		t.Errorf("%d watches after %d restarts, expected %d", got, restarts, want)
	}
}

func median(n []int) int {
	return slices.Sorted(slices.Values(n))[len(n)/2]
}

// A passed file goes from image to image, until Ready is called in one that has not
// claimed it.
func TestFilesCrossTheExec(t *testing.T) {
	d := program.New(t)
	d.Start()
	sees := d.Ask("child-sees", "done")
	d.WantAnswer("names", "")
	d.WantAnswer("inherit pipe", "inherit pipe: file does not exist")
	d.WantAnswer("pass pipe one", "<nil>")
	d.WantAnswer("pass dropped two", "<nil>")
	d.WantAnswer("pass withdrawn three", "<nil>")
	d.WantAnswer("unpass withdrawn", "")
	for version := 2; version < 5; version++ {
		d.DeployVersion(version)
		d.WantRestart(version)
		d.WantAnswer("names", "dropped pipe")
		d.WantAnswer("inherit pipe", "one, <nil>")
		d.WantAnswer("ready", "")
		d.WantLogged("file=dropped")
		d.WantAnswer("names", "pipe")
		d.WantAnswer("pass pipe one", "<nil>")
		d.WantAnswer("pass dropped two", "<nil>")
	}
	d.WantAnswer("generation", "3")
	d.WantAnswer("unpass dropped", "")
	d.WantAnswer("unpass pipe", "")
	d.WantAnswer("child-sees", sees)
}

func TestStateCrossesTheExec(t *testing.T) {
	d := program.New(t)
	d.Start()
	d.WantAnswer("get-state counter", ", false")
	d.WantAnswer("set-state counter 1", "")
	d.WantAnswer("set-state empty ", "")
	d.WantAnswer("set-state forgotten x", "")
	d.WantAnswer("set-big-state big 50000000", "<nil>")
	d.DeployVersion(2)
	d.WantRestart(2)
	d.WantAnswer("get-state counter", "1, true")
	d.WantAnswer("get-state empty", ", true")
	d.WantAnswer("get-state big", "50000000 bytes")
	d.WantAnswer("set-state counter 2", "")
	d.WantAnswer("ready", "")
	d.WantAnswer("get-state forgotten", ", false")
	d.DeployVersion(3)
	d.WantRestart(3)
	d.WantAnswer("get-state counter", "2, true")
	d.WantAnswer("get-state big", "50000000 bytes")
	d.WantAnswer("get-state forgotten", ", false")
}

// A version that never calls Ready has a minute, which is shortened here, to claim what
// it was passed.
func TestUnclaimedIsClosedWithoutReady(t *testing.T) {
	for _, claims := range []bool{false, true} {
		t.Run(fmt.Sprint("claims=", claims), func(t *testing.T) {
			d := program.New(t)
			d.Start()
			d.WantAnswer("pass pipe one", "<nil>")
			d.WantAnswer("pass dropped two", "<nil>")
			d.WantAnswer("set-state counter 1", "")
			d.WantAnswer("subscribe 1", "<nil>")
			d.DeployVersion(2)
			d.WantRestart(2)
			if claims {
				d.WantAnswer("inherit pipe", "one, <nil>")
			}
			d.WantAnswer("unclaimed-timeout 1ms", "<nil>")
			if claims {
				d.WantLogged("closed an inherited file that this version has not claimed")
			} else {
				d.WantLogged("closed all inherited files: this version has claimed none")
			}
			if claims {
				d.WantAnswer("names", "pipe")
			} else {
				d.WantAnswer("names", "")
			}
			d.WantAnswer("get-state counter", ", false")
			d.DeployVersion(3)
			d.WantRestart(3)
		})
	}
}

// A version that fails before it is ready is rolled back: the one before runs again,
// in the same process.
func TestFailedVersionIsRolledBack(t *testing.T) {
	for _, test := range []struct {
		name    string
		version int
		reason  string
	}{
		{"panic", program.Panics, "main panicked: this version panics"},
		{"return", program.Returns, "main returned before it was ready"},
		{"fail", program.ChangesEverything, "unexpected EOF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := program.StartWithTrial(t, time.Minute)
			d.DeployVersion(test.version)
			d.WantRestart(test.version)
			program.WantRollback(d, test.reason)
			// The version that failed is not executed again, until another is deployed.
			d.WantLogged(program.LoggedFailedBefore)
			d.WantAnswer("inherit pipe", "one, <nil>")
			d.WantAnswer("pass pipe one", "<nil>")
			d.WantAnswer("ready", "")
			d.DeployVersion(2)
			d.WantStart(2, d.Last.Generation+1)
			d.WantAnswer("inherit pipe", "one, <nil>")
			d.WantAnswer("ready", "")
			d.WantAnswer("rolled-back", "<nil>")
		})
	}
}

func TestVersionThatIsNeverReadyIsRolledBack(t *testing.T) {
	// A machine that is busy may need longer than the first timeout until the version says that it runs.
	for timeout := 300 * time.Millisecond; ; timeout *= 4 {
		d := program.StartWithTrial(t, timeout)
		d.DeployVersion(program.NeverReady)
		if d.NextStart().Version == program.NeverReady {
			program.WantRollback(d, "it was not ready within "+timeout.String())
			d.WantLogged(program.LoggedFailedBefore)
			return
		}
	}
}
