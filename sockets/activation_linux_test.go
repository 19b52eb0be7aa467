package sockets_test

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/passing"
)

const (
	activateEnv = "AUTORESTART_TEST_ACTIVATE" // how many descriptors are passed
	namesEnv    = "AUTORESTART_TEST_NAMES"
	pidEnv      = "AUTORESTART_TEST_PID" // added to LISTEN_PID
	fdsEnv      = "AUTORESTART_TEST_FDS" // a wrong LISTEN_FDS

	pidfdEnv     = "AUTORESTART_TEST_PIDFDID"      // LISTEN_PIDFDID: own, none, or a wrong one; that of LISTEN_PID if unset
	namespaceEnv = "AUTORESTART_TEST_IN_NAMESPACE" // set: see inNamespace
)

const firstPassed = 3

// activateMain executes the echo daemon as systemd does, with the descriptors that the
// test has passed. It tells the test of them.
func activateMain() {
	n := Must(strconv.Atoi(os.Getenv(activateEnv)))
	for i := range n {
		syscall.SetNonblock(firstPassed+i, i%2 == 0) // NonBlocking= in systemd.exec(5)
	}
	pid, _ := strconv.Atoi(os.Getenv(pidEnv))
	os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()+pid))
	os.Setenv("LISTEN_FDNAMES", os.Getenv(namesEnv))
	os.Setenv("LISTEN_FDS", cmp.Or(os.Getenv(fdsEnv), strconv.Itoa(n)))
	switch id := os.Getenv(pidfdEnv); id {
	case "none":
	case "": // tells the same as LISTEN_PID
		os.Setenv("LISTEN_PIDFDID", strconv.FormatUint(pidfdID()+uint64(pid), 10))
	case "own":
		os.Setenv("LISTEN_PIDFDID", strconv.FormatUint(pidfdID(), 10))
	default:
		os.Setenv("LISTEN_PIDFDID", id)
	}
	Say("passed", descriptors(n))
	os.Setenv(HelperEnv, "echo")
	inNamespace(n)
	panic(syscall.Exec(os.Args[0], os.Args, os.Environ()))
}

// pidfdID returns the number of this process's inode in pidfs, since Linux 6.9. Before, it returns
// any number.
func pidfdID() uint64 {
	var st unix.Stat_t
	if fd, err := unix.PidfdOpen(os.Getpid(), 0); err == nil {
		defer unix.Close(fd)
		unix.Fstat(fd, &st)
	}
	return uint64(st.Ino)
}

// openPassed opens network|address, or one of the other things that systemd passes.
func openPassed(t *testing.T, word string) *os.File {
	t.Helper()
	network, address, _ := strings.Cut(word, "|")
	var s io.Closer
	var err error
	switch network {
	case "file": // OpenFile= in systemd.service(5)
		f, err := os.Open(address)
		if err != nil {
			t.Fatal(err)
		}
		return f
	case "udp":
		s, err = net.ListenPacket(network, address)
	case "accepted": // Accept=yes in systemd.socket(5)
		ln, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		dial(t, "tcp", ln.Addr().String())
		if s, err = ln.Accept(); err != nil {
			t.Fatal(err)
		}
	default:
		s, err = net.Listen(network, address)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if u, ok := s.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	f, err := s.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// descriptors describes the first n descriptors that systemd passes.
func descriptors(n int) string {
	var all []string
	for fd := firstPassed; fd < firstPassed+n; fd++ {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil {
			all = append(all, "closed")
			continue
		}
		status, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		target, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		all = append(all, fmt.Sprintf("%s cloexec=%v nonblock=%v", target, flags&unix.FD_CLOEXEC != 0, status&unix.O_NONBLOCK != 0))
	}
	return strings.Join(all, "\n")
}

// otherLibrary takes what systemd has passed as other libraries do, for example
// activation.Files of go-systemd.
func otherLibrary() (files []*os.File) {
	if pid, err := strconv.Atoi(os.Getenv("LISTEN_PID")); err != nil || pid != os.Getpid() {
		return nil
	}
	n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	for fd := firstPassed; fd < firstPassed+n; fd++ {
		syscall.CloseOnExec(fd)
		files = append(files, os.NewFile(uintptr(fd), "of another library"))
	}
	return files
}

// ofOtherLibrary keeps the files from being closed by the garbage collector.
var ofOtherLibrary []*os.File

func init() {
	maps.Copy(echoCommands, map[string]func(string){
		"descriptors": func(n string) { Say("descriptors", descriptors(Must(strconv.Atoi(n)))) },
		"other-library": func(unset string) {
			var listens []string
			ofOtherLibrary = otherLibrary()
			for _, f := range ofOtherLibrary {
				ln, err := net.FileListener(f)
				if err != nil {
					listens = append(listens, "none")
					continue
				}
				go echoConnections(ln)
				listens = append(listens, ln.Addr().String())
			}
			if unset != "" {
				for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
					os.Unsetenv(name)
				}
			}
			Say("listens", strings.Join(listens, " "))
		},
		"pass": func(arg string) {
			number, key, _ := strings.Cut(arg, " ")
			f := os.NewFile(uintptr(Must(strconv.Atoi(number))), key)
			defer f.Close()
			Say("done", image.Current().Store.Pass(passing.Name(key), f))
		},
		"unset": func(string) {
			for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
				os.Unsetenv(name)
			}
			Say("done", "")
		},
		"inheritable": func(string) { // by children, of what the library may have opened
			var files []string
			for _, entry := range Must(os.ReadDir("/proc/self/fd")) {
				fd, _ := strconv.Atoi(entry.Name())
				target, _ := os.Readlink("/proc/self/fd/" + entry.Name())
				flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
				if err == nil && flags&unix.FD_CLOEXEC == 0 && (strings.HasPrefix(target, "socket:") || strings.Contains(target, "autorestart")) {
					files = append(files, entry.Name()+" "+target)
				}
			}
			Say("inheritable", strings.Join(files, ", "))
		},
	})
}

// newActivated prepares a daemon with sockets from systemd: words that [openPassed]
// takes, and their names.
func newActivated(t *testing.T, words, names string) *Daemon {
	t.Helper()
	d := New(t, "activate")
	for word := range strings.FieldsSeq(words) {
		d.Cmd.ExtraFiles = append(d.Cmd.ExtraFiles, openPassed(t, word))
	}
	d.Setenv(fmt.Sprintf("%s=%d", activateEnv, len(d.Cmd.ExtraFiles)))
	d.Setenv(namesEnv + "=" + names)
	return d
}

// startActivated starts such a daemon. It returns the description of the descriptors
// that were passed.
func startActivated(t *testing.T, d *Daemon) (passed []string) {
	t.Helper()
	d.Start()
	for _, f := range d.Cmd.ExtraFiles {
		f.Close()
	}
	passed = strings.Split(d.Want("passed"), "\n")
	d.Want("start") // of echo
	return passed
}

// activated is newActivated and startActivated.
func activated(t *testing.T, words, names string, env ...string) (d *Daemon, passed []string) {
	t.Helper()
	d = newActivated(t, words, names)
	for _, kv := range env {
		d.Setenv(kv)
	}
	return d, startActivated(t, d)
}

// wantPassed compares descriptors of the daemon with those that systemd has passed.
// An empty one stands for a socket that was taken: the number is that of another file.
func wantPassed(t *testing.T, d *Daemon, want ...string) {
	t.Helper()
	now := strings.Split(d.Ask(fmt.Sprintf("descriptors %d", len(want)), "descriptors"), "\n")
	for i, got := range now {
		switch {
		case want[i] == "" && (strings.HasPrefix(got, "socket:") || got == "closed"):
			t.Errorf("descriptor %d is %s; the socket was taken", firstPassed+i, got)
		case want[i] != "" && got != want[i]:
			t.Errorf("descriptor %d is %s; systemd has passed %s", firstPassed+i, got, want[i])
		}
	}
}

// wantAnnounced checks whether the variables are in the environment.
func wantAnnounced(t *testing.T, d *Daemon, want bool) {
	t.Helper()
	env := d.Ask("env", "env")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"} {
		if strings.Contains(env, name+"=") != want {
			t.Errorf("%s is in the environment: %v, want %v", name, !want, want)
		}
	}
}

// wantRefused checks that no socket listens on the address.
func wantRefused(t *testing.T, address string) {
	t.Helper()
	if conn, err := net.Dial("tcp", address); err == nil {
		t.Errorf("a socket listens on %s", address)
		conn.Close()
	}
}
