package candidate_test

import (
	"bytes"
	"io"
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/candidate/candidatetest"
	"github.com/autorestart-go/autorestart/internal/elfimage"
)

// openAt opens the file at any path.
func openAt(t *testing.T, sys candidate.System, path string) *candidate.Candidate {
	t.Helper()
	c, r := candidate.Open(sys, path)
	if r != nil {
		t.Fatal(r)
	}
	t.Cleanup(c.Close)
	return c
}

func TestSameContent(t *testing.T) {
	content := slices.Repeat([]byte("0123456789"), 1000)
	changed := slices.Clone(content)
	changed[9999] ^= 1
	for _, test := range []struct {
		name string
		path string
		same []string // the ways to know the running image that find them the same
	}{
		{"itself", running, []string{"file", "sum", "identity"}},
		{"a copy", "/copy", []string{"file", "sum"}},
		{"another", "/other", nil},
		{"a longer one", "/longer", nil},
	} {
		for _, way := range []string{"file", "sum", "identity", "nothing"} {
			sys := &candidatetest.System{Faults: map[string]error{}}
			sys.Deploy(running, content, 0o755)
			sys.Deploy("/copy", content, 0o755)
			sys.Deploy("/other", changed, 0o755)
			sys.Deploy("/longer", append(slices.Clone(content), 0), 0o755)
			launchPath := running
			if way != "nothing" {
				sys.Run(running)
			}
			if way != "file" {
				sys.Faults[candidatetest.Running] = syscall.EMFILE
			}
			if way != "file" && way != "sum" {
				launchPath = "/missing"
			}
			rules := candidate.NewRules(sys, launchPath)
			c := openAt(t, sys, test.path)
			same, err := rules.Running.SameContent(c)
			if err != nil || same != slices.Contains(test.same, way) {
				t.Errorf("%s, by %s: %t, %v", test.name, way, same, err)
			}
			// The file has become shorter since its identity was taken.
			if test.name == "a copy" && (way == "file" || way == "sum") {
				sys.Write(test.path, content[:9999], false)
				if same, err := rules.Running.SameContent(c); err != io.ErrUnexpectedEOF || same {
					t.Errorf("shrunk, by %s: %t, %v; want %v", way, same, err, io.ErrUnexpectedEOF)
				}
			}
			rules.Close()
			rules.Close()
		}
	}
}

// TestSameContentBusy: where nothing can write the running image, its inode is enough;
// where it can be written, the bytes decide.
func TestSameContentBusy(t *testing.T) {
	for _, busy := range []bool{true, false} {
		sys := &candidatetest.System{Busy: busy, Faults: map[string]error{candidatetest.Running: syscall.EACCES}}
		sys.Deploy(running, []byte("content"), 0o755)
		sys.Run(running)
		rules := candidate.NewRules(sys, "/missing")
		sys.Touch(running)
		if same, err := rules.Running.SameContent(openAt(t, sys, running)); err != nil || same != busy {
			t.Errorf("busy: %t; the running image, touched, is the same: %t, %v", busy, same, err)
		}
	}
}

// TestRunningFileChanges: where the file of the running image can be written, or shows what
// has come in its place, it is another version as soon as its size or time is another one.
func TestRunningFileChanges(t *testing.T) {
	content := []byte("content")
	for _, test := range []struct {
		name   string
		change func(*candidatetest.System)
		path   string
		same   bool
	}{
		{"as it was", func(*candidatetest.System) {}, running, true},
		{"mode", func(sys *candidatetest.System) { sys.Chmod(running, 0o700) }, running, true},
		{"written", func(sys *candidatetest.System) { sys.Write(running, []byte("another"), false) }, running, false},
		{"touched", func(sys *candidatetest.System) { sys.Touch(running) }, running, false},
		{"a copy", func(*candidatetest.System) {}, "/copy", true},
		{"a copy, after it was written", func(sys *candidatetest.System) { sys.Write(running, content, false) }, "/copy", false},
	} {
		sys := new(candidatetest.System)
		sys.Deploy(running, content, 0o755)
		sys.Deploy("/copy", content, 0o755)
		sys.Run(running)
		rules := candidate.NewRules(sys, running)
		test.change(sys)
		if same, err := rules.Running.SameContent(openAt(t, sys, test.path)); err != nil || same != test.same {
			t.Errorf("%s: the same: %t, %v", test.name, same, err)
		}
		rules.Close()
		// Later rules find the same.
		rules = candidate.NewRules(sys, running)
		if same, err := rules.Running.SameContent(openAt(t, sys, test.path)); err != nil || same != test.same {
			t.Errorf("%s, found later: the same: %t, %v", test.name, same, err)
		}
		rules.Close()
	}
}

// TestSumRunning: with a sum, a file that was only touched is the same, and can be rolled back to.
func TestSumRunning(t *testing.T) {
	content := []byte("content")
	for _, test := range []struct {
		name   string
		change func(*candidatetest.System)
		same   bool
	}{
		{"as it was", func(*candidatetest.System) {}, true},
		{"touched", func(sys *candidatetest.System) { sys.Touch(running) }, true},
		{"written", func(sys *candidatetest.System) { sys.Write(running, []byte("another"), false) }, false},
		{"longer", func(sys *candidatetest.System) { sys.Write(running, []byte("contents"), false) }, false},
		{"written as it was", func(sys *candidatetest.System) { sys.Write(running, content, false) }, true},
	} {
		sys := new(candidatetest.System)
		sys.Deploy(running, content, 0o755)
		sys.Run(running)
		rules := candidate.NewRules(sys, running)
		rules.SumRunning()
		test.change(sys)
		if same, err := rules.Running.SameContent(openAt(t, sys, running)); err != nil || same != test.same {
			t.Errorf("%s: the same: %t, %v", test.name, same, err)
		}
		if changed := rules.RunningChanged(); changed == test.same {
			t.Errorf("%s: changed: %t", test.name, changed)
		}
		rules.Close()
	}
}

// TestRunningFileIsWritten: Linux 6.11 has a running file written in place.
func TestRunningFileIsWritten(t *testing.T) {
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(executable)
	if err != nil {
		t.Fatal(err)
	}
	id := []byte(elfimage.ReadBuild(bytes.NewReader(content), int64(len(content))).ID)
	if len(id) == 0 {
		t.Skip("this program has no build ID")
	}
	other := slices.Clone(id)
	slices.Reverse(other)
	for _, test := range []struct {
		name    string
		written []byte
		same    bool
	}{
		{"the same", content, true},
		{"longer", append(slices.Clip(content), "more"...), false},
		{"another build", bytes.ReplaceAll(content, id, other), false},
	} {
		sys := &candidatetest.System{Busy: true}
		sys.Deploy(running, content, 0o755)
		sys.Run(running)
		rules := candidate.NewRules(sys, running)
		rules.Running.Build()
		sys.Write(running, test.written, false)
		if same, err := rules.Running.SameContent(openAt(t, sys, running)); err != nil || same != test.same {
			t.Errorf("%s: the same: %t, %v", test.name, same, err)
		}
		rules.Close()
	}
}

// TestRunningChmod: the mode of the running image may be set right after the exec, as
// install(1) does.
func TestRunningChmod(t *testing.T) {
	sys := &candidatetest.System{Faults: map[string]error{candidatetest.Running: syscall.EMFILE}}
	sys.Deploy(running, []byte("content"), 0o755)
	sys.Run(running)
	sys.Chmod(running, 0o750)
	rules := candidate.NewRules(sys, running)
	defer rules.Close()
	if same, err := rules.Running.SameContent(openAt(t, sys, running)); err != nil || !same {
		t.Errorf("the running image is the same: %t, %v", same, err)
	}
}

// TestRemember: a version is known by its sum when its file is closed, unless the file
// was changed before.
func TestRemember(t *testing.T) {
	content := slices.Repeat([]byte("0123456789"), 500)
	for _, test := range []struct {
		name   string
		change func(*candidatetest.System)
		known  bool
	}{
		{"as it was", func(*candidatetest.System) {}, true},
		{"touched", func(sys *candidatetest.System) { sys.Touch(app) }, false},
		{"longer", func(sys *candidatetest.System) { sys.Write(app, append(slices.Clone(content), "more"...), false) }, false},
		{"shorter", func(sys *candidatetest.System) { sys.Write(app, content[:100], false) }, false},
	} {
		rules, sys := newRules(t)
		sys.Deploy(app, content, 0o755)
		c := open(t, sys)
		test.change(sys)
		v := rules.Remember(c)
		sys.Deploy("/copy", content, 0o755)
		copied := openAt(t, sys, "/copy")
		if same, err := v.SameContent(copied); err != nil || same != test.known {
			t.Errorf("%s: a copy is the same: %t, %v", test.name, same, err)
		}
	}
}

// TestReopenRunning: the table of descriptors may have been full at the first attempt.
func TestReopenRunning(t *testing.T) {
	sys := &candidatetest.System{Faults: map[string]error{candidatetest.Running: syscall.EMFILE}}
	sys.Deploy(running, []byte("content"), 0o755)
	sys.Run(running)
	rules := candidate.NewRules(sys, "/missing")
	sys.Deploy("/copy", []byte("content"), 0o755)
	c := openAt(t, sys, "/copy")
	if same, err := rules.Running.SameContent(c); err != nil || same || rules.Running.AsCandidate(app) != nil {
		t.Errorf("not open: %t, %v", same, err)
	}
	delete(sys.Faults, candidatetest.Running)
	for range 2 {
		rules.ReopenRunning()
	}
	if same, err := rules.Running.SameContent(c); err != nil || !same {
		t.Errorf("open: %t, %v", same, err)
	}
	if self := rules.Running.AsCandidate(app); self == nil || self.ID != rules.Running.ID || rules.Judge(self) != nil {
		t.Errorf("as a candidate: %+v", self)
	}
	rules.Close()
	if n := sys.OpenFiles(); n != 1 {
		t.Errorf("%d files are open beside the candidate", n-1)
	}
}
