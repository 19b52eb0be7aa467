//go:build linux && !autorestart_portable

package systemd_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/sdnotify"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A receiver is the notify socket of a test in the role of process 1.
type receiver struct {
	t        testing.TB
	address  string
	file     *os.File
	messages chan message
	last     int64              // MONOTONIC_USEC
	daemon   *daemontest.Daemon // whose main process sends everything; nil if the test does
}

type message struct {
	text string
	pid  int // of the sender
}

// addresses are the kinds of addresses that a receiver may have.
func addresses(t testing.TB) map[string]string {
	path := filepath.Join(testprocess.MemoryDir(t), "notify")
	return map[string]string{"path": path, "abstract": "@" + path}
}

// bind opens a notify socket that nothing is read from.
func bind(t testing.TB, address string) *receiver {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: address})
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{t: t, address: address, file: os.NewFile(uintptr(fd), address), messages: make(chan message, 1000)}
	t.Cleanup(func() { r.file.Close() })
	return r
}

// filling is a message that the test sends.
const filling = "STATUS=full"

// fill sends messages until no other process can send one.
func (r *receiver) fill() {
	r.t.Helper()
	for more := true; more; { // one socket alone may have less room than the receiver
		socket, err := sdnotify.Open(r.address)
		if err != nil {
			r.t.Fatal(err)
		}
		more = false
		for err == nil {
			if err = socket.Send(filling); err == nil {
				more = true
			}
		}
		if !errors.Is(err, sdnotify.ErrFull) {
			r.t.Fatal(err)
		}
		socket.Close()
	}
}

// listen opens a notify socket.
func listen(t testing.TB, address string) *receiver {
	t.Helper()
	r := bind(t, address)
	r.read()
	return r
}

// read begins to read.
func (r *receiver) read() {
	conn, err := r.file.SyscallConn()
	if err != nil {
		r.t.Fatal(err)
	}
	go func() {
		for b, oob := make([]byte, 10<<10), make([]byte, 1000); ; {
			var n, length int
			var err error
			wait := conn.Read(func(fd uintptr) bool {
				n, length, _, _, err = unix.Recvmsg(int(fd), b, oob, 0)
				return err != unix.EAGAIN
			})
			if wait != nil || err != nil {
				return
			}
			m := message{text: string(b[:n])}
			if control, err := unix.ParseSocketControlMessage(oob[:length]); err == nil && len(control) > 0 {
				if sender, err := unix.ParseUnixCredentials(&control[0]); err == nil {
					m.pid = int(sender.Pid)
				}
			}
			if m.text != filling {
				r.messages <- m
			}
		}
	}()
}

// newService prepares a daemon that notifies r.
func (r *receiver) newService(env ...string) *daemontest.Daemon {
	r.t.Helper()
	d := daemontest.New(r.t, "service")
	r.daemon = d
	d.Setenv("NOTIFY_SOCKET=" + r.address)
	d.Setenv("SYSTEMD_EXEC_PID=") // the tests may be a part of a unit
	for _, kv := range env {
		d.Setenv(kv)
	}
	return d
}

// startService starts one, which is ready.
func (r *receiver) startService(env ...string) *daemontest.Daemon {
	r.t.Helper()
	d := r.newService(env...)
	d.Start()
	d.Tell("ready")
	r.want("READY=1", "STATUS="+name(r.t)+" serves, generation 0")
	return d
}

var monotonic = regexp.MustCompile(`(?m)^MONOTONIC_USEC=(\d+)$`)

// next returns the next message, without the number of MONOTONIC_USEC, which must be right. It must come from the
// main process: with NotifyAccess=main systemd ignores any other.
func (r *receiver) next() string {
	r.t.Helper()
	m, _ := testprocess.Receive(r.t, "message", r.messages)
	want := os.Getpid()
	if r.daemon != nil {
		want = r.daemon.PID()
	}
	if m.pid != want {
		r.t.Errorf("process %d has sent %q, want process %d", m.pid, m.text, want)
	}
	if field := monotonic.FindStringSubmatch(m.text); field != nil {
		at, _ := strconv.ParseInt(field[1], 10, 64)
		if now := sdnotify.Monotonic().Microseconds(); at <= r.last || at > now {
			r.t.Errorf("MONOTONIC_USEC=%d, want a number from %d to %d", at, r.last+1, now)
		}
		r.last = at
	}
	return monotonic.ReplaceAllString(m.text, "MONOTONIC_USEC=")
}

// want waits for the next message, which must have these fields.
func (r *receiver) want(fields ...string) {
	r.t.Helper()
	if got, want := r.next(), strings.Join(fields, "\n"); got != want {
		r.t.Fatalf("received %q, want %q", got, want)
	}
}

// wantNothing shows that no message has come.
func (r *receiver) wantNothing() {
	r.t.Helper()
	if len(r.messages) > 0 {
		r.t.Errorf("received %q, want nothing", r.next())
	}
}
