package elfimage

import (
	"bytes"
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/elfimage/elftest"
)

// What is read here is what debug/buildinfo and go tool buildid read.
func TestReadBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.com/program\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"linux/amd64", "linux/386", "linux/mips", "linux/s390x", "linux/arm"} {
		t.Run(strings.ReplaceAll(target, "/", "-"), func(t *testing.T) {
			goos, goarch, _ := strings.Cut(target, "/")
			out := filepath.Join(dir, goarch)
			cmd := exec.Command("go", "build", "-o", out, "-ldflags=-s -w", ".")
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0", "GOFLAGS=-mod=mod")
			if output, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, output)
			}
			b, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			got := ReadBuild(bytes.NewReader(b), int64(len(b)))
			info, err := buildinfo.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			id, err := exec.Command("go", "tool", "buildid", out).Output()
			if err != nil {
				t.Fatal(err)
			}
			want := Build{ID: strings.TrimSpace(string(id)), Module: info.Main.Path, Version: info.Main.Version, WithoutLibrary: true}
			if got != want || want.ID == "" || want.Module != "example.com/program" {
				t.Errorf("got %#v, want %#v", got, want)
			}
		})
	}
}

// This program contains the library. Taken for one that does not, it would lose the
// files that are passed on.
func TestReadOwnBuild(t *testing.T) {
	f := openSelf(t)
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if b := ReadBuild(f, info.Size()); b.WithoutLibrary || b.Module != "" && b.Module != Library {
		t.Errorf("%#v", b)
	}
}

// openSelf opens the file of this program.
func openSelf(t *testing.T) *os.File {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(exe)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func FuzzReadBuild(f *testing.F) {
	for _, parts := range elftest.Samples() {
		f.Add(parts.Build(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ReadBuild(bytes.NewReader(b), int64(len(b)))
	})
}

func FuzzParseBuildInfo(f *testing.F) {
	f.Add([]byte(buildInfoMagic + "\x08\x02" + strings.Repeat("\x00", 16) + "\x04go1.\x28" + strings.Repeat("x", 16) + "path\tp\nmod\tm\tv1\th\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= buildInfoSize {
			parseBuildInfo(b)
		}
	})
}
