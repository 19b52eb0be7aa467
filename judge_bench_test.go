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
	rules := newRules(false)
	defer rules.close()
	rules.running.close()
	if rules.running.file, err = os.Open(old); err != nil {
		b.Fatal(err)
	}
	if rules.running.id, err = statFile(rules.running.file); err != nil {
		b.Fatal(err)
	}
	if rules.running.id.size != info.Size() {
		b.Fatalf("builds of %d and %d bytes: a difference in size proves nothing", rules.running.id.size, info.Size())
	}
	w := Watcher{Logger: silent, rules: rules, path: next}
	w.base = &w.rules.running
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		c, err := openRegular(next)
		if err != nil {
			b.Fatal(err)
		}
		if err := w.consider(nil, c); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
		c.close()
	}
	median := testprocess.Quantile(took, 0.50)
	b.ReportMetric(testprocess.Microseconds(median), "p50-us")
	b.ReportMetric(testprocess.Microseconds(testprocess.Quantile(took, 0.99)), "p99-us")
	if limit := 200 * time.Microsecond; len(took) >= 100 && median > limit {
		b.Errorf("judging takes %v, limit %v", median, limit)
	}
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
