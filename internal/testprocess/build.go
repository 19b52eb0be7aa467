//go:build linux

package testprocess

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// ModulePath is the path of this module.
const ModulePath = "github.com/autorestart-go/autorestart"

// ModuleRoot returns the directory of this module's sources. It skips the test
// where there are none, as where the test binary alone was copied to.
func ModuleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		mod, _ := os.ReadFile(filepath.Join(dir, "go.mod"))
		_, err := os.Stat(filepath.Join(dir, "autorestart.go"))
		if err == nil && bytes.HasPrefix(mod, []byte("module "+ModulePath+"\n")) {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Skip("nothing to build from: no sources of ", ModulePath)
		}
		dir = parent
	}
}

// Build builds a package of this module, named by its directory below the root.
func Build(t testing.TB, out, pkg string, flags ...string) {
	t.Helper()
	goBuild(t, ModuleRoot(t), nil, append(append([]string{"-o", out}, flags...), "./"+pkg)...)
}

// BuildTest builds the test binary of a package of this module, without cgo: it needs no
// dynamic loader.
func BuildTest(t testing.TB, out, pkg string) {
	t.Helper()
	goCommand(t, ModuleRoot(t), nil, "test", "-c", "-o", out, "./"+pkg)
}

// BuildModule builds a program in a module of its own, which has the given files,
// and returns its path.
func BuildModule(t testing.TB, files map[string]string, flags ...string) string {
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
	program := filepath.Join(MemoryDir(t), "program")
	goBuild(t, source, []string{"GOFLAGS=-mod=mod", "GOWORK=off"}, append(append([]string{"-o", program}, flags...), ".")...)
	return program
}

// BuildForeign builds a program without this library, in a module of its own: in
// this one it would count as one of ours.
func BuildForeign(t testing.TB) string {
	t.Helper()
	return BuildModule(t, map[string]string{
		"go.mod":  "module example.com/foreign\n",
		"main.go": "package main\nimport \"time\"\nfunc main() { time.Sleep(time.Hour) }\n",
	})
}

func goBuild(t testing.TB, dir string, env []string, args ...string) {
	t.Helper()
	goCommand(t, dir, env, append([]string{"build"}, args...)...)
}

func goCommand(t testing.TB, dir string, env []string, args ...string) {
	t.Helper()
	NeedTool(t, "go")
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, output)
	}
}
