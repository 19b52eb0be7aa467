//go:build linux

package autorestart

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// BenchmarkJudge measures what looking at a new version of a 20 MB Go program
// adds to its execution: opening it, comparing it with the image that runs, and
// judging it. The limit holds from 100 rounds on.
func BenchmarkJudge(b *testing.B) {
	old, next := buildLarge(b, "one"), buildLarge(b, "two")
	info, err := os.Stat(next)
	if err != nil {
		b.Fatal(err)
	}
	if info.Size() < 20e6 {
		b.Fatalf("a program of %d bytes, expected 20 MB", info.Size())
	}
	sys := runningFile{self.files, old}
	rules := candidate.NewRules(sys, old)
	defer rules.Close()
	if rules.Running.ID.Size != info.Size() {
		b.Fatalf("builds of %d and %d bytes: a difference in size proves nothing", rules.Running.ID.Size, info.Size())
	}
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		c, rejection := candidate.Open(sys, next)
		if rejection != nil {
			b.Fatal(rejection)
		}
		if same, err := rules.Running.SameContent(c); err != nil || same {
			b.Fatal(same, err)
		}
		if rejection := rules.Judge(c); rejection != nil {
			b.Fatal(rejection)
		}
		if rejection := rules.Unchanged(c); rejection != nil {
			b.Fatal(rejection)
		}
		took = append(took, time.Since(start))
		c.Close()
	}
	median := testprocess.Quantile(took, 0.50)
	b.ReportMetric(testprocess.Microseconds(median), "p50-us")
	b.ReportMetric(testprocess.Microseconds(testprocess.Quantile(took, 0.99)), "p99-us")
	if limit := 200 * time.Microsecond; len(took) >= 100 && median > limit {
		b.Errorf("judging takes %v, limit %v", median, limit)
	}
}

// runningFile is a system whose running image is the file at the path.
type runningFile struct {
	candidate.System
	path string
}

func (s runningFile) OpenRunning() (candidate.File, error) { return s.Open(s.path) }

func (s runningFile) RunningID() candidate.ID {
	id, _ := s.Stat(s.path)
	return id
}

// buildLarge builds a program of 20 MB that knows its version.
func buildLarge(tb testing.TB, version string) (path string) {
	tb.Helper()
	dir := testprocess.MemoryDir(tb)
	blob := make([]byte, 20_000_000)
	rand.NewChaCha8([32]byte{}).Read(blob)
	for name, content := range map[string][]byte{
		"go.mod":  []byte("module large\n\ngo 1.26\n"),
		"main.go": []byte(strings.ReplaceAll("package main\n\nimport _ 'embed'\n\n//go:embed blob\nvar blob string\n\nvar version string\n\nfunc main() { println(len(blob), version) }\n", "'", `"`)),
		"blob":    blob,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	path = filepath.Join(dir, "large")
	cmd := exec.Command("go", "build", "-C", dir, "-trimpath", "-o", path, "-ldflags=-X main.version="+version, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	if output, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("%v: %v\n%s", cmd, err, output)
	}
	return path
}
