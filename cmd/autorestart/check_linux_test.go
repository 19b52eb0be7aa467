//go:build !autorestart_portable

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/forcefallback"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

const nobody = 65534

// runWatching is the main of a daemon that says why it has rejected a version.
func runWatching() {
	r := &autorestart.Restarter{Observe: func(e autorestart.Event) {
		if rejected, ok := errors.AsType[*autorestart.RejectedError](e.Err); ok {
			text := autorestart.RejectedError{Found: rejected.Found, Expected: rejected.Expected, Retryable: rejected.Retryable}
			daemontest.Say("rejected", string(daemontest.Must(json.Marshal(text))))
		}
	}}
	daemontest.Obey(r, map[string]func(string){"watch": func(string) { go r.Run(context.Background()) }})
}

// A checking is a daemon, and what the command says of files for it.
type checking struct {
	*daemontest.Daemon
	root string // leads to its root directory; "" if that is the one of the test
	path string // of its executable below root
}

func newChecking(t *testing.T) *checking {
	d := daemontest.New(t, "watching")
	return &checking{Daemon: d, path: d.Path}
}

func (c *checking) dir() string { return filepath.Dir(c.path) }

func (c *checking) must(err error) {
	c.T.Helper()
	if err != nil {
		c.T.Fatal(err)
	}
}

// run starts the daemon.
func (c *checking) run() {
	c.T.Helper()
	c.Start()
	if c.Cmd.Args[0] == "unshare" {
		c.root = fmt.Sprintf("/proc/%d/root", c.PID())
	}
	c.Tell("watch")
	testprocess.WaitFor(c.T, "inotify watches", func() bool { return c.HasWatch(c.root + c.dir()) })
}

// file writes a file that may be deployed.
func (c *checking) file(content []byte) (name string) {
	c.T.Helper()
	name = filepath.Join(testprocess.MemoryDir(c.T), "next")
	c.Write(name, content)
	return name
}

// check calls the command.
func (c *checking) check(t *testing.T, file string) result {
	t.Helper()
	return start(t, "check", file, c.path).wait(t)
}

// deploy puts a file in the place of the executable, with its mode, owner and capabilities.
func (c *checking) deploy(file string) {
	c.T.Helper()
	path := c.root + c.path
	if c.root == "" {
		path = daemontest.Must(filepath.EvalSymlinks(path))
	}
	var st unix.Stat_t
	c.must(unix.Stat(path, &st))
	next := path + ".new"
	c.Write(next, testprocess.ReadFile(c.T, file))
	if os.Geteuid() == 0 {
		c.must(os.Chown(next, int(st.Uid), int(st.Gid)))
	}
	c.must(unix.Chmod(next, st.Mode&0o7777))
	caps := make([]byte, 100)
	if n, err := unix.Getxattr(path, "security.capability", caps); err == nil {
		c.must(unix.Setxattr(next, "security.capability", caps[:n], 0))
	}
	c.Rename(next, path)
}

// wantAsDeployed checks a file, deploys it, and compares what the command has said with what the daemon
// does.
func (c *checking) wantAsDeployed(t *testing.T, content []byte, said string) {
	t.Helper()
	file := c.file(content)
	r := c.check(t, file)
	process := fmt.Sprintf("process %d: ", c.PID())
	if !strings.HasPrefix(r.stdout, process) || !strings.Contains(r.stdout, said) || r.stderr != "" || strings.Count(r.stdout, "\n") != 1 {
		t.Fatalf("exit %d, %q, %q; want %q", r.exit, r.stdout, r.stderr, said)
	}
	c.deploy(file)
	switch {
	case r.exit == exitFailed:
		var e autorestart.RejectedError
		c.must(json.Unmarshal([]byte(c.Want("rejected")), &e))
		lasting := "not retryable: "
		if e.Retryable {
			lasting = "retryable: "
		}
		if strings.Contains(r.stdout, "every 15 seconds") && !e.Retryable {
			lasting = "looked at again every 15 seconds)"
		}
		want := process + "rejected: found " + e.Found + ", expected " + e.Expected + " (" + lasting
		if !strings.HasPrefix(r.stdout, want) {
			t.Errorf("the command says %q, and the daemon %q", r.stdout, want)
		}
	case r.exit != exitDone:
		t.Errorf("exit %d", r.exit)
	case strings.Contains(r.stdout, "the same content"):
		c.deploy(c.file(daemontest.Image(t, 3)))
		c.WantRestart(3)
	default:
		c.WantRestart(2)
	}
}

// The command says of each file what the daemon does when the file is deployed.
func TestCheckForecastsFiles(t *testing.T) {
	good := daemontest.Image(t, 2)
	foreign := slices.Clone(good)
	foreign[18], foreign[19] = foreign[19]^0x55, foreign[18] // e_machine
	for name, test := range map[string]struct {
		content []byte
		said    string
	}{
		"new":           {good, "accepted: "},
		"same":          {daemontest.Image(t, 1), "has the same content as the running version"},
		"empty":         {nil, "found an empty file"},
		"truncated":     {good[:len(good)/2], "not complete"},
		"text":          {[]byte("garbage\n"), "expected an ELF executable"},
		"script":        {[]byte("#!/bin/true\n"), "found a script"},
		"other machine": {foreign, "expected an ELF executable for"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newChecking(t)
			c.run()
			c.wantAsDeployed(t, test.content, test.said)
		})
	}
}

// The mode of FILE does not count: the file at PATH has the one that the new file gets.
func TestCheckTakesModeOfExecutable(t *testing.T) {
	c := newChecking(t)
	c.run()
	file := c.file(daemontest.Image(t, 2))
	c.must(os.Chmod(file, 0o600))
	c.check(t, file).want(t, exitDone, fmt.Sprintf("process %d: accepted: %s would be executed, unless Verify of the program rejects it or this version has failed there before\n", c.PID(), file), "")
	c.must(os.Chmod(c.path, 0o644))
	c.wantAsDeployed(t, daemontest.Image(t, 2), "found a file that may not be executed (permission denied)")
}

// The file is good, and its place decides: for processes of root, of another user, and in namespaces.
func TestCheckForecastsPlaces(t *testing.T) {
	needRoot(t)
	other := func(c *checking) {
		c.Cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	for name, test := range map[string]struct {
		prepare func(*checking) // before the start
		spoil   func(*checking) // after it
		said    string
	}{
		"directory of everybody": {nil, func(c *checking) { c.must(os.Chmod(c.dir(), 0o777)) }, ", which everybody can write"},
		"directory of a user":    {nil, func(c *checking) { c.must(os.Chown(c.dir(), nobody, 0)) }, ", which belongs to UID 65534"},
		"file of a user":         {nil, func(c *checking) { c.must(os.Chown(c.path, nobody, 0)) }, "accepted: "}, // as the running image
		"link":                   {linked, nil, "accepted: "},
		"link of a user": {linked, func(c *checking) {
			c.must(os.Lchown(c.dir(), nobody, 0))
		}, "found the symbolic link "},
		"other user": {other, nil, "accepted: "},
		"other user, directory of everybody": {other, func(c *checking) {
			c.must(os.Chmod(c.dir(), 0o777))
		}, "accepted: "},
		"other user, not readable": {other, func(c *checking) {
			c.must(os.Chmod(c.path, 0o711))
		}, "found no file that can be read (permission denied)"},
		"other user, not executable": {other, func(c *checking) {
			c.must(os.Chmod(c.path, 0o744))
		}, "found a file that may not be executed (permission denied)"},
		"other user, directory not searchable": {other, func(c *checking) {
			c.must(os.Chmod(c.dir(), 0o700))
		}, "found no file that can be read (permission denied)"},
		"group of the user": {func(c *checking) {
			other(c)
			c.Cmd.SysProcAttr.Credential.Groups = []uint32{4321}
		}, func(c *checking) {
			c.must(os.Chown(c.dir(), 0, 4321))
			c.must(os.Chmod(c.dir(), 0o750))
		}, "accepted: "},
		"capabilities": {func(c *checking) {
			other(c)
			c.must(unix.Setxattr(c.path, "security.capability", bindService, 0))
		}, nil, "accepted: "},
		"capabilities, directory of everybody": {func(c *checking) {
			other(c)
			c.must(unix.Setxattr(c.path, "security.capability", bindService, 0))
		}, func(c *checking) { c.must(os.Chmod(c.dir(), 0o777)) }, ", which everybody can write"},
		"file that was replaced": {nil, func(c *checking) {
			c.deploy(c.file([]byte("garbage\n")))
			c.Want("rejected")
		}, "accepted: "},
		"user namespace": {ownUsers, nil, "accepted: "},
		"user namespace, directory of a user that it does not know": {ownUsers, func(c *checking) {
			c.must(os.Chown(c.dir(), 1000, 1000))
		}, "which stands for all that are unknown in this user namespace"},
		"user namespace of many": {manyUsers(0), nil, "found the directory /, which belongs to UID 65534"},
		"user namespace of many, user": {manyUsers(1000), func(c *checking) {
			c.must(os.Chmod(c.path, 0o700))
		}, "found no file that can be read (permission denied)"},
		"user namespace of many, capabilities": {manyUsers(0), func(c *checking) {
			c.must(os.Chown(c.dir(), 100_001, 100_001)) // whom the namespace knows
			c.must(os.Chmod(c.dir(), 0o700))
		}, "found the directory /, which belongs to UID 65534"},
		"user namespace of many, no capabilities": {manyUsers(0), func(c *checking) {
			c.must(os.Chmod(c.dir(), 0o700)) // of a user whom it does not know
		}, "found no file that can be read (permission denied)"},
		"mount namespace": {func(c *checking) { c.contain(`mount -t tmpfs none "$2"; cp "$1" "$2/app"; exec "$2/app"`, "") }, nil, "accepted: "},
		"root directory":  {inRoot, nil, "accepted: "},
		"root directory, file that was replaced": {inRoot, func(c *checking) {
			c.deploy(c.file([]byte("garbage\n")))
			c.Want("rejected")
		}, "accepted: "},
		"root directory, of everybody": {inRoot, func(c *checking) {
			c.must(os.Chmod(c.root+c.dir(), 0o777))
		}, ", which everybody can write"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newChecking(t)
			if test.prepare != nil {
				test.prepare(c)
			}
			c.run()
			if test.spoil != nil {
				test.spoil(c)
			}
			c.wantAsDeployed(t, daemontest.Image(t, 2), test.said)
		})
	}
}

// bindService is an extended attribute that permits CAP_NET_BIND_SERVICE, see linux/capability.h.
var bindService = []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for processes of other users")
	}
}

// linked has the daemon started by a symbolic link to its directory.
func linked(c *checking) {
	link := filepath.Join(testprocess.MemoryDir(c.T), "current")
	c.Symlink(c.dir(), link)
	c.path = filepath.Join(link, "app")
	c.StartedAs(c.path)
}

// ownUsers has the daemon started as root of a user namespace.
func ownUsers(c *checking) {
	if err := forcefallback.UserNamespaces(); err != nil {
		c.T.Skip(err)
	}
	c.Cmd.SysProcAttr = new(syscall.SysProcAttr)
	forcefallback.OwnUserNamespace(c.Cmd.SysProcAttr)
}

// manyUsers has the daemon started as a user of a namespace that has many.
func manyUsers(uid uint32) func(*checking) {
	return func(c *checking) {
		if err := forcefallback.UserNamespaces(); err != nil {
			c.T.Skip(err)
		}
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 100_000, Size: 50_000}}
		c.Cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
			Credential: &syscall.Credential{Uid: uid, Gid: uid},
		}
	}
}

// inRoot has the daemon started in a root directory of its own, where everything is but the directory
// of the executable.
func inRoot(c *checking) {
	c.contain(`mount --rbind / "$3"; mount -t tmpfs none "$3$2"; chmod 755 "$3$2"; cp "$1" "$3$2/app"; exec chroot "$3" "$2/app"`, testprocess.MemoryDir(c.T))
}

// contain has the daemon started by a shell script, in a mount namespace of its own: with its
// executable, another directory, and a root directory.
func (c *checking) contain(script, root string) {
	c.T.Helper()
	testprocess.NeedTool(c.T, "unshare")
	testprocess.NeedTool(c.T, "mount")
	original := c.path
	c.path = filepath.Join(testprocess.MemoryDir(c.T), "app")
	c.Cmd.Path = daemontest.Must(exec.LookPath("unshare"))
	c.Cmd.Args = []string{"unshare", "-m", "--propagation", "private", "sh", "-ec", script, "sh", original, c.dir(), root}
}

// The file in another root directory has a path for those outside, too.
func TestCheckByPathFromOutside(t *testing.T) {
	needRoot(t)
	c := newChecking(t)
	inRoot(c)
	c.run()
	c.must(os.Chmod(c.root+c.dir(), 0o777))
	file := c.file(daemontest.Image(t, 2))
	inside := c.check(t, file)
	outside := start(t, "check", file, c.root+c.path).wait(t)
	if want := "found the directory " + c.dir() + ", which everybody can write"; outside != inside || !strings.Contains(inside.stdout, want) {
		t.Errorf("from outside %+v, from inside %+v, want %q", outside, inside, want)
	}
}

// A process of which this user can't tell anything may run the executable. Nor can this user judge with
// groups of another process.
func TestCheckNeedsPermission(t *testing.T) {
	needRoot(t)
	for name, test := range map[string]struct {
		credential *syscall.Credential
		found      string
	}{
		"root":         {nil, "process %d, which may run %s: found a process of UID 0 whose executable this user can't see, expected one of UID 65534"},
		"other groups": {&syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{4321}}, "process %d: found a process with other rights (UID 65534, GID 65534, groups [4321], capabilities 0x0), expected those of this user (UID 65534, GID 65534, groups [], capabilities 0x0)"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newChecking(t)
			c.Cmd.SysProcAttr = &syscall.SysProcAttr{Credential: test.credential}
			c.run()
			binary, file := filepath.Join(c.dir(), "autorestart"), filepath.Join(c.dir(), "next")
			c.Write(binary, daemontest.Binary(t))
			c.Write(file, daemontest.Image(t, 2))
			r := &running{cmd: exec.Command(binary, "check", file, c.path), ended: make(chan error, 1)}
			r.cmd.Dir, r.cmd.Env = "/", append(os.Environ(), testprocess.UseHelper(t, "autorestart"))
			r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
			r.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			c.must(r.cmd.Start())
			go func() { r.ended <- r.cmd.Wait() }()
			want := strings.Replace(strings.Replace(test.found, "%d", fmt.Sprint(c.PID()), 1), "%s", c.path, 1)
			r.wait(t).want(t, exitUnable, "", want+": run this command as root")
		})
	}
}

// A user who has no ID in the namespace of the process can't be set there.
func TestCheckOfUnknownUser(t *testing.T) {
	needRoot(t)
	if err := forcefallback.UserNamespaces(); err != nil {
		t.Skip(err)
	}
	c := newChecking(t)
	c.Cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}
	c.run()
	c.check(t, c.file(daemontest.Image(t, 2))).want(t, exitUnable, "",
		fmt.Sprintf("autorestart check: process %d: found UID 0 and GID 0, expected IDs that its user namespace knows", c.PID()))
}

// Processes that can't differ in their answer are judged once, others each.
func TestCheckOfManyProcesses(t *testing.T) {
	needRoot(t)
	c := newChecking(t)
	c.run()
	also := func(credential *syscall.Credential) int {
		cmd := exec.Command(c.path)
		cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "watching"))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
		stdin, err := cmd.StdinPipe() // its end is that of the daemon
		c.must(err)
		stdout, err := cmd.StdoutPipe()
		c.must(err)
		c.must(cmd.Start())
		t.Cleanup(func() {
			stdin.Close()
			cmd.Process.Kill()
			cmd.Wait()
		})
		stdout.Read(make([]byte, 1)) // it has started
		return cmd.Process.Pid
	}
	second, third := also(nil), also(&syscall.Credential{Uid: nobody, Gid: nobody})
	fourth := also(&syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{4321}})
	c.must(os.Chmod(c.dir(), 0o777))
	r := c.check(t, c.file(daemontest.Image(t, 2)))
	for _, want := range []string{
		fmt.Sprintf("processes %d, %d: rejected: found the directory %s, which everybody can write", min(c.PID(), second), max(c.PID(), second), c.dir()),
		fmt.Sprintf("process %d: accepted: ", third),
		fmt.Sprintf("process %d: accepted: ", fourth),
	} {
		if r.exit != exitFailed || !strings.Contains(r.stdout, want) || strings.Count(r.stdout, "\n") != 3 || r.stderr != "" {
			t.Errorf("%+v, want %q", r, want)
		}
	}
}

// Without a process, the rights of the user count.
func TestCheckWithoutProcess(t *testing.T) {
	dir := testprocess.MemoryDir(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	testprocess.WriteExecutable(t, in("app"), daemontest.Image(t, 1))
	testprocess.WriteExecutable(t, in("next"), daemontest.Image(t, 2))
	testprocess.WriteExecutable(t, in("script"), []byte("#!/bin/true\n"))
	if err := os.Symlink("app", in("link")); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		file, path string
		exit       int
		said       string // beside what is said of processes, to standard output; or all, to standard error
	}{
		"new":            {in("next"), in("app"), exitDone, "accepted: " + in("next") + " would be executed"},
		"linked":         {in("next"), in("link"), exitDone, "accepted: "},
		"same":           {in("app"), in("app"), exitDone, "the same content"},
		"first":          {in("next"), in("none"), exitDone, "accepted: "},
		"script":         {in("script"), in("app"), exitFailed, "found a script"},
		"no file":        {in("none"), in("app"), exitUnable, in("none") + ": found no file that can be read (no such file or directory)"},
		"no directory":   {in("next"), in("none/app"), exitUnable, "open " + in("none") + "/: no such file or directory"},
		"in a directory": {in("next"), dir, exitFailed, "found something that is not a regular file"},
		"no executable":  {dir, in("app"), exitUnable, "found something that is not a regular file"},
	} {
		r := start(t, "check", test.file, test.path).wait(t)
		output := r.stdout
		if test.exit == exitUnable {
			output = r.stderr
		} else if !strings.HasPrefix(output, "no process runs "+test.path+"; with the rights of this user: ") {
			t.Errorf("%s: %q", name, output)
		}
		if r.exit != test.exit || !strings.Contains(output, test.said) || len(r.stdout)+len(r.stderr) != len(output) {
			t.Errorf("%s: exit %d, %q, %q; want %q", name, r.exit, r.stdout, r.stderr, test.said)
		}
	}
}
