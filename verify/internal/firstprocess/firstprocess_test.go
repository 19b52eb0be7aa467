//go:build linux

package firstprocess_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
	"github.com/autorestart-go/autorestart/verify/internal/firstprocess"
)

func TestOwn(t *testing.T) {
	if !firstprocess.Own() {
		t.Error("the test binary is not its own executable")
	}
}

// The variable means nothing in a process that is not the first one of a namespace.
func TestEnvOfOtherProcess(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "-test.list", "^TestOwn$")
	cmd.Env = append(os.Environ(), firstprocess.Env+"=1")
	output, err := cmd.CombinedOutput()
	if err != nil || string(output) != "TestOwn\n" {
		t.Errorf("%v, output %q", err, output)
	}
}

// The first process initialises nothing that imports package os.
func TestInitializedBeforeOS(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "-test.list", "^$")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	first := bytes.Index(output, []byte("init github.com/autorestart-go/autorestart/verify/internal/firstprocess @"))
	os := bytes.Index(output, []byte("init os @"))
	if first < 0 || os < first {
		t.Errorf("packages are initialised in this order:\n%s", output)
	}
}

// A program that loads this package in a library must not be started as the first process:
// it would do what it always does.
func TestOwnInLibraries(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	testprocess.NeedTool(t, "go")
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("no gcc here: apt-get install gcc")
	}
	dir := t.TempDir()
	build := func(name string, args ...string) string {
		t.Helper()
		out := filepath.Join(dir, name)
		cmd := exec.Command(args[0], append(args[1:], "-o", out)...)
		if args[0] == "go" {
			cmd.Args = append(cmd.Args, "./testdata/"+name)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
		}
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, output)
		}
		return out
	}
	library := build("library", "go", "build", "-buildmode=c-shared")
	testprocess.Run(t, build("host.c.out", "gcc", "testdata/host.c", "-ldl"), library)
	plugin := build("plugin", "go", "build", "-buildmode=plugin")
	testprocess.Run(t, build("host", "go", "build"), plugin)
}
