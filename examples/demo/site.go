package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// A site is the directory of the demo:
//
//	builds/v1.0.0 ...              versions that were built
//	releases/1/daemon, 2/daemon    versions that were deployed
//	current -> releases/1          the version in use: the daemon runs as current/daemon
type site string

const executable = "current/daemon"

func (s site) path(elem ...string) string {
	return filepath.Join(append([]string{string(s)}, elem...)...)
}

// createLayout creates the directories, and deploys the first version.
func (s site) createLayout() error {
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

// buildOf returns the path of a version that was built.
func (s site) buildOf(version string) string { return s.path("builds", version) }

// writeNew copies an executable to a path that does not exist.
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
