//go:build linux

package integrationtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestDeployedByGoBuild(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds programs")
	}
	testprocess.NeedTool(t, "go")
	root := testprocess.ModuleRoot(t)
	for _, tmp := range []string{"same file system", "temporary directory"} {
		t.Run(tmp, func(t *testing.T) {
			t.Parallel()
			d := program.New(t)
			// The linker writes into GOTMPDIR. From there it is a rename, or a copy.
			gotmp := t.TempDir()
			if tmp == "same file system" {
				gotmp = testprocess.MemoryDir(t)
			}
			build := func(version int) {
				t.Helper()
				flags, poll := "-tags=", ""
				if !daemontest.HaveEvents {
					flags, poll = "-tags=autorestart_portable", " -X main.poll=10ms"
				}
				cmd := exec.Command("go", "build", "-o", d.Path, flags, "-buildvcs=false",
					"-ldflags=-X main.version="+strconv.Itoa(version)+poll, "./internal/integrationtest/testdata/deploy/daemon")
				cmd.Dir = root
				cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOTMPDIR="+gotmp)
				if output, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v: %v\n%s", cmd, err, output)
				}
			}
			os.Remove(d.Path)
			build(1)
			d.Start()
			for version := 2; version <= 3; version++ {
				d.WaitForWatch()
				build(version)
				d.WantRestart(version)
			}
			build(3) // the same bytes, if any
			d.WaitForWatch()
			d.DeployVersion(4)
			d.WantRestart(4)
		})
	}
}

// dpkg installs a package over the one before, with its own checks and in its own
// order.
func TestDeployedByDpkg(t *testing.T) {
	t.Parallel()
	testprocess.NeedTool(t, "dpkg")
	testprocess.NeedTool(t, "dpkg-deb")
	if os.Getuid() != 0 {
		t.Skip("dpkg installs for root alone")
	}
	d := program.New(t)
	root := testprocess.MemoryDir(t)
	for _, dir := range []string{"info", "updates", "triggers"} {
		if err := os.MkdirAll(filepath.Join(root, "var/lib/dpkg", dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "var/lib/dpkg/status"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	install := func(version int) {
		t.Helper()
		tree := testprocess.MemoryDir(t)
		if err := os.Chmod(tree, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{"DEBIAN", "opt", "opt/app"} {
			d.Mkdir(filepath.Join(tree, dir))
		}
		d.StageIn(filepath.Join(tree, "opt/app"), version)
		control := fmt.Sprintf("Package: autorestart-test\nVersion: %d\nArchitecture: all\nMaintainer: Nobody <nobody@localhost>\nDescription: a daemon\n", version)
		if err := os.WriteFile(filepath.Join(tree, "DEBIAN/control"), []byte(control), 0o644); err != nil {
			t.Fatal(err)
		}
		deb := filepath.Join(testprocess.MemoryDir(t), "app.deb")
		testprocess.Run(t, "dpkg-deb", "-Znone", "--root-owner-group", "--build", tree, deb)
		testprocess.Run(t, "dpkg", "--root="+root, "--force-not-root", "--force-bad-path", "-i", deb)
	}
	install(1)
	d.StartedAs(filepath.Join(root, "opt/app/app"))
	d.Start()
	for version := 2; version <= 3; version++ {
		d.WaitForWatch()
		install(version)
		d.WantRestart(version)
	}
	d.WaitForWatch()
	d.DeployVersion(4)
	d.WantRestart(4)
}

// Capabilities belong to a file, and go with the file that is replaced. A new version
// is not executed before it has them, too.
func TestDeployedWithCapabilities(t *testing.T) {
	t.Parallel()
	if !daemontest.HaveEvents {
		t.Skip("capabilities are Linux's")
	}
	testprocess.NeedTool(t, "setcap")
	if os.Getuid() != 0 {
		t.Skip("setcap is for root alone")
	}
	needCapabilities(t, testprocess.MemoryDir(t))
	setcap := func(t *testing.T, name string) {
		t.Helper()
		testprocess.Run(t, "setcap", "cap_net_bind_service=+ep", name)
	}
	t.Run("at once", func(t *testing.T) {
		t.Parallel()
		d := program.New(t)
		setcap(t, d.Path)
		d.Start()
		staged := d.Stage(2)
		d.WaitForWatch()
		testprocess.Run(t, "install", "-m755", staged, d.Path)
		setcap(t, d.Path)
		d.WantRestart(2)
		d.WaitForWatch()
		d.Write(d.Path+".new", daemontest.Image(t, 3))
		setcap(t, d.Path+".new")
		d.Rename(d.Path+".new", d.Path)
		d.WantRestart(3)
	})
	t.Run("long afterwards", func(t *testing.T) {
		t.Parallel()
		d := program.New(t)
		setcap(t, d.Path)
		d.Start()
		d.WaitForWatch()
		d.DeployVersion(2)
		d.WantLogged("without capabilities")
		d.State()
		setcap(t, d.Path)
		d.WantRestart(2)
	})
}

// needCapabilities skips the test if capabilities of files don't count in a directory.
func needCapabilities(t *testing.T, dir string) {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Flags&unix.ST_NOSUID != 0 {
		t.Skipf("capabilities of files don't count in %s: mount flags %#x, %v", dir, fs.Flags, err)
	}
}
