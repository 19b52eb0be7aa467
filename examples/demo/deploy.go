package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"time"
)

// A deploy is one thing that people do to an executable in use.
type deploy struct {
	what    string       // as one would type it in the site's directory, or in words
	prepare func() error // what is done before, as uploading; may be nil
	do      func(context.Context) error
	note    string // what else there is to say; may be empty
}

// rename puts a version beside the executable, then over it: what mv does, and
// most deployment tools in the end. The rename alone counts as the deploy.
func (s site) rename(version string) deploy {
	fresh := executable + ".new"
	return deploy{
		what:    "rename " + fresh + " " + executable,
		prepare: func() error { return writeNew(s.buildOf(version), s.path(fresh)) },
		do: func(context.Context) error {
			return os.Rename(s.path(fresh), s.path(executable))
		},
	}
}

// copyForce has the executable unlinked and written anew: the old one can't be
// written while it runs.
func (s site) copyForce(version string) deploy {
	return s.tool(s.overwrite(version, 0o755), "cp", "-f", "builds/"+version, executable)
}

// install writes the file first and makes it executable after that.
func (s site) install(version string) deploy {
	return s.tool(s.overwrite(version, 0o600), "install", "-m755", "builds/"+version, executable)
}

// rsync writes a hidden file and renames it. Two builds have the same size and,
// if they are quick, the same second: -c has it compare the content.
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

// release puts a version into another directory, and then has the symbolic link
// point there.
func (s site) release(version, dir string) deploy {
	d := s.flip(dir)
	d.prepare = func() error { return writeNew(s.buildOf(version), s.path(dir, "daemon")) }
	return d
}

// rollBack has the symbolic link point back to what is there from an earlier
// release.
func (s site) rollBack(dir string) deploy {
	d := s.flip(dir)
	d.what += " (rollback)"
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

// touch is no deploy: the content stays.
func (s site) touch() deploy {
	return deploy{
		what: "touch " + executable,
		do: func(context.Context) error {
			now := time.Now()
			return os.Chtimes(s.path(executable), now, now)
		},
	}
}

// breakOff uploads half of a version.
func (s site) breakOff(version string) deploy {
	return deploy{
		what: "an upload that breaks off half way",
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
		what: "the upload is taken up again",
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

// errorPage saves what a web server answers in the program's place.
func (s site) errorPage() deploy {
	return deploy{
		what: "an error page in place of the program",
		do: func(context.Context) error {
			return s.replace([]byte("<html>404 Not Found</html>\n"), 0o755)
		},
	}
}

// tool runs a program in the site's directory, or does the same by hand where it
// is not installed.
func (s site) tool(byHand func() error, name string, args ...string) deploy {
	d := deploy{what: name + " " + strings.Join(args, " ")}
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

// overwrite does by hand what cp -f and install do.
func (s site) overwrite(version string, mode os.FileMode) func() error {
	return func() error {
		content, err := os.ReadFile(s.buildOf(version))
		if err != nil {
			return err
		}
		return s.replace(content, mode)
	}
}

// replace puts a new file in the executable's place, written with the given mode
// and executable in the end.
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
