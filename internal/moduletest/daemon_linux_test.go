//go:build !autorestart_portable

package moduletest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// outsideDaemon is the daemon of a user, and outsideTest is their test, where the daemon is in the
// package PACKAGE.
const (
	outsideDaemon = `package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/sockets"
)

func main() {
	defer autorestart.RollbackUnlessReady()
	r := autorestart.Restarter{ReadyTimeout: 10 * time.Second}
	go r.Run(context.Background())
	ln, err := sockets.Listen("tcp", os.Args[1])
	if err != nil {
		log.Panic(err)
	}
	autorestart.Ready()
	log.Panic(httpserve.Serve(new(http.Server), ln))
}
`
	outsideTest = `package tests

import (
	"testing"

	"github.com/autorestart-go/autorestart/autorestarttest"
)

func TestDeploy(t *testing.T) {
	address := autorestarttest.FreeAddress(t)
	d := autorestarttest.Start(t, autorestarttest.Program{Package: "PACKAGE", Args: []string{address}})
	load := d.Load("http://" + address)
	d.Deploy(autorestarttest.ByRename)
	d.WantRestart()
	d.DeployBroken(autorestarttest.Panics)
	d.WantRollback()
	load.WantNoneLost()
}
`
)

// A user tests a daemon in a module of their own, also with a vendor folder, and if the daemon is in another module of a workspace.
func TestDaemonIsTestedOutside(t *testing.T) {
	needTools(t)
	modules := repositoryModules(t)
	o := newOutside(t, modules, cached(t))
	o.write(t, "go.mod", "module example.org/outside\n\ngo 1.26.0\n")
	o.mkdir(t, "cmd/served", "tests")
	o.write(t, "cmd/served/main.go", outsideDaemon)
	o.write(t, "tests/deploy_test.go", strings.Replace(outsideTest, "PACKAGE", "../cmd/served", 1))
	o.mustRun(t, "get", modules[0].path+"@"+o.version)
	test := func(name string, flags ...string) {
		t.Run(name, func(t *testing.T) {
			o.mustRun(t, append([]string{"test", "-count=1"}, append(flags, "./tests")...)...)
		})
	}
	test("module")

	o.mustRun(t, "mod", "vendor")
	o.env = append(o.env, "GOFLAGS=-trimpath")
	test("vendor", "-mod=vendor")
	if err := os.RemoveAll(filepath.Join(o.folder, "vendor")); err != nil {
		t.Fatal(err)
	}

	o.write(t, "tests/deploy_test.go", strings.Replace(outsideTest, "PACKAGE", "example.org/outside/cmd/served", 1))
	o.write(t, "tests/go.mod", "module example.org/tests\n\ngo 1.26.0\n\nrequire "+modules[0].path+" "+o.version+"\n")
	o.write(t, "tests/go.sum", string(testprocess.ReadFile(t, filepath.Join(o.folder, "go.sum"))))
	o.write(t, "go.work", "go 1.26.0\n\nuse (\n\t.\n\t./tests\n)\n")
	o.env = append(o.env, "GOWORK="+filepath.Join(o.folder, "go.work"))
	test("workspace")
}

func (o *outside) mkdir(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.MkdirAll(filepath.Join(o.folder, filepath.FromSlash(name)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func (o *outside) mustRun(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Env = o.folder, o.env
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, output)
	}
}
