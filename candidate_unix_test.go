//go:build unix

package autorestart

import (
	"bytes"
	"debug/elf"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestOpenRegular(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(in("app"), []byte("content"), 0o755))
	must(os.Symlink("app", in("link")))
	must(os.Symlink("missing", in("dangling")))
	must(os.Symlink("loop-b", in("loop-a")))
	must(os.Symlink("loop-a", in("loop-b")))
	must(os.Symlink("self", in("self")))
	must(os.Mkdir(in("dir"), 0o755))
	must(unix.Mkfifo(in("fifo"), 0o755))
	must(os.WriteFile(in("locked"), []byte("content"), 0o000))
	const notRegular = "something that is not a regular file"

	tests := []struct {
		path   string
		found  string // "" if it opens
		notYet bool
		is     error
	}{
		{path: in("app")},
		{path: in("link")},
		{path: in("dir"), found: notRegular},
		{path: in("fifo"), found: notRegular},
		{path: "/dev/null", found: notRegular},
		{path: in("missing"), found: "no such file or directory", notYet: true, is: fs.ErrNotExist},
		{path: in("missing/app"), found: "no such file or directory", notYet: true, is: fs.ErrNotExist},
		{path: in("dangling"), found: "no such file or directory", notYet: true, is: fs.ErrNotExist},
		{path: in("app/app"), found: syscall.ENOTDIR.Error(), notYet: true, is: syscall.ENOTDIR},
		{path: in("loop-a"), found: syscall.ELOOP.Error(), notYet: true, is: syscall.ELOOP},
		{path: in("self"), found: syscall.ELOOP.Error(), notYet: true, is: syscall.ELOOP},
		{path: in(strings.Repeat("x", 300)), found: syscall.ENAMETOOLONG.Error(), notYet: true, is: syscall.ENAMETOOLONG},
	}
	if os.Geteuid() != 0 {
		tests = append(tests, tests[0])
		tests[len(tests)-1].path = in("locked")
		tests[len(tests)-1].found = syscall.EACCES.Error()
		tests[len(tests)-1].notYet = true
		tests[len(tests)-1].is = fs.ErrPermission
	}
	if l, err := net.Listen("unix", in("socket")); err == nil {
		defer l.Close()
		// Whatever the system answers, it is no candidate.
		if c, err := openRegular(in("socket")); err == nil {
			c.close()
			t.Error("opened a socket")
		}
	}
	for _, test := range tests {
		var c *candidate
		err := within(t, "openRegular of "+test.path, func() (err error) {
			c, err = openRegular(test.path)
			return err
		})
		if test.found == "" {
			if err != nil {
				t.Errorf("%s: %v", test.path, err)
				continue
			}
			if c.id.size != 7 || !c.id.regular || c.path != test.path {
				t.Errorf("%s: %+v", test.path, c)
			}
			if err := c.stillThere(); err != nil {
				t.Errorf("%s: %v", test.path, err)
			}
			c.close()
			continue
		}
		unfit, ok := err.(*RejectedError)
		if !ok {
			t.Errorf("%s: got %v", test.path, err)
			continue
		}
		if unfit.Path != test.path || unfit.Found != test.found || unfit.Retryable != test.notYet || test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("%s: got %v, not yet: %t, for %v; want %q, %t, %v",
				test.path, err, unfit.Retryable, unfit.Err, test.found, test.notYet, test.is)
		}
	}
}

// within fails the test if f takes long.
func within(t *testing.T, what string, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(10 * time.Second):
		t.Fatal(what, "blocks")
		return nil
	}
}

// writeCandidate writes an ELF image that nothing executes, and opens it.
func writeCandidate(t *testing.T, parts elfParts, mode fs.FileMode) *candidate {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app")
	if err := os.WriteFile(path, parts.build(nil), mode); err != nil {
		t.Fatal(err)
	}
	c, err := openRegular(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

func TestJudge(t *testing.T) {
	static := newELF(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64)
	static.interp = ""
	other := static
	other.machine = elf.EM_AARCH64
	like := imageKind{elf: &elfImage{class: 2, data: 1, machine: 62}}

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dynamic, unloadable := static, static
	dynamic.interp = self + "\x00" // any file that is there
	unloadable.interp = "/nonexistent/ld.so\x00"

	tests := []struct {
		name   string
		parts  elfParts
		mode   fs.FileMode
		found  string // how it starts; "" if it is fit
		notYet bool
		is     error
	}{
		{name: "static", parts: static, mode: 0o755},
		{name: "for this user only", parts: static, mode: 0o700},
		{name: "dynamic", parts: dynamic, mode: 0o755},
		{name: "without its loader", parts: unloadable, mode: 0o755,
			found: "a program that needs the dynamic loader /nonexistent/ld.so (no such file or directory)", notYet: true, is: fs.ErrNotExist},
		{name: "not executable", parts: static, mode: 0o644, found: "a file that may not be executed (permission denied)", notYet: true, is: fs.ErrPermission},
		{name: "another machine", parts: other, mode: 0o755, found: "an ELF executable for arm64"},
		// The first reason is the one that will not pass.
		{name: "another machine, not executable", parts: other, mode: 0o644, found: "an ELF executable for arm64"},
	}
	for _, test := range tests {
		c := writeCandidate(t, test.parts, test.mode)
		err := c.judge(&rules{kind: like})
		if test.found == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			} else if c.kind.elf == nil || c.kind.elf.machine != 62 {
				t.Errorf("%s: taken for %s", test.name, c.kind)
			}
			continue
		}
		unfit, ok := err.(*RejectedError)
		if !ok || unfit.Path != c.path || !strings.HasPrefix(unfit.Found, test.found) || unfit.Retryable != test.notYet {
			t.Errorf("%s: got %v, want %q, not yet: %t", test.name, err, test.found, test.notYet)
		}
		if test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("%s: the cause is %v, want %v", test.name, errors.Unwrap(err), test.is)
		}
	}
}

// TestJudgeLater: the mode is set after the file has been closed, as install(1)
// does.
func TestJudgeLater(t *testing.T) {
	static := newELF(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64)
	static.interp = ""
	c := writeCandidate(t, static, 0o600)
	if err := c.judge(&rules{}); !isNotYet(err) {
		t.Fatalf("without the mode: %v", err)
	}
	if err := os.Chmod(c.path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := c.judge(&rules{}); err != nil {
		t.Errorf("with the mode: %v", err)
	}
	if err := c.stillThere(); !isNotYet(err) {
		t.Errorf("its mode was changed since it was opened: %v", err)
	}
}

func TestStillThere(t *testing.T) {
	parts := newELF(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64)
	tests := []struct {
		name   string
		change func(path string) error
		is     error
	}{
		{"removed", os.Remove, fs.ErrNotExist},
		{"replaced by a copy", func(path string) error {
			if err := os.WriteFile(path+"~", parts.build(nil), 0o755); err != nil {
				return err
			}
			return os.Rename(path+"~", path)
		}, nil},
		{"written", func(path string) error { return os.Truncate(path, 10) }, nil},
		{"touched", func(path string) error { return os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)) }, nil},
		{"replaced by a directory", func(path string) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Mkdir(path, 0o755)
		}, nil},
	}
	for _, test := range tests {
		c := writeCandidate(t, parts, 0o755)
		if err := c.stillThere(); err != nil {
			t.Errorf("%s: before: %v", test.name, err)
		}
		if err := test.change(c.path); err != nil {
			t.Fatal(err)
		}
		err := c.stillThere()
		if !isNotYet(err) || test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestStat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 1234), 0o644); err != nil {
		t.Fatal(err)
	}
	stamp := time.Unix(1700000000, 123456000)
	if err := os.Chtimes(path, stamp, stamp); err != nil {
		t.Fatal(err)
	}
	byPath, err := statPath(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	byFile, err := statFile(f)
	if err != nil {
		t.Fatal(err)
	}
	if byPath != byFile || byPath.size != 1234 || !byPath.regular || byPath.mtime != stamp.UnixNano() || byPath.ino == 0 {
		t.Errorf("by path %+v, by file %+v", byPath, byFile)
	}
	if id, err := statPath(filepath.Dir(path)); err != nil || id.regular {
		t.Errorf("directory: %+v, %v", id, err)
	}
	if _, err := statPath(path + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	f.Close()
	if _, err := statFile(f); err == nil {
		t.Error("closed file: no error")
	}
}
