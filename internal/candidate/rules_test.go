package candidate_test

import (
	"debug/elf"
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/candidate/candidatetest"
	"github.com/autorestart-go/autorestart/internal/elfimage/elftest"
)

const running = "/srv/running"

// newRules returns rules of a process that runs version 1 for amd64.
func newRules(t *testing.T) (*candidate.Rules, *candidatetest.System) {
	t.Helper()
	sys := new(candidatetest.System)
	sys.Deploy(running, elftest.Program(1), 0o755)
	sys.Run(running)
	rules := candidate.NewRules(sys, running)
	t.Cleanup(func() {
		rules.Close()
		if n := sys.OpenFiles(); n != 0 {
			t.Errorf("%d files are open", n)
		}
	})
	return rules, sys
}

func static(machine elf.Machine) elftest.Parts {
	p := elftest.New(elf.ELFCLASS64, elf.ELFDATA2LSB, machine)
	p.Loader = ""
	return p
}

func TestJudge(t *testing.T) {
	amd64, arm64 := static(elf.EM_X86_64).Build(nil), static(elf.EM_AARCH64).Build(nil)
	dynamic, unloadable := static(elf.EM_X86_64), static(elf.EM_X86_64)
	dynamic.Loader = running + "\x00" // any file that is there
	unloadable.Loader = "/nonexistent/ld.so\x00"
	object := static(elf.EM_X86_64).Build(func(p *elftest.Parts) { p.Type = elf.ET_REL })
	const amd64Text = "an ELF executable for amd64 (64 bit, little-endian)"
	const asRunning = ", as the running image is"
	const incomplete = "an ELF file that is not complete "

	tests := []struct {
		name     string
		content  []byte
		perm     uint32
		found    string // "" if it is accepted
		expected string // "" if it does not matter here
		retry    bool
		is       error
	}{
		{name: "static", content: amd64, perm: 0o755},
		{name: "for this user only", content: amd64, perm: 0o700},
		{name: "dynamic", content: dynamic.Build(nil), perm: 0o755},
		{name: "without its loader", content: unloadable.Build(nil), perm: 0o755,
			found:    "a program that needs the dynamic loader /nonexistent/ld.so (no such file or directory)",
			expected: "a loader that is installed, or a statically linked program", retry: true, is: fs.ErrNotExist},
		{name: "not executable", content: amd64, perm: 0o644, found: "a file that may not be executed (permission denied)",
			expected: "execute permission for this user (chmod +x), on a file system without noexec", retry: true, is: fs.ErrPermission},
		{name: "another machine", content: arm64, perm: 0o755,
			found: "an ELF executable for arm64 (64 bit, little-endian)", expected: amd64Text + asRunning},
		{name: "another class", content: elftest.New(elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_X86_64).Build(nil), perm: 0o755,
			found: "an ELF executable for amd64 (32 bit, little-endian)", expected: amd64Text + asRunning},
		{name: "script", content: []byte("#!/bin/sh\n"), perm: 0o755, found: "a script (wrappers are not supported)", expected: amd64Text + asRunning},
		// The first reason is the one that will not pass.
		{name: "another machine, not executable", content: arm64, perm: 0o644, found: "an ELF executable for arm64 (64 bit, little-endian)"},

		{name: "empty", content: nil, perm: 0o755, found: "an empty file", expected: "an executable", retry: true},
		{name: "first bytes", content: amd64[:3], perm: 0o755, found: incomplete + "(3 bytes)",
			expected: "all that its headers refer to", retry: true},
		{name: "first headers", content: amd64[:64], perm: 0o755, found: incomplete + "(64 bytes)",
			expected: "288 bytes, as its headers say", retry: true},
		{name: "cut at the end", content: amd64[:len(amd64)-1], perm: 0o755, found: incomplete + "(607 bytes)",
			expected: "608 bytes, as its headers say", retry: true},
		{name: "object file", content: object, perm: 0o755, found: "an ELF file with type 1, not an executable", expected: "an executable"},
	}
	for _, test := range tests {
		rules, sys := newRules(t)
		sys.Deploy(app, test.content, test.perm)
		c := open(t, sys)
		r := rules.Judge(c)
		if test.found == "" {
			if r != nil {
				t.Errorf("%s: %v", test.name, r)
			} else if c.Kind.ELF == nil || c.Kind.ELF.Machine != uint16(elf.EM_X86_64) {
				t.Errorf("%s: taken for %s", test.name, c.Kind)
			}
			continue
		}
		if r == nil || r.Path != app || r.Found != test.found || r.Retryable != test.retry || !errors.Is(r.Err, test.is) ||
			test.expected != "" && r.Expected != test.expected {
			t.Errorf("%s: got %+v, want %q, %q, retryable: %t", test.name, r, test.found, test.expected, test.retry)
		}
	}
}

// TestJudgeShrunk: a file that became shorter since it was opened is not rejected for
// good.
func TestJudgeShrunk(t *testing.T) {
	rules, sys := newRules(t)
	sys.Deploy(app, elftest.Program(2), 0o755)
	c := open(t, sys)
	sys.Write(app, elftest.Program(2)[:10], false)
	if r := rules.Judge(c); r == nil || !r.Retryable || r.Path != app || r.Found != "no file that can be read (unexpected EOF)" {
		t.Errorf("got %+v", r)
	}
}

// TestJudgeKind: a Mach-O file is compared by its magic and its CPU type; where the
// running image is not known, every kind is accepted.
func TestJudgeKind(t *testing.T) {
	const macAMD64, macARM64 = "\xcf\xfa\xed\xfe\x07\x00\x00\x01", "\xcf\xfa\xed\xfe\x0c\x00\x00\x01"
	const amd64, arm64 = `a file that starts with "\xcf\xfa\xed\xfe\a\x00\x00\x01"`, `a file that starts with "\xcf\xfa\xed\xfe\f\x00\x00\x01"`
	program := string(elftest.Program(1))
	for _, test := range []struct {
		name, found, like string
		saidFound, said   string // "" if it can run
	}{
		{"the same Mach-O", macARM64 + "2", macARM64 + "1", "", ""},
		{"the same Windows", "MZ2", "MZ1", "", ""},
		{"anything where nothing is known", "#!", "", "", ""},
		{"any ELF where nothing is known", program, "", "", ""},
		{"a script in the place of a program", "#!", program, "a script (wrappers are not supported)", "an ELF executable for amd64 (64 bit, little-endian)"},
		{"a program in the place of a script", program, "#!", "an ELF executable for amd64 (64 bit, little-endian)", "a script (wrappers are not supported)"},
		{"another system's program", macAMD64, program, amd64, "an ELF executable for amd64 (64 bit, little-endian)"},
		{"another Mach-O machine", macAMD64, macARM64, amd64, arm64},
	} {
		sys := new(candidatetest.System)
		sys.Deploy(running, []byte(test.like), 0o755)
		sys.Deploy(app, []byte(test.found), 0o755)
		if test.like != "" {
			sys.Run(running)
		}
		r := candidate.NewRules(sys, running).Judge(open(t, sys))
		if test.said == "" {
			if r != nil {
				t.Errorf("%s: %v", test.name, r)
			}
			continue
		}
		if r == nil || r.Retryable || r.Found != test.saidFound || r.Expected != test.said+", as the running image is" {
			t.Errorf("%s: got %+v; want %q, %q", test.name, r, test.saidFound, test.said)
		}
	}
}

// TestJudgeOrder: of several reasons, the first is the one that is named.
func TestJudgeOrder(t *testing.T) {
	rules, sys := newRules(t)
	sys.Self.Privileged = true
	sys.SetCapable(running, true)
	broken := static(elf.EM_AARCH64)
	broken.Loader = "/nonexistent/ld.so\x00"
	sys.Deploy(app, broken.Build(nil), 0o666)
	sys.SetBusy(app, true)
	rules.Failed = candidate.Failed{Mark: open(t, sys).ID.Mark(), Reason: "no good"}
	for _, step := range []struct {
		found string
		mend  func()
	}{
		{"a version that failed before (no good)", func() { sys.Touch(app) }},
		{"an ELF executable for arm64", func() {
			broken.Machine = elf.EM_X86_64
			sys.Write(app, broken.Build(nil), true)
		}},
		{"a program that needs the dynamic loader", func() { sys.Deploy("/nonexistent/ld.so", nil, 0o755) }},
		{"a file that everybody can write", func() { sys.Chmod(app, 0o644) }},
		{"a file that may not be executed", func() { sys.Chmod(app, 0o755) }},
		{"a file without capabilities", func() { sys.SetCapable(app, true) }},
		{"a file open for writing", func() { sys.SetBusy(app, false) }},
	} {
		r := rules.Judge(open(t, sys))
		if r == nil || !strings.HasPrefix(r.Found, step.found) {
			t.Errorf("got %v, want %q", r, step.found)
		}
		step.mend()
	}
	if r := rules.Judge(open(t, sys)); r != nil {
		t.Errorf("mended: %v", r)
	}
}

// TestJudgeFailed: a version that was rolled back is not executed again until its file
// is written, replaced or touched, whatever becomes of its mode.
func TestJudgeFailed(t *testing.T) {
	for name, change := range map[string]func(*candidatetest.System){
		"written":  func(sys *candidatetest.System) { sys.Write(app, elftest.Program(3), false) },
		"replaced": func(sys *candidatetest.System) { sys.Deploy(app, elftest.Program(2), 0o755) },
		"touched":  func(sys *candidatetest.System) { sys.Touch(app) },
	} {
		rules, sys := newRules(t)
		sys.Deploy(app, elftest.Program(2), 0o755)
		failed := open(t, sys).ID
		for _, mark := range []string{failed.Mark(), failed.Format()} {
			rules.Failed = candidate.Failed{Mark: mark, Reason: "no good"}
			for _, perm := range []uint32{0o755, 0o700, 0o644} {
				sys.Chmod(app, perm)
				if r := rules.Judge(open(t, sys)); r == nil || r.Retryable || r.Found != "a version that failed before (no good)" {
					t.Errorf("mode %o: %v", perm, r)
				}
			}
		}
		sys.Chmod(app, 0o755)
		change(sys)
		if r := rules.Judge(open(t, sys)); r != nil {
			t.Errorf("%s: %v", name, r)
		}
	}
}

// TestJudgeLater: the mode is set after the file has been closed, as install(1)
// does.
func TestJudgeLater(t *testing.T) {
	rules, sys := newRules(t)
	sys.Deploy(app, elftest.Program(2), 0o600)
	c := open(t, sys)
	if r := rules.Judge(c); r == nil || !r.Retryable {
		t.Fatalf("without the mode: %v", r)
	}
	sys.Chmod(app, 0o755)
	if r := rules.Judge(open(t, sys)); r != nil {
		t.Errorf("with the mode: %v", r)
	}
	if r := rules.Unchanged(c); r == nil || !r.Retryable {
		t.Errorf("its mode was changed since it was opened: %v", r)
	}
}

func TestUnchanged(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*candidatetest.System)
		is     error
	}{
		"removed":              {func(sys *candidatetest.System) { sys.Remove(app) }, syscall.ENOENT},
		"replaced by a copy":   {func(sys *candidatetest.System) { sys.Deploy(app, elftest.Program(2), 0o755) }, nil},
		"written":              {func(sys *candidatetest.System) { sys.Write(app, elftest.Program(3), false) }, nil},
		"touched":              {func(sys *candidatetest.System) { sys.Touch(app) }, nil},
		"mode set":             {func(sys *candidatetest.System) { sys.Chmod(app, 0o711) }, nil},
		"mode set to the same": {func(sys *candidatetest.System) { sys.Chmod(app, 0o755) }, nil},
	} {
		rules, sys := newRules(t)
		sys.Deploy(app, elftest.Program(2), 0o755)
		c := open(t, sys)
		if r := rules.Unchanged(c); r != nil {
			t.Errorf("%s: before: %v", name, r)
		}
		test.change(sys)
		if r := rules.Unchanged(c); r == nil || !r.Retryable || r.Path != app || !errors.Is(r.Err, test.is) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestIntact: a file may have been replaced or removed, but its content is what was opened.
func TestIntact(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*candidatetest.System)
		intact bool
	}{
		"removed":      {func(sys *candidatetest.System) { sys.Remove(app) }, true},
		"replaced":     {func(sys *candidatetest.System) { sys.Deploy(app, elftest.Program(3), 0o755) }, true},
		"renamed over": {func(sys *candidatetest.System) { sys.Deploy("/srv/other", nil, 0o755); sys.Rename("/srv/other", app) }, true},
		"renamed":      {func(sys *candidatetest.System) { sys.Rename(app, "/srv/other") }, true},
		"mode set":     {func(sys *candidatetest.System) { sys.Chmod(app, 0o711) }, true},
		"written":      {func(sys *candidatetest.System) { sys.Write(app, elftest.Program(3), false) }, false},
		"touched":      {func(sys *candidatetest.System) { sys.Touch(app) }, false},
	} {
		rules, sys := newRules(t)
		sys.Deploy(app, elftest.Program(2), 0o755)
		c := open(t, sys)
		if r := rules.Intact(c); r != nil {
			t.Errorf("%s: before: %v", name, r)
		}
		test.change(sys)
		r := rules.Intact(c)
		if (r == nil) != test.intact || r != nil && (!r.Retryable || r.Path != app) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
