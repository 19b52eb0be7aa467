package autorestarttest

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/autorestart-go/autorestart/autorestarttest/agent" // of the daemons, for go mod vendor
	"github.com/autorestart-go/autorestart/internal/testclock"
)

// A Program is the daemon that a test starts.
type Program struct {
	// Package is the main package: a folder that begins with "./" or "../", from the folder in
	// which the test runs, or an import path. If empty, it is ".".
	Package string

	// Flags are further flags of go build, as "-race".
	Flags []string

	// Args are the arguments of the daemon, without the name of the program.
	Args []string

	// Env is added to the environment of the test. Each element is "key=value".
	Env []string

	// Dir is the working directory of the daemon. If empty, it is that of the test.
	Dir string

	// TLS is the configuration of the clients of [Daemon.Client] and [Daemon.Load].
	TLS *tls.Config

	// NoReady says that the program does not call autorestart.Ready. Then a version counts as
	// ready when its packages are being initialised.
	NoReady bool

	// Timeout is how long the daemon may take for one step: to become ready, to restart, to
	// exit. The time in which the machine is too busy to run the test or the daemon does not
	// count. A rollback may take ReadyTimeout longer. If zero, Timeout is 20 s.
	Timeout time.Duration
}

func (p Program) timeout() time.Duration { return cmp.Or(p.Timeout, testclock.Timeout) }

const (
	libraryPath = "github.com/autorestart-go/autorestart"
	agentPath   = libraryPath + "/autorestarttest/agent"

	// overlayFile is the file that the main package seems to have in the build.
	overlayFile = "autorestarttest_overlay.go"
	overlayText = "package main\n\nimport _ \"" + agentPath + "\"\n"
)

// An executable is what go build has built.
type executable struct {
	name string
	file *os.File // of a file that has no path any more
}

// builds has a function for each build of this process, so that tests with the same daemon build it once.
var builds struct {
	mu   sync.Mutex
	done map[string]func() (executable, error)
}

// build returns the executable that is built with these flags.
func (p Program) build(t testing.TB, flags ...string) executable {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	flags = slices.Concat([]string{"-buildvcs=false"}, p.Flags, flags) // git rejects the folder of another user
	pkg := cmp.Or(p.Package, ".")
	key := strings.Join(slices.Concat([]string{dir, pkg}, flags), "\x00")
	builds.mu.Lock()
	if builds.done == nil {
		builds.done = make(map[string]func() (executable, error))
	}
	f := builds.done[key]
	if f == nil {
		f = sync.OnceValues(func() (executable, error) { return build(pkg, flags) })
		builds.done[key] = f
	}
	builds.mu.Unlock()
	e, err := f()
	if err != nil {
		t.Fatal("autorestarttest: ", err)
	}
	return e
}

func build(pkg string, flags []string) (executable, error) {
	listed, err := list(pkg, flags)
	if err != nil {
		return executable{}, err
	}
	temp, err := os.MkdirTemp("", "autorestarttest")
	if err != nil {
		return executable{}, err
	}
	defer os.RemoveAll(temp)
	overlay, added, built := filepath.Join(temp, "overlay.json"), filepath.Join(temp, overlayFile), filepath.Join(temp, "program")
	text, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(listed.Dir, overlayFile): added}})
	if err := errors.Join(err, os.WriteFile(overlay, text, 0o600), os.WriteFile(added, []byte(overlayText), 0o600)); err != nil {
		return executable{}, err
	}
	if _, err := goCommand(slices.Concat([]string{"build"}, flags, []string{"-overlay=" + overlay, "-o", built, pkg})); err != nil {
		return executable{}, err
	}
	file, err := os.Open(built)
	return executable{path.Base(filepath.ToSlash(cmp.Or(listed.ImportPath, listed.Dir))), file}, err
}

// A listing is what go list says of a package.
type listing struct {
	Name, Dir, ImportPath string
	Deps                  []string
}

// list returns the listing of the main package. It is an error if a daemon can't be built from it.
func list(pkg string, flags []string) (l listing, err error) {
	out, err := goCommand(slices.Concat([]string{"list", "-json=Name,Dir,ImportPath,Deps"}, flags, []string{pkg}))
	if err != nil {
		return l, err
	}
	d := json.NewDecoder(bytes.NewReader(out))
	if err := d.Decode(&l); err != nil {
		return l, fmt.Errorf("go list %s: %w", pkg, err)
	}
	switch {
	case d.More():
		return l, fmt.Errorf("%s are several packages; Package is one", pkg)
	case l.Name != "main":
		return l, fmt.Errorf("%s is package %s; Package has to be a main package", l.ImportPath, l.Name)
	case !slices.Contains(l.Deps, libraryPath):
		return l, fmt.Errorf("%s does not import %s: it never restarts", l.ImportPath, libraryPath)
	}
	return l, nil
}

// goCommand returns the standard output of the go command. The error has its standard error.
func goCommand(args []string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return out, nil
}
