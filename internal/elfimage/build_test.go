package elfimage

import (
	"bytes"
	"debug/buildinfo"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/elfimage/elftest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
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

// A program in another language is known not to contain the library: it would leave open what is
// handed over, and can't be rolled back.
func TestReadBuildOfOtherLanguage(t *testing.T) {
	f, err := os.Open("/bin/sh")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := ReadBuild(f, info.Size()), (Build{WithoutLibrary: true}); got != want {
		t.Errorf("got %#v, want %#v", got, want)
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
	for _, m := range crafted() {
		if len(m.Content) < 4096 { // mutations of large ones are slow
			f.Add(m.Content)
		}
	}
	for _, parts := range elftest.Samples() {
		f.Add(parts.Build(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		checkBounds(t, &elftest.Meter{Content: b, Size: int64(len(b))})
		checkBounds(t, &elftest.Meter{Content: b, Size: 1 << 40})
	})
}

// infoSection returns the section with the build info of a program that was built from
// the modules, as Go's linker writes it.
func infoSection(modules string) []byte {
	b := []byte(buildInfoMagic + "\x08\x02" + strings.Repeat("\x00", 16))
	for _, s := range []string{"go1.26.0", strings.Repeat("<", 16) + modules + strings.Repeat(">", 16)} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

func TestLibraryVersion(t *testing.T) {
	const main = "path\texample.com/program\nmod\texample.com/program\tv1.2.3\th1:x=\n"
	const pseudo = "v0.0.0-20261017120000-0123456789ab"
	for _, test := range []struct{ name, modules, want string }{
		{"release", main + "dep\t" + Library + "\tv0.1.0\th1:x=\n", "v0.1.0"},
		{"pseudo-version", main + "dep\t" + Library + "\t" + pseudo + "\th1:x=\n", pseudo},
		{"among others", main + "dep\ta.com/b\tv1.0.0\th1:x=\ndep\t" + Library + "\tv0.2.0\th1:x=\ndep\tz.com/y\tv3.0.0\th1:x=\nbuild\tGOOS=linux\n", "v0.2.0"},
		{"work tree", main + "dep\t" + Library + "\t(devel)\t\n", ""},
		{"replaced by another module", main + "dep\t" + Library + "\tv0.1.0\n=>\texample.com/fork\tv0.1.1\th1:x=\n\nbuild\tGOOS=linux\n", "v0.1.1"},
		{"replaced by a work tree", main + "dep\t" + Library + "\tv0.1.0\n=>\t../autorestart\t(devel)\t\n\n", ""},
		{"another is replaced", main + "dep\t" + Library + "\tv0.1.0\th1:x=\ndep\tz.com/y\tv3.0.0\n=>\tz.com/fork\tv9.0.0\th1:x=\n\n", "v0.1.0"},
		{"replaces another", main + "dep\tz.com/y\tv3.0.0\n=>\t" + Library + "\tv0.1.0\th1:x=\n\n", "v0.1.0"},
		{"main module", "path\t" + Library + "/x\nmod\t" + Library + "\tv0.3.0\th1:x=\n", "v0.3.0"},
		{"main module, work tree", "path\t" + Library + "/x\nmod\t" + Library + "\t(devel)\t\n", ""},
		{"module below", "mod\t" + Library + "/benchmarks\tv7.0.0\t\ndep\t" + Library + "/contrib/x\tv8.0.0\th1:x=\n", ""},
		{"longer name", main + "dep\t" + Library + "-other\tv8.0.0\th1:x=\n", ""},
		{"setting", main + "build\t" + Library + "\tv8.0.0\n", ""},
		{"cut", main + "dep\t" + Library, ""},
		{"without", main, ""},
	} {
		var b Build
		if b.parseInfo(infoSection(test.modules)); b.LibraryVersion != test.want {
			t.Errorf("%s: got %q, want %q", test.name, b.LibraryVersion, test.want)
		}
	}
}

// TestWithoutLibrary: a program that has a module whose path only begins like the
// library's can neither become ready nor be rolled back.
func TestWithoutLibrary(t *testing.T) {
	const main = "path\texample.com/program\nmod\texample.com/program\tv1.2.3\th1:x=\n"
	for _, test := range []struct {
		name, modules string
		want          bool
	}{
		{"with it", main + "dep\t" + Library + "\tv0.1.0\th1:x=\n", false},
		{"replaced", main + "dep\t" + Library + "\tv0.1.0\n=>\texample.com/fork\tv0.1.1\th1:x=\n\n", false},
		{"replaces another", main + "dep\tz.com/y\tv3.0.0\n=>\t" + Library + "\tv0.1.0\th1:x=\n\n", false},
		{"its own program", "mod\t" + Library + "\t(devel)\t\n", false},
		{"next major version", main + "dep\t" + Library + "/v2\tv2.0.0\th1:x=\n", false},
		{"next but eight", main + "dep\t" + Library + "/v10\tv10.0.0\th1:x=\n", false},
		{"not told", "", false},
		{"without", main, true},
		{"module below", "mod\t" + Library + "/benchmarks\t(devel)\t\ndep\t" + Library + "/contrib/x\tv0.1.0\th1:x=\n", true},
		{"module below, next major version", main + "dep\t" + Library + "/x/v2\tv2.0.0\th1:x=\n", true},
		{"longer name", main + "dep\t" + Library + "-other\tv0.1.0\th1:x=\n", true},
		{"name like a version", main + "dep\t" + Library + "/verify\tv0.1.0\th1:x=\n", true},
		{"setting", main + "build\t" + Library + "\n", true},
		{"test", "path\texample.com/program.test\nmod\texample.com/program\t(devel)\t\nbuild\t-compiler=gc\n", false}, // go test lists no modules
		{"test with modules", "path\texample.com/program.test\nmod\texample.com/program\t(devel)\t\ndep\ta.com/b\tv1.0.0\th1:x=\n", true},
	} {
		var b Build
		if b.parseInfo(infoSection(test.modules)); b.WithoutLibrary != test.want {
			t.Errorf("%s: %t, want %t", test.name, b.WithoutLibrary, test.want)
		}
	}
}

// TestLongTexts: no line of a log gets a megabyte from the author of a file.
func TestLongTexts(t *testing.T) {
	for _, n := range []int{maxText, maxText + 1} {
		long := strings.Repeat("x", n)
		want := ""
		if n <= maxText {
			want = long
		}
		var path, version Build
		path.parseInfo(infoSection("mod\t" + long + "\n"))
		version.parseInfo(infoSection("mod\t\t" + long + "\n"))
		if path.Module != want || version.Version != want {
			t.Errorf("%d bytes: module %d, version %d bytes", n, len(path.Module), len(version.Version))
		}
		f := file{order: binary.LittleEndian}
		note := binary.LittleEndian.AppendUint32(nil, uint32(len(noteName)))
		note = binary.LittleEndian.AppendUint32(note, uint32(n))
		note = binary.LittleEndian.AppendUint32(note, noteBuildID)
		if id := f.buildID(append(append(note, noteName...), long...)); id != want {
			t.Errorf("%d bytes: an ID of %d", n, len(id))
		}
	}
}

// FuzzParseBuildInfo: what package debug accepts is read as package debug reads it, and
// the memory that it takes depends on the length alone.
func FuzzParseBuildInfo(f *testing.F) {
	f.Add(infoSection("path\tp\nmod\tm\tv1\th\n"))
	f.Add(infoSection("path\tp\nmod\tm\tv1\th\ndep\t" + Library + "\tv0.1.0\n=>\tx\tv2\th\n\nbuild\tGOOS=linux\n"))
	f.Add(infoSection("mod\t" + Library + "\t(devel)\t\ndep\t" + Library + "/v2\tv2.0.0\th\n"))
	f.Add(infoSection(strings.Repeat("=>\t\n", 100)))
	f.Fuzz(func(t *testing.T, section []byte) {
		if len(section) < buildInfoSize {
			return
		}
		var b Build
		allocated := testprocess.Allocated(func() { b.parseInfo(section) })
		if most := 8*uint64(len(section)) + 32<<10; allocated > most {
			t.Errorf("%d bytes allocated for %d, limit %d", allocated, len(section), most)
		}
		if len(b.Module)+len(b.Version)+len(b.LibraryVersion) > 3*maxText {
			t.Errorf("texts of %d, %d and %d bytes", len(b.Module), len(b.Version), len(b.LibraryVersion))
		}
	})
}

// FuzzParseModules compares with package debug. In a file every line has an end, and the
// main module comes once and first; of other texts, package debug makes something else.
func FuzzParseModules(f *testing.F) {
	f.Add("path\tp\nmod\tm\tv1\th\n")
	f.Add("path\tp\nmod\tm\tv1\th\ndep\t" + Library + "\tv0.1.0\n=>\tx\tv2\th\n\nbuild\tGOOS=linux\n")
	f.Add("mod\t" + Library + "\t(devel)\t\ndep\t" + Library + "/v2\tv2.0.0\th\n")
	f.Add("dep\tx\tv1\n=>\t" + Library + "\tv2\th\n")
	f.Fuzz(func(t *testing.T, modules string) {
		info, err := debug.ParseBuildInfo(modules)
		if err != nil || len(modules) > maxText || !strings.HasSuffix(modules, "\n") {
			return
		}
		if _, rest, found := strings.Cut(modules, "dep\t"); strings.Count(modules, "mod\t") > 1 || found && strings.Contains(rest, "mod\t") {
			return
		}
		want := Build{Module: info.Main.Path, Version: info.Main.Version, WithoutLibrary: true}
		for _, m := range append([]*debug.Module{&info.Main}, info.Deps...) {
			found, version := isLibrary(m.Path), m.Version
			if m.Replace != nil {
				found, version = found || isLibrary(m.Replace.Path), m.Replace.Version
			}
			if version == "(devel)" {
				version = ""
			}
			if found {
				want.WithoutLibrary, want.LibraryVersion = false, version
			}
		}
		var b Build
		if b.parseModules(modules); b != want {
			t.Errorf("%q: got %+v, want %+v", modules, b, want)
		}
	})
}
