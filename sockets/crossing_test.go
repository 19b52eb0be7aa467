//go:build linux

package sockets

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// park returns a connection that is parked as soon as the listener is quiesced, and the result
// of its reader.
func park(t *testing.T, l *listener) (conn *tcpConn, read <-chan error) {
	t.Helper()
	conn = connect(t, l)
	httpConn{conn.stream}.BetweenRequests(true)
	result := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 4096))
		result <- err
	}()
	return conn, result
}

// handedOver calls f with the descriptors that cross an exec at this moment.
func handedOver(t *testing.T, f func(fds []int)) {
	t.Helper()
	h := new(handover.State)
	if err := currentRegistry().Store.HandOver(h, func() error {
		f(h.Numbers[handover.File])
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func descriptor(t *testing.T, c syscall.Conn) (n int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { n = int(fd) })
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A parked connection crosses with the descriptor that it has: a duplicate may be one too many.
func TestParkedConnectionCrossesWithoutDuplicate(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	conn, _ := park(t, l)
	fd := descriptor(t, conn)
	before := len(openFiles(t))
	listenerDrainer{l}.Quiesce()
	if err := (listenerDrainer{l}).Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.stopTaking()
	if after := len(openFiles(t)); after != before {
		t.Errorf("%d descriptors while a connection is parked, %d before", after, before)
	}
	handedOver(t, func(fds []int) {
		if !slices.Contains(fds, fd) {
			t.Errorf("%d cross, without %d", fds, fd)
		}
	})
	listenerDrainer{l}.Resume()
	// It is passed on until its reader has noticed.
	testprocess.WaitFor(t, "end of the passing", func() (ended bool) {
		handedOver(t, func(fds []int) { ended = !slices.Contains(fds, fd) })
		return ended
	})
}

func openFiles(t *testing.T) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// A connection may be closed in every moment before the exec, and in several ways. No other file
// that gets its number may cross in its place.
func TestNoOtherFileCrossesForClosedConnection(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	t.Cleanup(func() {
		testprocess.WaitFor(t, "end of the connections", func() bool { return len(l.allStreams()) == 0 })
	})
	stop := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() { // takes every number that becomes free
		for {
			select {
			case <-stop:
				return
			default:
				if f, err := os.Open(os.DevNull); err == nil {
					f.Close()
				}
			}
		}
	})
	for range 10 {
		var readers []<-chan error
		var conns []*tcpConn
		for range 30 {
			conn, read := park(t, l)
			conns, readers = append(conns, conn), append(readers, read)
		}
		listenerDrainer{l}.Quiesce()
		var closing sync.WaitGroup
		for i, conn := range conns {
			closing.Go(func() {
				switch i % 3 {
				case 0:
					conn.Close()
				case 1:
					httpConn{conn.stream}.SetHalfClose()
					conn.Close()
				case 2: // as an idle timeout
					conn.SetReadDeadline(time.Now())
					<-readers[i]
					conn.Close()
				}
			})
		}
		for range 30 {
			handedOver(t, func(fds []int) {
				for _, fd := range fds {
					if _, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TYPE); err != nil {
						target, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
						t.Errorf("descriptor %d crosses, which is %q: %v", fd, target, err)
					}
				}
			})
		}
		closing.Wait()
		listenerDrainer{l}.Resume()
		if t.Failed() {
			break
		}
	}
	close(stop)
	others.Wait()
}

// inherit makes l inherit a connection, and returns the client's side and the descriptor.
func inheritConnection(t *testing.T, l *listener, as kind) (client net.Conn, fd int) {
	t.Helper()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if client, err = net.Dial("tcp", other.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	conn, err := other.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if fd, err = syscall.Dup(descriptor(t, conn.(*net.TCPConn))); err != nil {
		t.Fatal(err)
	}
	old := l.connectionKey(as)
	currentRegistry().Store.Lend(old.passedName(), fd, nil, time.Now())
	unlock := currentRegistry().lock()
	currentRegistry().connections = append(currentRegistry().connections, old)
	unlock()
	l.inheritConnections(l.key)
	return client, fd
}

// limitDescriptors sets the soft RLIMIT_NOFILE until the end of the test, or until lift is called,
// so that n descriptors are free. It is at least 256, however few are open, because a smaller one
// makes the listeners keep fewer in reserve.
func limitDescriptors(t *testing.T, n int) (lift func()) {
	t.Helper()
	closeForgotten()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	entries := openFiles(t)
	highest := 255
	for _, entry := range entries {
		if fd, err := strconv.Atoi(entry.Name()); err == nil {
			highest = max(highest, fd)
		}
	}
	var filling []*os.File
	for len(filling) == 0 || int(filling[len(filling)-1].Fd()) <= highest {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		filling = append(filling, f)
	}
	limit := before
	limit.Cur = uint64(int(filling[len(filling)-1].Fd()) + 1 + n)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	lift = sync.OnceFunc(func() {
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before)
		for _, f := range filling {
			f.Close()
		}
	})
	t.Cleanup(lift)
	return lift
}

// closeForgotten has the connections closed that other tests have left to the garbage collector.
func closeForgotten() {
	for range 2 {
		done := make(chan struct{})
		runtime.SetFinalizer(new([16]int), func(*[16]int) { close(done) })
		runtime.GC()
		<-done
	}
}

// A connection that can't be accepted for want of a descriptor is accepted when there is one.
func TestInheritedConnectionWaitsForDescriptor(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	httpListener{l}.AcceptParked()
	client, _ := inheritConnection(t, l, parked)
	lift := limitDescriptors(t, 0)
	l.SetDeadline(time.Now().Add(3 * retryInterval))
	if err, _ := testprocess.Receive(t, "end of Accept", accept(l)); err == nil {
		t.Error("accepted a connection without a descriptor")
	}
	l.SetDeadline(time.Time{})
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- conn
	}()
	handedOver(t, func(fds []int) {
		if len(fds) < 2 {
			t.Errorf("%d cross, without the connection", fds)
		}
	})
	lift()
	conn, _ := testprocess.Receive(t, "connection", accepted)
	defer conn.Close()
	if conn.RemoteAddr().String() != client.LocalAddr().String() {
		t.Errorf("accepted a connection from %v, want %v", conn.RemoteAddr(), client.LocalAddr())
	}
}

// If the program closes a listener during a restart, what it has not accepted crosses with it.
func TestInheritedConnectionOfListenerClosedInDrain(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	httpListener{l}.AcceptParked()
	client, fd := inheritConnection(t, l, parked)
	listenerDrainer{l}.Quiesce()
	l.Close()
	handedOver(t, func(fds []int) {
		if !slices.Contains(fds, fd) {
			t.Errorf("%d cross, without %d", fds, fd)
		}
	})
	listenerDrainer{l}.Resume()
	defer testprocess.LimitIO(client, time.Minute)()
	if n, err := client.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("read %d, %v from a connection of a closed listener", n, err)
	}
}

// A half-closed connection crosses at each moment, also while it is made a stream.
func TestInheritedHalfClosedConnectionCrosses(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	before := countKind(halfClosed)
	l.mu.Lock() // it can't be added to the streams of the listener
	defer l.mu.Unlock()
	inheritConnection(t, l, halfClosed)
	for start := time.Now(); time.Since(start) < 50*time.Millisecond; {
		if n := countKind(halfClosed) - before; n != 1 {
			t.Fatalf("%d would cross", n)
		}
	}
}
