//go:build !autorestart_portable

package sdnotify

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/sys"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestMain(m *testing.M) { testprocess.Main(m) }

// A receiver is a notify socket that the test reads.
type receiver struct {
	t    testing.TB
	path string
	fd   int
}

func newReceiver(t testing.TB, path string) *receiver {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	}
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{t, path, fd}
	t.Cleanup(r.close)
	return r
}

func (r *receiver) close() {
	if r.fd >= 0 {
		unix.Close(r.fd)
		os.Remove(r.path)
		r.fd = -1
	}
}

// receive returns the next message, or "" if there is none, and the number of its descriptors.
func (r *receiver) receive() (text string, fds []int) {
	r.t.Helper()
	b, oob := make([]byte, 2*MaxMessage), make([]byte, 1000)
	n, length, _, _, err := unix.Recvmsg(r.fd, b, oob, unix.MSG_CMSG_CLOEXEC)
	if err == unix.EAGAIN {
		return "", nil
	}
	if err != nil {
		r.t.Fatal(err)
	}
	if messages, _ := unix.ParseSocketControlMessage(oob[:length]); len(messages) > 0 {
		fds, _ = unix.ParseUnixRights(&messages[0])
	}
	return string(b[:n]), fds
}

func (r *receiver) want(texts ...string) {
	r.t.Helper()
	for _, want := range append(texts, "") {
		if got, _ := r.receive(); got != want {
			r.t.Fatalf("received %q, want %q", got, want)
		}
	}
}

func open(t testing.TB, address string) *Socket {
	t.Helper()
	s, err := Open(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func path(t testing.TB) string { return filepath.Join(testprocess.MemoryDir(t), "notify") }

func TestSend(t *testing.T) {
	for _, address := range []string{path(t), "@" + path(t)} {
		r := newReceiver(t, address)
		s := open(t, address)
		if closeOnExec, nonblocking, err := sys.Flags(s.fd.Int()); err != nil || !closeOnExec || !nonblocking {
			t.Errorf("close-on-exec %v, nonblocking %v, %v", closeOnExec, nonblocking, err)
		}
		longest := strings.Repeat("x", MaxMessage)
		for _, state := range []string{"READY=1", longest} {
			if err := s.Send(state); err != nil {
				t.Error(err)
			}
		}
		for _, state := range []string{"", longest + "x"} {
			if err := s.Send(state); !errors.Is(err, syscall.EMSGSIZE) {
				t.Errorf("%d bytes: %v", len(state), err)
			}
		}
		r.want("READY=1", longest)
	}
}

// The messages of the queue and of the store are sent by several goroutines at the same time.
func TestSendAtTheSameTime(t *testing.T) {
	r := newReceiver(t, path(t))
	s := open(t, r.path)
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for range 100 {
				if err := s.Send("READY=1"); err != nil && !errors.Is(err, ErrFull) {
					t.Error(err)
				}
			}
		})
	}
	senders.Wait()
	if text, _ := r.receive(); text != "READY=1" {
		t.Errorf("received %q", text)
	}
}

// The address of the longest path or name leads to its socket.
func TestLongestAddresses(t *testing.T) {
	dir := testprocess.MemoryDir(t)
	for _, address := range []string{
		dir + "/" + strings.Repeat("x", 107-1-len(dir)),
		"@" + dir + "/" + strings.Repeat("x", 107-2-len(dir)),
	} {
		r := newReceiver(t, address)
		if err := open(t, address).Send("READY=1"); err != nil {
			t.Error(err)
		}
		r.want("READY=1")
	}
}

func TestDescriptors(t *testing.T) {
	r := newReceiver(t, path(t))
	s := open(t, r.path)
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := s.Send("FDSTORE=1\nFDNAME=a", int(f.Fd()), int(f.Fd())); err != nil {
		t.Fatal(err)
	}
	text, fds := r.receive()
	if text != "FDSTORE=1\nFDNAME=a" || len(fds) != 2 {
		t.Fatalf("received %q with %d descriptors", text, len(fds))
	}
	own, err := sys.StatFile(f)
	for _, fd := range fds {
		received := os.NewFile(uintptr(fd), "")
		if st, otherErr := sys.StatFile(received); err != nil || otherErr != nil || st.Ino != own.Ino {
			t.Errorf("inode %d, want %d; %v, %v", st.Ino, own.Ino, err, otherErr)
		}
		received.Close()
	}
}

// Send fails if nothing reads, if the socket is closed, and if it is missing. When there is another
// socket at the address, Send succeeds again.
func TestSendFails(t *testing.T) {
	r := newReceiver(t, path(t))
	s := open(t, r.path)
	sent := 0
	var err error
	for ; err == nil; sent++ {
		err = s.Send("STATUS=x")
	}
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "has not read") || sent > 300 {
		t.Errorf("after %d messages: %v", sent, err)
	}
	unix.Close(r.fd)
	r.fd = -1
	if err := s.Send("STATUS=x"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("closed: %v", err)
	}
	os.Remove(r.path)
	if err := s.Send("STATUS=x"); !errors.Is(err, syscall.ENOENT) || !strings.Contains(err.Error(), r.path) {
		t.Errorf("missing: %v", err)
	}
	other := newReceiver(t, r.path)
	if err := s.Send("STATUS=y"); err != nil {
		t.Error(err)
	}
	other.want("STATUS=y")
}

func TestBarrier(t *testing.T) {
	r := newReceiver(t, path(t))
	s := open(t, r.path)
	for s.Send("STATUS=x") == nil { // until it is full
	}
	result := make(chan error, 1)
	go func() { result <- s.Barrier(t.Context()) }()
	testprocess.WaitFor(t, "barrier", func() bool {
		text, fds := r.receive()
		if text != "BARRIER=1" || len(fds) != 1 {
			return false
		}
		select {
		case err := <-result:
			t.Errorf("Barrier has returned %v, before the descriptor is closed", err)
		default:
		}
		unix.Close(fds[0])
		return true
	})
	if err, _ := testprocess.Receive(t, "end of the barrier", result); err != nil {
		t.Error(err)
	}
}

// Barrier waits no longer than its context, whether there is room for it or not.
func TestBarrierEnds(t *testing.T) {
	r := newReceiver(t, path(t))
	s := open(t, r.path)
	for _, full := range []bool{false, true} {
		for full && s.Send("STATUS=x") == nil {
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := errors.New("ended")
		result := make(chan error, 1)
		go func() { result <- s.Barrier(ctx) }()
		cancel(ended)
		if err, _ := testprocess.Receive(t, "end of the barrier", result); err != ended {
			t.Errorf("full %v: %v", full, err)
		}
	}
	os.Remove(r.path)
	if err := s.Barrier(t.Context()); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("missing: %v", err)
	}
}

// newQueue returns a queue for the address, and its log lines.
func newQueue(t testing.TB, address string) (*Queue, *testprocess.Log) {
	log := new(testprocess.Log)
	q := NewQueue(open(t, address), slog.New(slog.NewTextHandler(log, nil)))
	t.Cleanup(func() { // before the socket is closed
		q.mu.Lock()
		defer q.mu.Unlock()
		q.stopTimer()
		q.waiting = Message{}
	})
	return q, log
}

// pass has time pass in a bubble of synctest.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// What can't be sent waits, and is sent as one message when there is room. There is one timer, and
// none when nothing waits.
func TestQueueIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, path(t))
		q, log := newQueue(t, r.path)
		sent := []string{}
		for q.waiting == (Message{}) {
			q.Send(Message{Watchdog: true})
			sent = append(sent, "WATCHDOG=1")
		}
		sent = sent[:len(sent)-1]
		q.Send(Message{Reloading: time.Second, Status: "a"})
		q.Send(Message{Ready: true, Status: "b"})
		pass(lastRetry)
		if log.String() != "" {
			t.Errorf("after a moment it has logged %s", log)
		}
		r.want(sent...)
		pass(lastRetry)
		r.want("RELOADING=1\nMONOTONIC_USEC=1000000\nREADY=1\nWATCHDOG=1\nSTATUS=b")
		if q.timer != nil {
			t.Error("a timer runs while nothing waits")
		}
		q.Send(Message{Watchdog: true})
		r.want("WATCHDOG=1")
	})
}

// After STOPPING=1 nothing follows but what keeps the watchdog from ending the program: EXTEND_TIMEOUT_USEC would have
// systemd wait longer for the end. What waits is sent before it.
func TestQueueStops(t *testing.T) {
	r := newReceiver(t, path(t))
	q, _ := newQueue(t, r.path)
	q.Send(Message{Stopping: true})
	r.want("STOPPING=1")
	q.Send(Message{Extend: time.Second})
	q.Send(Message{Reloading: time.Second, Ready: true, Status: "a"})
	r.want()
	q.Send(Message{Extend: time.Second, Watchdog: true})
	r.want("WATCHDOG=1")
}

// One line says that nothing is read, and one that it is again.
func TestQueueLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, path(t))
		q, log := newQueue(t, r.path)
		for range 1000 {
			q.Send(Message{Watchdog: true})
		}
		pass(time.Minute)
		if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), "has not read") {
			t.Errorf("it has logged %s", log)
		}
		for text, _ := r.receive(); text != ""; text, _ = r.receive() {
		}
		pass(2 * lastRetry)
		r.want("WATCHDOG=1")
		if n := strings.Count(log.String(), "level=INFO"); n != 1 {
			t.Errorf("it has logged %s", log)
		}
	})
}

// While there is no receiver, nothing is tried until the next message, which says everything, unless a reload
// waits for it.
func TestQueueWithoutReceiver(t *testing.T) {
	address := path(t)
	q, log := newQueue(t, address)
	q.Send(Message{Watchdog: true})
	if q.timer != nil {
		t.Error("a timer runs")
	}
	q.Send(Message{Ready: true})
	if q.timer == nil || q.pause != firstSlowRetry {
		t.Errorf("the next attempt is in %v", q.pause)
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), "no such file") {
		t.Errorf("it has logged %s", log)
	}
	r := newReceiver(t, address)
	q.Send(Message{Status: "a"})
	r.want("READY=1\nWATCHDOG=1\nSTATUS=a")
	r.close()
	q.Send(Message{Status: "b"})
	if n := strings.Count(log.String(), "level=WARN"); n != 2 {
		t.Errorf("it has logged %s", log)
	}
}
