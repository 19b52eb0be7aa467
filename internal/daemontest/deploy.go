//go:build linux

package daemontest

import (
	"os"
	"path/filepath"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// Deploy puts the next version of the daemon in place.
func (d *Daemon) Deploy() {
	d.T.Helper()
	d.DeployVersion(d.newest + 1)
}

// DeployVersion puts a version in place as it should be done: by a rename.
func (d *Daemon) DeployVersion(version int) {
	d.T.Helper()
	d.newest = version
	d.DeployBytes(Image(d.T, version))
}

// DeployBytes puts an executable file with that content in place by a rename.
func (d *Daemon) DeployBytes(content []byte) {
	d.T.Helper()
	d.Write(d.Path+".new", content)
	d.Rename(d.Path+".new", d.Path)
}

// Write writes an executable file.
func (d *Daemon) Write(name string, content []byte) {
	d.T.Helper()
	testprocess.WriteExecutable(d.T, name, content)
}

// Rename renames a file.
func (d *Daemon) Rename(from, to string) {
	d.T.Helper()
	if err := os.Rename(from, to); err != nil {
		d.T.Fatal(err)
	}
}

// Symlink makes a symbolic link.
func (d *Daemon) Symlink(target, name string) {
	d.T.Helper()
	if err := os.Symlink(target, name); err != nil {
		d.T.Fatal(err)
	}
}

// Mkdir makes a directory.
func (d *Daemon) Mkdir(dir string) {
	d.T.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		d.T.Fatal(err)
	}
}

// MoveTo moves the daemon, which has not been started, to another path.
func (d *Daemon) MoveTo(path string) {
	d.T.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		d.T.Fatal(err)
	}
	d.Rename(d.Path, path)
	d.StartedAs(path)
}

// StartedAs has the daemon started by a path that leads to its file.
func (d *Daemon) StartedAs(path string) {
	d.Path = path
	d.Cmd.Path, d.Cmd.Args[0] = path, path
}

// Stage writes a version into a directory of its own and returns its path.
func (d *Daemon) Stage(version int) string {
	d.T.Helper()
	return d.StageIn(testprocess.MemoryDir(d.T), version)
}

// StageIn writes a version into a directory and returns its path.
func (d *Daemon) StageIn(dir string, version int) string {
	d.T.Helper()
	path := filepath.Join(dir, "app")
	d.Write(path, Image(d.T, version))
	return path
}
