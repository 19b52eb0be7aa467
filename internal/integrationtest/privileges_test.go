//go:build linux

package integrationtest

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// nobody is the user who starts the privileged daemons.
const nobody = 65534

// newPrivileged prepares a daemon whose executable, in a directory that root alone can
// write, gives nobody more rights: prepare sets them.
func newPrivileged(t *testing.T, prepare func(path string)) *daemontest.Daemon {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make a privileged program")
	}
	d := program.New(t)
	d.StartedAs(filepath.Join(plainDir(t), "app"))
	d.Write(d.Path, daemontest.Image(t, 1))
	prepare(d.Path)
	d.Cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if !daemontest.HaveEvents { // the system does not tell the path
		d.Setenv(program.PathEnv + "=" + d.Path)
	}
	return d
}

// plainDir returns a new directory that everybody can look into, and not in memory, which
// may be mounted nosuid.
func plainDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "autorestart")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	chmod(t, dir, 0o755)
	return dir
}

func chmod(t testing.TB, name string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}

func setuid(t *testing.T) func(path string) {
	return func(path string) { chmod(t, path, 0o755|os.ModeSetuid) }
}

// deployPrivileged puts a version in place that prepare gives its rights.
func deployPrivileged(d *daemontest.Daemon, version int, prepare func(path string)) {
	d.T.Helper()
	d.Write(d.Path+".new", daemontest.Image(d.T, version))
	prepare(d.Path + ".new")
	d.Rename(d.Path+".new", d.Path)
}

// The user nobody starts a program of root's by a symbolic link, and flips that later.
func TestSetuidIgnoresTheLinkOfItsStarter(t *testing.T) {
	testLinkOfStarter(t, newPrivileged(t, setuid(t)), setuid(t))
}

// The same for a program with file capabilities.
func TestCapableIgnoresTheLinkOfItsStarter(t *testing.T) {
	testLinkOfStarter(t, newCapable(t), setcap(t))
}

func testLinkOfStarter(t *testing.T, d *daemontest.Daemon, prepare func(path string)) {
	own := plainDir(t)
	link := filepath.Join(own, "link")
	d.Symlink(d.Path, link)
	if err := os.Chown(own, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	path := d.Path
	d.StartedAs(link)
	d.Start()
	// Another program of root's with the same rights.
	other := d.StageIn(plainDir(t), 2)
	prepare(other)
	d.Symlink(other, link+".new")
	d.Rename(link+".new", link)
	d.Path = path
	deployPrivileged(d, 3, prepare)
	d.WantRestart(3)
}

// Nor does the directory that the program is started in decide anything.
func TestSetuidIgnoresTheDirectoryOfItsStarter(t *testing.T) {
	d := newPrivileged(t, setuid(t))
	d.Cmd.Dir = plainDir(t)
	d.StageIn(d.Cmd.Dir, 2)
	d.Setenv(program.ManualEnv + "=1")
	d.Start()
	reason := d.Ask("restart-from app", "failed")
	if want := "autorestart: the working directory may be that of a starter with fewer rights; set Path to an absolute one"; reason != want {
		t.Errorf("Restart with a relative Path: %s; want %s", reason, want)
	}
}

// unsafeVariables are in the environment of a starter. The C library removes some from that of
// a program with more rights, in which case the Go runtime does not find the auxiliary vector.
var unsafeVariables = map[string]string{
	"plain": "X=1", "TMPDIR": "TMPDIR=/tmp", "library path": "LD_LIBRARY_PATH=/x",
}

// A user can set the variable for a program with file capabilities, too.
func TestForgedHandoverIsRefused(t *testing.T) {
	for name, variable := range unsafeVariables {
		t.Run(name, func(t *testing.T) {
			d := newCapable(t)
			path := d.Path
			d.StartedAs("/bin/sh")
			d.Cmd.Args = []string{"sh", "-c", `AUTORESTART_HANDOVER=pid=$$,generation=7, exec "$0"`, path}
			d.Path = path
			d.Setenv(variable)
			d.Start()
			d.WantAnswer("generation", "0")
			d.WaitForWatch()
			d.WantLogged("ignored the handover in the environment: this version starts afresh")
		})
	}
}

// A program with file capabilities hands over to the next one that has them.
func TestFileCapabilitiesHandOver(t *testing.T) {
	for name, variable := range unsafeVariables {
		t.Run(name, func(t *testing.T) {
			d := newCapable(t)
			d.Setenv(variable)
			d.Start()
			d.WantAnswer("set-state counter 1", "")
			d.WantAnswer("pass pipe one", "<nil>")
			for version := 2; version <= 4; version++ {
				deployPrivileged(d, version, setcap(t))
				d.WantRestart(version)
				d.WantAnswer("get-state counter", "1, true")
				d.WantAnswer("inherit pipe", "one, <nil>")
				d.WantAnswer("pass pipe one", "<nil>")
				d.WantAnswer("ready", "")
			}
			d.WantAnswer("generation", "3")
		})
	}
}

// A handover is believed if the process that attests it may look at the new image, and
// only then. The forger makes the same handover both times: with an attester of the same user,
// and with one of root's.
func TestForgedAttestationIsRefused(t *testing.T) {
	forger := testprocess.UseHelper(t, "forger")
	testprocess.UseHelper(t, "impostor")
	for _, tt := range []struct{ attester, generation string }{{"nobody", "0"}, {"root", "7"}} {
		t.Run(tt.attester, func(t *testing.T) {
			d := newCapable(t)
			path := d.Path
			own := filepath.Join(plainDir(t), "forger")
			d.Write(own, daemontest.Image(t, 1))
			d.Setenv(forger)
			d.Setenv(forgerEnv + "=" + path)
			d.StartedAs(own)
			d.Path = path
			if tt.attester == "root" {
				d.Cmd.SysProcAttr = nil
			}
			d.Start()
			d.WantAnswer("generation", tt.generation)
			if tt.generation == "0" {
				d.WantLogged("ignored the handover in the environment: this version starts afresh")
				for _, file := range d.State().OpenFiles() {
					if strings.HasPrefix(file, "/memfd:") {
						t.Errorf("%s is left open", file)
					}
				}
			}
		})
	}
}

// forgerEnv has the path of the program that the forger executes.
const forgerEnv = "AUTORESTART_TEST_FORGE"

var _ = testprocess.RegisterHelper("forger", func() {
	carrier := daemontest.Must(handover.MemoryFile(fmt.Appendf(nil, "pid=%d,generation=7,", os.Getpid())))
	daemontest.Must(unix.FcntlInt(uintptr(carrier), unix.F_SETFD, 0))
	pair := daemontest.Must(unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0))
	unix.CloseOnExec(pair[1])
	var st unix.Stat_t
	if err := unix.Fstat(carrier, &st); err != nil {
		panic(err)
	}
	variable := fmt.Sprintf("pid=%d,generation=7,carrier=%d,attester=%d,", os.Getpid(), carrier, pair[0])
	impostor := exec.Command("/proc/self/exe", strconv.Itoa(os.Getpid()), fmt.Sprintf("%s%x:%x", variable, st.Dev, st.Ino))
	impostor.Env = []string{testprocess.HelperEnv + "=impostor"}
	impostor.ExtraFiles = []*os.File{os.NewFile(uintptr(pair[1]), "socket")}
	impostor.Stderr = os.Stderr
	if err := impostor.Start(); err != nil {
		panic(err)
	}
	syscall.Setgid(nobody)
	syscall.Setuid(nobody)
	os.Setenv(testprocess.HelperEnv, program.Name)
	os.Setenv(handover.Env, variable)
	panic(syscall.Exec(os.Getenv(forgerEnv), []string{"app"}, os.Environ()))
})

// The impostor answers as the attester of package handover would.
var _ = testprocess.RegisterHelper("impostor", func() {
	socket := os.NewFile(3, "socket")
	question := make([]byte, 100)
	n := daemontest.Must(socket.Read(question))
	link, err := os.Readlink("/proc/" + os.Args[1] + "/fd/" + string(question[:n]))
	fmt.Fprintln(os.Stderr, "the impostor sees", link, err)
	reply := make([]byte, 4+64, 1000)
	binary.NativeEndian.PutUint32(reply, uint32(os.Getpid()))
	copy(reply[4:], link)
	daemontest.Must(socket.Write(append(reply, os.Args[2]...)))
})

// A version with file capabilities that fails is rolled back, with all that it was handed.
func TestFileCapabilitiesRollBack(t *testing.T) {
	d := newCapable(t)
	d.Setenv(program.ReadyEnv + "=1m")
	d.Start()
	d.WantAnswer("set-state counter 1", "")
	d.WantAnswer("pass pipe one", "<nil>")
	deployPrivileged(d, 2, setcap(t))
	d.WantRestart(2)
	d.Tell("fail it is no good")
	program.WantRollback(d, "it is no good")
	d.WantAnswer("inherit pipe", "one, <nil>")
}

// Without /proc no handover can be attested. Then the next version gets nothing, and nothing
// is left open.
func TestFileCapabilitiesWithoutProc(t *testing.T) {
	testprocess.NeedTool(t, "setpriv")
	d := newCapable(t)
	path := d.Path
	d.StartedAs("/bin/sh")
	d.Cmd.Args = []string{"sh", "-c", `mount -t tmpfs none /proc && exec setpriv --reuid=65534 --regid=65534 --clear-groups "$0"`, path}
	d.Path = path
	d.Setenv(program.PathEnv + "=" + path)
	d.Setenv(program.LogEnv + "=1")
	d.Cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	d.Start()
	files := 0
	for version := 2; version <= 4; version++ {
		d.WantAnswer("set-state counter 1", "")
		d.WantAnswer("pass pipe one", "<nil>")
		d.WaitForWatch()
		deployPrivileged(d, version, setcap(t))
		d.NextStart() // its number is at the end of a file that it can't read
		d.WantLogged("cannot attest the handover")
		d.WantAnswer("generation", "0")
		d.WantAnswer("get-state counter", ", false")
		d.WaitForWatch()
		now := len(testprocess.Glob(t, "/proc/%d/fd/*", d.PID()))
		if version > 2 && now != files {
			t.Errorf("version %d has %d descriptors, the previous one had %d", version, now, files)
		}
		files = now
		if children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", d.PID())); err == nil && len(children) > 0 {
			t.Errorf("version %d has children: %s", version, children)
		}
	}
}

// A version with more capabilities than the previous one would not believe it, and gets nothing.
func TestMoreCapabilitiesGetNothing(t *testing.T) {
	d := newCapable(t)
	d.Setenv(program.LogEnv + "=1")
	d.Start()
	d.WantAnswer("set-state counter 1", "")
	d.WantAnswer("pass pipe one", "<nil>")
	before := d.Settled().OpenFiles()
	deployPrivileged(d, 2, func(path string) {
		testprocess.Run(t, "setcap", "cap_net_bind_service,cap_net_raw=+ep", path)
	})
	d.WantRestart(2)
	d.WantAnswer("generation", "0")
	d.WantLogged("the new version gets capabilities that this process does not have")
	d.WantAnswer("get-state counter", ", false")
	for _, file := range d.Settled().OpenFiles() {
		if strings.HasPrefix(file, "/memfd:") || strings.HasPrefix(file, "pipe:") && !slices.Contains(before, file) {
			t.Errorf("%s is open", file)
		}
	}
	if n := testprocess.InotifyInstances(t, d.PID()); n != 1 {
		t.Errorf("%d inotify instances", n)
	}
	if children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", d.PID())); err == nil && len(children) > 0 {
		t.Errorf("children: %s", children)
	}
}

// newCapable prepares a daemon that may listen on ports that others may not.
func newCapable(t *testing.T) *daemontest.Daemon {
	t.Helper()
	if !daemontest.HaveEvents {
		t.Skip("without AT_SECURE, file capabilities can't be told from those of the starter")
	}
	testprocess.NeedTool(t, "setcap")
	return newPrivileged(t, setcap(t))
}

func setcap(t *testing.T) func(path string) {
	return func(path string) { testprocess.Run(t, "setcap", "cap_net_bind_service=+ep", path) }
}
