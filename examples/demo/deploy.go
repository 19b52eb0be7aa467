package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"time"
)

// A deploy is one of the ways in which people change an executable in use.
type deploy struct {
	title   string       // the command in the directory of the site, or a description
	prepare func() error // the part that is not timed, as an upload; may be nil
	do      func(context.Context) error
	note    string // may be empty
}

// rename writes a version next to the executable, and renames it over that, as mv and most
// deployment tools do. The time of the deploy begins with the rename.
func (s site) rename(version string) deploy {
	fresh := executable + ".new"
	return deploy{
		title:   "rename " + fresh + " " + executable,
		prepare: func() error { return writeNew(s.buildOf(version), s.path(fresh)) },
		do: func(context.Context) error {
			return os.Rename(s.path(fresh), s.path(executable))
		},
	}
}

// copyForce removes the executable and writes a new one: the old file can't be written
// while it runs.
func (s site) copyForce(version string) deploy {
	return s.tool(s.overwrite(version, 0o755), "cp", "-f", "builds/"+version, executable)
}

// install writes the file first and makes it executable after that.
func (s site) install(version string) deploy {
	return s.tool(s.overwrite(version, 0o600), "install", "-m755", "builds/"+version, executable)
}

// rsync writes a hidden file and renames it. Two builds may have the same size and the same
// second, so -c makes rsync compare the content.
func (s site) rsync(version string) deploy {
	byHand := func() error {
		hidden := s.path("current/.daemon.hidden")
		if err := writeNew(s.buildOf(version), hidden); err != nil {
			return err
		}
		return os.Rename(hidden, s.path(executable))
	}
	return s.tool(byHand, "rsync", "-ac", "builds/"+version, executable)
}

// release writes a version to another directory, and then makes the symbolic link point
// there.
func (s site) release(version, dir string) deploy {
	d := s.flip(dir)
	d.prepare = func() error { return writeNew(s.buildOf(version), s.path(dir, "daemon")) }
	return d
}

// rollBack makes the symbolic link point to the directory of an earlier release.
func (s site) rollBack(dir string) deploy {
	d := s.flip(dir)
	d.title += " (rollback)"
	return d
}

func (s site) flip(dir string) deploy {
	byHand := func() error {
		if err := os.Symlink(dir, s.path("current.new")); err != nil {
			return err
		}
		return os.Rename(s.path("current.new"), s.path("current"))
	}
	return s.tool(byHand, "ln", "-sfn", dir, "current")
}

// touch changes the time of the executable only.
func (s site) touch() deploy {
	return deploy{
		title: "touch " + executable,
		do: func(context.Context) error {
			now := time.Now()
			return os.Chtimes(s.path(executable), now, now)
		},
	}
}

// breakOff uploads half of a version.
func (s site) breakOff(version string) deploy {
	return deploy{
		title: "an upload that breaks off half way",
		do: func(context.Context) error {
			first, _, err := s.halves(version)
			if err != nil {
				return err
			}
			return s.replace(first, 0o755)
		},
	}
}

// resume uploads the other half.
func (s site) resume(version string) deploy {
	return deploy{
		title: "the upload is resumed",
		do: func(context.Context) error {
			_, second, err := s.halves(version)
			if err != nil {
				return err
			}
			f, err := os.OpenFile(s.path(executable), os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				return err
			}
			_, err = f.Write(second)
			return errors.Join(err, f.Close())
		},
	}
}

// errorPage replaces the executable by the error page of a web server.
func (s site) errorPage() deploy {
	return deploy{
		title: "an error page in place of the program",
		do: func(context.Context) error {
			return s.replace([]byte("<html>404 Not Found</html>\n"), 0o755)
		},
	}
}

// tool runs a program in the directory of the site. If the program is not installed, byHand
// does the same.
func (s site) tool(byHand func() error, name string, args ...string) deploy {
	d := deploy{title: name + " " + strings.Join(args, " ")}
	if _, err := exec.LookPath(name); err != nil {
		d.note = "by hand: no " + name + " here"
		d.do = func(context.Context) error { return byHand() }
		return d
	}
	d.do = func(ctx context.Context) error {
		cmd := command(ctx, name, args...)
		cmd.Dir = string(s)
		return output(ctx, cmd)
	}
	return d
}

// overwrite does the same as cp -f and install.
func (s site) overwrite(version string, mode os.FileMode) func() error {
	return func() error {
		content, err := os.ReadFile(s.buildOf(version))
		if err != nil {
			return err
		}
		return s.replace(content, mode)
	}
}

// replace replaces the executable. The new file is written with the given mode, and then
// made executable.
func (s site) replace(content []byte, mode os.FileMode) error {
	if err := os.Remove(s.path(executable)); err != nil {
		return err
	}
	if err := os.WriteFile(s.path(executable), content, mode); err != nil {
		return err
	}
	return os.Chmod(s.path(executable), 0o755)
}

func (s site) halves(version string) (first, second []byte, err error) {
	content, err := os.ReadFile(s.buildOf(version))
	half := len(content) / 2
	return content[:half], content[half:], err
}
