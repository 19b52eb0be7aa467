package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// A site is the directory in which everything of the demo happens:
//
//	builds/v1.0.0 ...              what has been built
//	releases/1/daemon, 2/daemon    what has been deployed
//	current -> releases/1          what is in use: the daemon runs as current/daemon
type site string

const executable = "current/daemon"

func (s site) path(elem ...string) string {
	return filepath.Join(append([]string{string(s)}, elem...)...)
}

// lay puts the first version in place.
func (s site) lay() error {
	for _, dir := range []string{"releases/1", "releases/2"} {
		if err := os.MkdirAll(s.path(dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.Symlink("releases/1", s.path("current")); err != nil {
		return err
	}
	return writeNew(s.buildOf(versions[0]), s.path(executable))
}

// buildOf is where a version of the daemon lies, ready to be deployed.
func (s site) buildOf(version string) string { return s.path("builds", version) }

// writeNew copies an executable to a name that is not taken.
func writeNew(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
