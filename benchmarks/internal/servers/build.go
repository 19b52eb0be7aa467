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

var programs = make(map[*Server][]byte)

// Build returns the executable of a server's daemon. It builds each one once, with the race
// detector if this program has it.
func Build(b testing.TB, s *Server) []byte {
	b.Helper()
	if programs[s] == nil {
		path := filepath.Join(TempDir(b), s.Name)
		args := []string{"build", "-ldflags=-s -w", "-o", path}
		if hasRaceDetector() {
			args = append(args, "-race")
		}
		args = append(args, "github.com/autorestart-go/autorestart/benchmarks/"+s.dir)
		if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		program, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		programs[s] = program
	}
	return programs[s]
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
