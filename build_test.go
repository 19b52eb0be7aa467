package autorestart

import (
	"bytes"
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
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
			got := readBuild(bytes.NewReader(b), int64(len(b)))
			info, err := buildinfo.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			id, err := exec.Command("go", "tool", "buildid", out).Output()
			if err != nil {
				t.Fatal(err)
			}
			want := BuildInfo{ID: strings.TrimSpace(string(id)), Module: info.Main.Path, Version: info.Main.Version, foreign: true}
			if got != want || want.ID == "" || want.Module != "example.com/program" {
				t.Errorf("got %#v, want %#v", got, want)
			}
		})
	}
}

// This program has the library, which must not be taken for a foreign one: it
// would lose what is handed over.
func TestReadOwnBuild(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(exe)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	id, err := statFile(f)
	if err != nil {
		t.Fatal(err)
	}
	if b := readBuild(f, id.size); b.foreign || b.Module != "" && b.Module != modulePath {
		t.Errorf("%#v", b)
	}
}

func TestBuildString(t *testing.T) {
	for want, b := range map[string]BuildInfo{
		"unknown":                   {},
		"v1.4.2":                    {ID: "a/b/c/d", Module: "m", Version: "v1.4.2"},
		"content":                   {ID: "action/main/x/content", Version: "(devel)"},
		"v0.0.0-20260101-abc+dirty": {Version: "v0.0.0-20260101-abc+dirty"},
	} {
		if got := b.String(); got != want {
			t.Errorf("%+v is %q, want %q", b, got, want)
		}
	}
}

func FuzzReadBuild(f *testing.F) {
	for _, parts := range sampleELFs() {
		f.Add(parts.build(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		readBuild(bytes.NewReader(b), int64(len(b)))
	})
}

func FuzzParseBuildInfo(f *testing.F) {
	f.Add([]byte(goBuildInfoMagic + "\x08\x02" + strings.Repeat("\x00", 16) + "\x04go1.\x28" + strings.Repeat("x", 16) + "path\tp\nmod\tm\tv1\th\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= goBuildInfoSize {
			parseBuildInfo(b)
		}
	})
}
