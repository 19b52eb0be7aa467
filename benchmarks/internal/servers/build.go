//go:build linux

package servers

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"testing"
)

var programs = make(map[string][]byte)

// Build returns the executable of a server's daemon.
func Build(b testing.TB, s *Server) []byte {
	b.Helper()
	return BuildProgram(b, s.dir)
}

// BuildProgram returns the executable of the program in a folder of this module. It builds each one
// once, with the race detector if this program has it.
func BuildProgram(b testing.TB, folder string) []byte {
	b.Helper()
	if programs[folder] == nil {
		path := filepath.Join(TempDir(b), "program")
		args := []string{"build", "-ldflags=-s -w", "-o", path}
		if hasRaceDetector() {
			args = append(args, "-race")
		}
		args = append(args, "github.com/autorestart-go/autorestart/benchmarks/"+folder)
		if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		program, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		programs[folder] = program
	}
	return programs[folder]
}

// hasRaceDetector reports whether this program was built with -race.
func hasRaceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// TempDir is like [testing.TB.TempDir], but short enough for a Unix socket's path.
func TempDir(b testing.TB) string {
	b.Helper()
	dir, err := os.MkdirTemp("", "restart")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			b.Error(err)
		}
	})
	return dir
}
