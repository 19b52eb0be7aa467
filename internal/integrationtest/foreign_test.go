//go:build linux

package integrationtest

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A version without this library, as after a deploy of an old one, gets no file and
// no state: it could not close them.
func TestForeignVersionGetsNothing(t *testing.T) {
	d := program.New(t)
	d.Setenv(program.LogEnv + "=1")
	foreign := testprocess.BuildForeign(t)
	before := d.Start().Files
	d.WaitForWatch()
	d.WantAnswer("pass pipe one", "<nil>")
	d.DeployBytes(testprocess.ReadFile(t, foreign))
	proc := fmt.Sprintf("/proc/%d/", d.PID())
	var env []byte
	testprocess.WaitFor(t, "version without the library", func() bool {
		command, _ := os.ReadFile(proc + "cmdline")
		exe, _ := os.Stat(proc + "exe")
		env, _ = os.ReadFile(proc + "environ")
		return len(command) > 0 && len(env) > 0 && exe != nil && exe.Size() != int64(len(daemontest.Image(t, 1)))
	})
	if bytes.Contains(env, []byte(handover.Env)) {
		t.Errorf("%s is in its environment", handover.Env)
	}
	d.WantLogged("the new version gets no file and no state")
	for _, file := range testprocess.Glob(t, "/proc/%d/fd/*", d.PID()) {
		target, _ := os.Readlink(file)
		if n := filepath.Base(file); strings.HasPrefix(target, "pipe:") && before[n] != target {
			t.Errorf("it has %s as descriptor %s", target, n)
		}
	}
	if n := testprocess.InotifyInstances(t, d.PID()); n > 0 {
		t.Errorf("it has %d inotify instances", n)
	}
}

// A version that was built with a version of this library from before carriers gets the
// state in the variable.
func TestOldLibraryGetsTheVariable(t *testing.T) {
	d := program.New(t)
	d.Start()
	d.WantAnswer("pass pipe one", "<nil>")
	d.WantAnswer("set-state counter 1", "")
	d.WaitForWatch()
	d.DeployBytes(daemontest.BuiltWith(t, daemontest.Image(t, 2), "v0.0.0-20260101000000-0123456789ab"))
	d.WantRestart(2)
	environ := string(testprocess.ReadFile(t, fmt.Sprintf("/proc/%d/environ", d.PID())))
	if _, value, _ := strings.Cut(environ, handover.Env+"="); !strings.Contains(value, "manifest=") {
		t.Errorf("the variable is %.200q", value)
	}
	d.WantAnswer("get-state counter", "1, true")
	d.WantAnswer("inherit pipe", "one, <nil>")
}

// A version without this library can't be on trial: it could not roll back.
func TestForeignVersionCanNotBeOnTrial(t *testing.T) {
	foreign := testprocess.BuildForeign(t)
	d := program.StartWithTrial(t, time.Minute)
	d.DeployBytes(testprocess.ReadFile(t, foreign))
	d.WantLogged("a program without " + testprocess.ModulePath)
	d.WantAnswer("generation", "0")
	d.DeployVersion(2)
	d.WantRestart(2)
}

// The change that a watcher returns tells one build from the other.
func TestChangeTellsBuilds(t *testing.T) {
	w := autorestart.Watcher{Path: filepath.Join(testprocess.MemoryDir(t), "app")}
	defer w.Close()
	testprocess.WriteExecutable(t, w.Path, daemontest.Image(t, 2))
	ctx, cancel := testprocess.WithTimeout(context.Background(), testprocess.Timeout)
	defer cancel()
	before := time.Now()
	own := ownBuild(t)
	first, err := w.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if first.Path != w.Path || first.Size != int64(len(daemontest.Image(t, 2))) || first.Seen.Before(before) || !isBuild(first.New, own) {
		t.Errorf("got %+v, of the build %+v", first, own)
	}
	if daemontest.HaveEvents && !isBuild(first.Old, own) {
		t.Errorf("got the old build %+v, expected %+v", first.Old, own)
	}

	foreign := testprocess.BuildForeign(t)
	content := testprocess.ReadFile(t, foreign)
	testprocess.WriteExecutable(t, w.Path+".new", content)
	if err := os.Rename(w.Path+".new", w.Path); err != nil {
		t.Fatal(err)
	}
	second, err := w.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !isBuild(second.Old, own) || second.New.Module != "example.com/foreign" || second.New.ID == own.ID {
		t.Errorf("got %+v", second)
	}
}

// ownBuild reads the build of the test binary, without the library.
func ownBuild(t *testing.T) autorestart.BuildInfo {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(daemontest.Binary(t)))
	if err != nil {
		t.Fatal(err)
	}
	const noteHeader = 16 // sizes and type, and the name "Go"
	note, err := f.Section(".note.go.buildid").Data()
	if err != nil || len(note) <= noteHeader {
		t.Fatalf("no build ID in %q, %v", note, err)
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("no build info")
	}
	id := strings.TrimRight(string(note[noteHeader:]), "\x00")
	return autorestart.BuildInfo{ID: id, Module: info.Main.Path, Version: info.Main.Version}
}

func isBuild(a, b autorestart.BuildInfo) bool {
	return a.ID == b.ID && a.Module == b.Module && a.Version == b.Version
}

// Nor can a program in another language, which would end the daemon.
func TestOtherLanguageCanNotBeOnTrial(t *testing.T) {
	program.NeedRollback(t)
	d := program.New(t)
	d.Setenv(program.ReadyEnv + "=1m")
	d.Start()
	d.WaitForWatch()
	d.DeployBytes(testprocess.ReadFile(t, "/bin/true"))
	d.WantLogged("found a program without")
	d.DeployVersion(2)
	d.WantRestart(2)
}
