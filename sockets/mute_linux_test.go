//go:build !autorestart_portable

package sockets

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/image/imagetest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestParseEntry(t *testing.T) {
	const info = "pos:\t0\nflags:\t02000002\nmnt_id:\t17\nino:\t1039\n" +
		"tfd:        5 events: 8000201d data: 3ffd74827f000002  pos:0 ino:217afed sdev:9\n" +
		"tfd:       15 events: 8000201d data: ffffffffffffffff  pos:0 ino:15 sdev:9\n" +
		"tfd:        6 events:       19 data:           6532f0  pos:0 ino:40f sdev:10\n" +
		"tfd:        7 events: 8000201d data:                7  pos:0 ino:71 sdev:9\n" +
		"tfd:        7 events: 8000201d data:                8  pos:0 ino:72 sdev:9\n" +
		"tfd:        8 events: 8000201d data: 1\n"
	for _, c := range []struct {
		fd    int
		inode uint64
		want  epollEntry
	}{
		{5, 0x217afed, epollEntry{3, 0x8000201d, 0x3ffd74827f000002}},
		{15, 0x15, epollEntry{3, 0x8000201d, 1<<64 - 1}},
		{5, 1, epollEntry{}},
		{6, 0x40f, epollEntry{}}, // as the runtime's own descriptor
		{7, 0x72, epollEntry{3, 0x8000201d, 8}},
		{8, 1, epollEntry{3, 0x8000201d, 1}}, // of an older kernel
		{9, 1, epollEntry{}},
	} {
		if got := parseEntry([]byte(info), 3, c.fd, c.inode); got != c.want {
			t.Errorf("descriptor %d, inode %x: %+v, want %+v", c.fd, c.inode, got, c.want)
		}
	}
}

// asksForData reports whether the runtime notices that s has data.
func asksForData(t *testing.T, s syscall.Conn) bool {
	t.Helper()
	fd, err := descriptorOf(s)
	if err != nil {
		t.Fatal(err)
	}
	epoll := int(runtimeEpoll.Load())
	info := string(testprocess.ReadFile(t, "/proc/self/fdinfo/"+strconv.Itoa(epoll)))
	for line := range strings.Lines(info) {
		if fields := strings.Fields(line); fields[0] == "tfd:" && fields[1] == strconv.Itoa(fd) {
			events, err := strconv.ParseUint(fields[3], 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			if events&syscall.EPOLLOUT == 0 || events&syscall.EPOLLRDHUP == 0 {
				t.Errorf("the runtime asks for %x", events)
			}
			return events&syscall.EPOLLIN != 0
		}
	}
	t.Fatalf("the runtime has not registered descriptor %d", fd)
	return false
}

// A quiesced socket whose clients another process serves is muted. It works as before when it
// resumes, by a call of Accept from before and by one from after.
func TestQuiescedSocketIsMuted(t *testing.T) {
	b := startBesides(t)
	if asksForData(t, b.to.socket) || !asksForData(t, b.from.socket) {
		t.Error("a held listener is not muted, or another one is")
	}
	accepted := accept(b.to)
	dialListener(t, b.from)
	acceptConn(t, b.from).Close()
	b.serve(imagetest.GiveTo(b.second))
	if !asksForData(t, b.to.socket) {
		t.Error("a listener that serves is muted")
	}
	dialListener(t, b.to)
	wantResult(t, accepted, nil)
	for range 3 {
		accepted := accept(b.from)
		d := b.drain()
		if asksForData(t, b.from.socket) {
			t.Error("a quiesced listener is not muted")
		}
		listenerDrainer{b.to}.Quiesce() // the next client is for the first one
		dialListener(t, b.from)
		d.Resume()
		if !asksForData(t, b.from.socket) {
			t.Error("a listener that has resumed is muted")
		}
		wantResult(t, accepted, nil)
		accepted = accept(b.from)
		dialListener(t, b.from)
		wantResult(t, accepted, nil)
		listenerDrainer{b.to}.Resume()
	}
}

// Without another process, a drain takes the newcomers: nothing is muted.
func TestDrainAloneMutesNothing(t *testing.T) {
	b := startBesides(t)
	d := b.drain()
	if !asksForData(t, b.from.socket) {
		t.Error("muted")
	}
	d.Resume()
}

// Packets can be sent on a muted socket.
func TestMutedPacketConnSends(t *testing.T) {
	imagetest.Start(t)
	path := filepath.Join(t.TempDir(), "socket")
	conn, err := ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	peer, err := net.ListenPacket("unixgram", path+"2")
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	image.Current().Beside.SetServes(true)
	d, err := image.Current().Drainers.Begin(t.Context(), time.Minute, nil)
	if err != nil {
		t.Fatal(err)
	}
	if asksForData(t, conn.(*unixgramConn).socket) {
		t.Error("a quiesced packet connection is not muted")
	}
	const packets = 1000 // more than fit in the queue: writes wait for room
	written := make(chan error, 1)
	go func() {
		for range packets {
			if _, err := conn.WriteTo([]byte("text"), peer.LocalAddr()); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	b := make([]byte, 10)
	for range packets {
		if _, _, err := peer.ReadFrom(b); err != nil {
			t.Fatal(err)
		}
	}
	wantResult(t, written, nil)
	d.Resume()
	if !asksForData(t, conn.(*unixgramConn).socket) {
		t.Error("a packet connection that has resumed is muted")
	}
}

// A sleeper has sockets from which another process would take what comes.
var (
	_ = testprocess.RegisterHelper("muted sleeper", func() {
		image.Current().Beside.SetServes(true)
		image.Current().Drainers.Hold()
		sleep(Listen("tcp", "127.0.0.1:0"))(ListenPacket("udp", "127.0.0.1:0"))
	})
	_ = testprocess.RegisterHelper("sleeper", func() {
		sleep(net.Listen("tcp", "127.0.0.1:0"))(net.ListenPacket("udp", "127.0.0.1:0"))
	})
)

// sleep says where the sockets are, and returns at the end of standard input.
func sleep(l net.Listener, err error) func(net.PacketConn, error) {
	return func(conn net.PacketConn, connErr error) {
		if err != nil || connErr != nil {
			panic(errors.Join(err, connErr))
		}
		other, _ := net.Listen("tcp", "127.0.0.1:0")
		go other.Accept() // the runtime waits for events if any goroutine does
		fmt.Println(l.Addr(), conn.LocalAddr())
		io.Copy(io.Discard, os.Stdin)
	}
}

// A muted process sleeps while clients come.
func TestMutedProcessSleeps(t *testing.T) {
	wakeups := map[string]int{}
	for _, helper := range []string{"sleeper", "muted sleeper"} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), testprocess.UseHelper(t, helper))
		cmd.Stderr = os.Stderr
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			stdin.Close()
			cmd.Wait()
		})
		var listener, packets string
		if _, err := fmt.Fscan(stdout, &listener, &packets); err != nil {
			t.Fatal(err)
		}
		sender, err := net.Dial("udp", packets)
		if err != nil {
			t.Fatal(err)
		}
		defer sender.Close()
		const clients = 300
		before := switches(t, cmd.Process.Pid)
		for range clients {
			conn, err := net.Dial("tcp", listener)
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			io.WriteString(sender, "packet")
			time.Sleep(time.Millisecond)
		}
		wakeups[helper] = switches(t, cmd.Process.Pid) - before
		t.Logf("%s: %d clients and packets wake it %d times", helper, clients, wakeups[helper])
	}
	if wakeups["muted sleeper"] > wakeups["sleeper"]/2 {
		t.Errorf("a muted process wakes up %d times, another one %d times", wakeups["muted sleeper"], wakeups["sleeper"])
	}
}

// switches returns how often the threads of a process have waited.
func switches(t *testing.T, pid int) (n int) {
	t.Helper()
	tasks, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/status")
	if err != nil || len(tasks) == 0 {
		t.Fatal("no threads: ", err)
	}
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		_, rest, _ := strings.Cut(string(b), "\nvoluntary_ctxt_switches:")
		line, _, _ := strings.Cut(rest, "\n")
		count, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		n += count
	}
	return n
}
