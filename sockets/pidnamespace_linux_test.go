package sockets_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	. "github.com/autorestart-go/autorestart/internal/daemontest"
)

// outerPID is the LISTEN_PID of a daemon with PrivatePIDs=, see systemd.exec(5): that of the process
// which has made its PID namespace. The daemon is process 1 there.
const outerPID = 1 << 21

// inNamespace makes this process what namespaceEnv says: "proc" mounts the proc(5) of its PID
// namespace, as systemd does, and "child" has a child execute the daemon besides, with n descriptors.
func inNamespace(n int) {
	kind := os.Getenv(namespaceEnv)
	if kind == "" {
		return
	}
	os.Unsetenv(namespaceEnv)
	if kind != "bare" {
		Must(0, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		Must(0, unix.Mount("proc", "/proc", "proc", 0, ""))
	}
	if kind != "child" {
		return
	}
	cmd := exec.Command(os.Args[0])
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	for i := range n {
		cmd.ExtraFiles = append(cmd.ExtraFiles, os.NewFile(uintptr(firstPassed+i), "passed"))
	}
	cmd.Run()
	os.Exit(0)
}

// inPIDNamespace starts a daemon with a socket in a PID namespace of its own.
func inPIDNamespace(t *testing.T, kind, address string, env ...string) *Daemon {
	t.Helper()
	if os.Getuid() != 0 || !HaveEvents {
		t.Skip("needs root for a PID namespace, and the code for Linux")
	}
	d := newActivated(t, "tcp|"+address, "web")
	d.InnerPID = 1
	d.Cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	for _, kv := range append([]string{
		namespaceEnv + "=" + kind,
		fmt.Sprintf("%s=%d", pidEnv, outerPID-1),
		fmt.Sprintf("SYSTEMD_EXEC_PID=%d", outerPID),
		pidfdEnv + "=none",
	}, env...) {
		d.Setenv(kv)
	}
	startActivated(t, d)
	return d
}

// TestSocketsFromSystemdInPIDNamespace: with PrivatePIDs=, LISTEN_PID is a PID outside.
func TestSocketsFromSystemdInPIDNamespace(t *testing.T) {
	for _, first := range []int{0, 2} { // the version that listens first
		t.Run(fmt.Sprint(first), func(t *testing.T) {
			address := "127.0.0.1:" + freePort(t)
			d := inPIDNamespace(t, "proc", address)
			for generation := range 4 {
				if generation > 0 {
					d.Restart()
				}
				if generation < first {
					wantAnnouncedIn(t, d, true)
					continue
				}
				d.Ask("listen tcp "+address+" web", "open")
				wantEcho(t, "tcp", address, generation)
				wantAnnouncedIn(t, d, false)
			}
		})
	}
}

// TestOtherProcessInPIDNamespace: what the environment announces is for process 1 that systemd has
// started, and for no other that has inherited the variables.
func TestOtherProcessInPIDNamespace(t *testing.T) {
	for _, test := range []struct{ name, kind, env string }{
		{"child of process 1", "child", ""},
		{"child in a PID namespace", "bare", ""},
		{"not the process that systemd has started", "proc", fmt.Sprintf("SYSTEMD_EXEC_PID=%d", outerPID+1)},
		{"not started by systemd", "proc", "SYSTEMD_EXEC_PID="},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := "127.0.0.1:" + freePort(t)
			d := inPIDNamespace(t, test.kind, address, test.env)
			if text := d.Ask("listen tcp "+address+" web", "error"); !strings.Contains(text, "in use") {
				t.Error(text)
			}
			wantAnnouncedIn(t, d, true)
		})
	}
}

// TestPIDFDID: LISTEN_PIDFDID, since systemd 258, tells processes apart that have had the same PID, or
// have it in different namespaces.
func TestPIDFDID(t *testing.T) {
	if !HaveEvents {
		t.Skip("other systems have no pidfds")
	}
	var st unix.Statfs_t
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err == nil {
		defer unix.Close(fd)
		err = unix.Fstatfs(fd, &st)
	}
	if err != nil || st.Type != unix.PID_FS_MAGIC {
		t.Skip("pidfs needs Linux 6.9")
	}
	t.Run("own", func(t *testing.T) {
		address := "127.0.0.1:" + freePort(t)
		d := inPIDNamespace(t, "proc", address, pidfdEnv+"=own", "SYSTEMD_EXEC_PID=")
		d.Restart()
		d.Ask("listen tcp "+address+" web", "open")
		wantEcho(t, "tcp", address, 1)
	})
	t.Run("of another process", func(t *testing.T) {
		address := "127.0.0.1:" + freePort(t)
		d, _ := activated(t, "tcp|"+address, "web", pidfdEnv+"=4711")
		if text := d.Ask("listen tcp "+address+" web", "error"); !strings.Contains(text, "in use") {
			t.Error(text)
		}
	})
}

// wantAnnouncedIn is wantAnnounced for systemd before 258.
func wantAnnouncedIn(t *testing.T, d *Daemon, want bool) {
	t.Helper()
	if env := d.Ask("env", "env"); strings.Contains(env, "LISTEN_PID=") != want {
		t.Errorf("LISTEN_PID is in the environment: %v, want %v", !want, want)
	}
}
