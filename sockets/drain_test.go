//go:build linux

package sockets_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// load has clients ask the daemon until stop is called. Every question must be
// answered.
func load(t *testing.T, clients int, ask func(client, n int) error) (answers *atomic.Int64, stop func()) {
	answers = new(atomic.Int64)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				if err := ask(client, n); err != nil {
					t.Errorf("client %d, question %d: %v", client, n, err)
					return
				}
				answers.Add(1)
			}
		})
	}
	return answers, func() {
		close(done)
		wg.Wait()
	}
}

// askOnce returns a function that asks on a connection of its own.
func askOnce(network, address string) func(client, n int) error {
	return func(client, n int) error {
		conn, err := net.Dial(network, address)
		if err != nil {
			return err
		}
		defer conn.Close()
		return ask(conn, client, n)
	}
}

func ask(conn net.Conn, client, n int) error {
	defer testprocess.LimitIO(conn, time.Minute)()
	question := fmt.Sprintf("%d.%d", client, n)
	if _, err := io.WriteString(conn, question); err != nil {
		return err
	}
	b := make([]byte, 100)
	size, err := conn.Read(b)
	if err != nil {
		return err
	}
	if _, answer, _ := strings.Cut(string(b[:size]), " "); answer != question {
		return fmt.Errorf("answer %q", b[:size])
	}
	return nil
}

// restartUnderLoad restarts a daemon twenty times, each time after the given number of
// further answers.
func restartUnderLoad(t *testing.T, d *Daemon, listen string, answers *atomic.Int64, more int64) {
	t.Helper()
	for range 20 {
		before := answers.Load()
		WaitFor(t, "answers", func() bool { return answers.Load() > before+more })
		d.Restart()
		d.Ask(listen, "open")
		d.Ask("ready", "done")
	}
}

func TestNoConnectionIsLost(t *testing.T) {
	for _, network := range []string{"tcp", "unix", "unixpacket"} {
		t.Run(network, func(t *testing.T) {
			address := "127.0.0.1:0"
			if network != "tcp" {
				address = filepath.Join(t.TempDir(), "socket")
			}
			listen := "listen " + network + " " + address
			d := Start(t, "echo")
			answers, stop := load(t, 4, askOnce(network, d.Ask(listen, "open")))
			restartUnderLoad(t, d, listen, answers, 20)
			stop()
			t.Logf("%d connections", answers.Load())
		})
	}
}

func TestNoPacketIsLost(t *testing.T) {
	for _, network := range []string{"udp", "unixgram"} {
		t.Run(network, func(t *testing.T) {
			address := "127.0.0.1:0"
			if network != "udp" {
				address = filepath.Join(t.TempDir(), "socket")
			}
			listen := "listen " + network + " " + address
			d := Start(t, "echo")
			address = d.Ask(listen, "open")
			// Each client has one packet on the way. More could fill the kernel's queue
			// while the daemon does not read.
			var conns []net.Conn
			for range 8 {
				conns = append(conns, dial(t, network, address))
			}
			answers, stop := load(t, len(conns), func(client, n int) error { return ask(conns[client], client, n) })
			restartUnderLoad(t, d, listen, answers, 50)
			stop()
			t.Logf("%d packets", answers.Load())
		})
	}
}

func TestSocketContinuesWhenRestartIsCalledOff(t *testing.T) {
	for _, network := range []string{"tcp", "udp"} {
		t.Run(network, func(t *testing.T) {
			d := Start(t, "echo")
			address := d.Ask("listen "+network+" 127.0.0.1:0", "open")
			for range 3 {
				d.Ask("restart-off", "before")
				// The daemon is quiesced.
				conn := dial(t, network, address)
				send(t, conn, "waiting")
				conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
				if n, err := conn.Read(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("read %d bytes, %v before an exec", n, err)
				}
				d.Ask("continue", "off")
				conn.SetReadDeadline(time.Time{})
				want(t, conn, "0 waiting")
				conn.Close()
				wantEcho(t, network, address, 0)
			}
			d.Restart()
			d.Ask("listen "+network+" 127.0.0.1:0", "open")
			wantEcho(t, network, address, 1)
		})
	}
}

func TestOpenConnectionIsWaitedForAndSeesDraining(t *testing.T) {
	d := Start(t, "echo")
	address := d.Ask("listen tcp 127.0.0.1:0", "open")
	conn := dial(t, "tcp", address)
	send(t, conn, "stay")
	want(t, conn, "staying")
	d.Tell("restart")
	want(t, conn, "draining")
	early := dial(t, "tcp", address)
	send(t, early, "early")
	conn.Close() // the exec waits for this
	d.Want("start")
	d.Ask("listen tcp 127.0.0.1:0", "open")
	want(t, early, "1 early")
}

func TestOpenConnectionIsCutOffAfterDrainTimeout(t *testing.T) {
	d := Start(t, "echo", logEnv+"=1")
	address := d.Ask("listen tcp 127.0.0.1:0", "open")
	conn := dial(t, "tcp", address)
	send(t, conn, "stay forever")
	want(t, conn, "staying")
	start := time.Now()
	d.Ask("restart-within 100ms", "start")
	if took := time.Since(start); took < 100*time.Millisecond {
		t.Errorf("cut off after %v", took)
	}
	if n, err := conn.Read(make([]byte, 100)); n != 0 || err == nil {
		t.Errorf("read %d bytes, %v from a connection that was cut off", n, err)
	}
	d.WantLogged("closing=\"1 connection of tcp " + address + "\"")
}

func TestTwoRestartsAtOnce(t *testing.T) {
	d := Start(t, "echo")
	address := d.Ask("listen tcp 127.0.0.1:0", "open")
	conn := dial(t, "tcp", address)
	send(t, conn, "stay")
	want(t, conn, "staying")
	d.Tell("restart")
	want(t, conn, "draining")
	d.Ask("restart-too", "begun")
	conn.Close()
	d.Want("start")
	d.Ask("listen tcp 127.0.0.1:0", "open")
	wantEcho(t, "tcp", address, 1)
	d.Restart()
	d.Ask("listen tcp 127.0.0.1:0", "open")
	wantEcho(t, "tcp", address, 2)
}

// Many programs shut their servers down before the exec.
func TestSocketClosedBeforeTheExecCrosses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	d := Start(t, "echo")
	d.Ask("listen unix "+path, "open")
	d.Ask("restart-close", "start")
	early := dial(t, "unix", path)
	send(t, early, "early")
	d.Ask("listen unix "+path, "open")
	want(t, early, "1 early")
	early.Close()

	d.Ask("restart-off close", "before")
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
	d.Ask("continue", "off")
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the path of a closed listener: %v", err)
	}
	if names := d.Ask("names", "names"); names != "" {
		t.Errorf("passed on: %q", names)
	}
}

// While there is no descriptor left for what an exec needs, the old version serves.
func TestOldVersionServesWhileDescriptorsAreMissing(t *testing.T) {
	for extra := 0; ; extra++ {
		d := Start(t, "echo")
		address := d.Ask("listen udp 127.0.0.1:0", "open")
		client := dial(t, "udp", address)
		d.Ask("big-state", "done")
		files := Must(strconv.Atoi(d.Ask("files", "files"))) - 1 // one is that of the directory
		d.Ask(fmt.Sprintf("nofile %d", files+extra), "done")
		d.Tell("restart")
		served := true
		for start := time.Now(); served && time.Since(start) < 500*time.Millisecond; {
			send(t, client, "hello")
			stop := testprocess.LimitIO(client, time.Second)
			_, err := client.Read(make([]byte, 100))
			stop()
			client.SetDeadline(time.Time{})
			served = err == nil
		}
		if !served { // there were enough descriptors
			d.Want("start")
			if extra == 0 {
				t.Error("no restart had to wait for a descriptor")
			}
			break
		}
		d.Tell("nofile 1000")
		for event := ""; event != "start"; {
			var text string
			if event, text = d.Next(); event != "start" && event != "done" { // the exec may come before the answer
				t.Fatalf("the daemon said %s %q", event, text)
			}
		}
	}
}
