//go:build linux

package systemdtest

import (
	"bytes"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// Program is a program for the machine: a static executable, in versions that differ in a number. The source
// of the program has the number of version 1 in a variable:
//
//	var version = "version 0000000001"
type Program struct {
	image []byte
	at    int // where the number is
}

const firstVersion = "version 0000000001"

var programs = struct {
	sync.Mutex
	built map[string]*Program
}{built: make(map[string]*Program)}

// Build returns the program of a package of this module, named by its directory below the root. Further calls
// return it again.
func Build(t testing.TB, pkg string) *Program {
	t.Helper()
	programs.Lock()
	defer programs.Unlock()
	if p := programs.built[pkg]; p != nil {
		return p
	}
	out := filepath.Join(testprocess.MemoryDir(t), "program")
	testprocess.Build(t, out, pkg, "-ldflags=-s -w")
	p := &Program{image: testprocess.ReadFile(t, out)}
	if n := bytes.Count(p.image, []byte(firstVersion)); n != 1 {
		t.Fatalf("%s has %q %d times", pkg, firstVersion, n)
	}
	p.at = bytes.Index(p.image, []byte(firstVersion))
	programs.built[pkg] = p
	return p
}

// Version returns the executable of a version.
func (p *Program) Version(number int) []byte {
	image := bytes.Clone(p.image)
	copy(image[p.at:], fmt.Sprintf("version %010d", number))
	return image
}

// Deploy puts a version at a path of the machine.
func (s *System) Deploy(t testing.TB, path string, p *Program, version int) {
	t.Helper()
	s.WriteFile(t, path, 0o755, p.Version(version))
}
