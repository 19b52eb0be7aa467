//go:build linux

package sockets_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/testprocess"
	"github.com/autorestart-go/autorestart/sockets"
)

func TestMain(m *testing.M) {
	Main(m, map[string]func(){"echo": echoMain, "activate": activateMain})
}

// logEnv is set where an exec waits until all lines are written.
const logEnv = "AUTORESTART_TEST_LOG"

// echoMain is a daemon that opens the sockets that the test names. It answers what it
// reads, with its generation in front.
func echoMain() {
	var open []io.Closer
	calledOff := errors.New("called off")
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if os.Getenv(logEnv) != "" {
		image.Current().LogTime = testprocess.Timeout
	}
	r := &autorestart.Restarter{Logger: slog.Default()}
	commands := map[string]func(string){
		"listen": func(arg string) { // network address [name]
			fields := append(strings.SplitN(arg, " ", 3), "")
			config := sockets.Config{Name: fields[2]}
			if strings.HasPrefix(fields[0], "udp") || fields[0] == "unixgram" {
				conn, err := config.ListenPacket(context.Background(), fields[0], fields[1])
				if err != nil {
					Say("error", err)
					return
				}
				open = append(open, conn)
				go echoPackets(conn)
				Say("open", conn.LocalAddr())
				return
			}
			ln, err := config.Listen(context.Background(), fields[0], fields[1])
			if err != nil {
				Say("error", err)
				return
			}
			open = append(open, ln)
			go echoConnections(ln)
			Say("open", ln.Addr())
		},
		"claim": func(path string) { // and does not accept
			ln := Must(sockets.Listen("unix", path))
			Say("open", ln.Addr())
		},
		"close": func(arg string) {
			Say("closed", open[Must(strconv.Atoi(arg))].Close())
		},
		"trial": func(string) { // of the next version
			r.ReadyTimeout = time.Minute
			Say("done", "")
		},
		"health": func(timeout string) { // likewise
			r.HealthTimeout = Must(time.ParseDuration(timeout))
			Say("done", "")
		},
		"previous-is-older": func(string) { // and would close some kinds of connections
			handover.Inherited.Numbers[handover.Connections] = nil
			Say("done", "")
		},
		"fail": func(string) { Say("failed", autorestart.Rollback(nil)) },
		"ready": func(string) {
			autorestart.Ready()
			Say("done", "")
		},
		"names": func(string) { Say("names", strings.Trim(fmt.Sprintf("%q", image.Current().Store.Names()), "[]")) },
		"env": func(string) {
			var listen []string
			for _, kv := range os.Environ() {
				if strings.HasPrefix(kv, "LISTEN_") {
					listen = append(listen, kv)
				}
			}
			Say("env", listen)
		},
		"files": func(string) { Say("files", len(Must(os.ReadDir("/proc/self/fd")))) },
		"big-state": func(string) { // that crosses the exec in a file only
			autorestart.SetState("big", make([]byte, 100<<10))
			Say("done", "")
		},
		"nofile": func(arg string) {
			n := Must(strconv.ParseUint(arg, 10, 64))
			var limit syscall.Rlimit
			syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
			limit.Cur = n
			Say("done", syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
		},
		"restart": func(string) {
			autorestart.Ready() // no version is replaced before
			go func() { Say("failed", r.Restart(context.Background())) }()
		},
		"announce-drain": func(string) {
			autorestart.RegisterDrainer(announcer{})
			Say("done", "")
		},
		"log": func(string) { // what waits for a logger; there is one without a restart
			report.SetLogger(r.Logger)
			Say("done", "")
		},
		"restart-too": func(string) { // has read the whole command when it answers
			go func() { Say("failed", r.Restart(context.Background())) }()
			Say("begun", "")
		},
		"restart-off": func(arg string) { // the restart is called off at "continue"
			autorestart.Ready()
			off := autorestart.Restarter{Logger: r.Logger, BeforeExec: func(context.Context, *autorestart.ExecPlan) error {
				if arg == "close" {
					open[0].Close()
				}
				Say("before", "")
				<-proceed
				return calledOff
			}}
			go func() { Say("off", off.Restart(context.Background()) == calledOff) }()
		},
		"restart-close": func(string) { // the socket is closed before the exec
			r.BeforeExec = func(context.Context, *autorestart.ExecPlan) error { return open[0].Close() }
			go func() { Say("failed", r.Restart(context.Background())) }()
		},
		"restart-within": func(arg string) {
			r.DrainTimeout = Must(time.ParseDuration(arg))
			go func() { Say("failed", r.Restart(context.Background())) }()
		},
		"continue": func(string) { proceed <- true },
	}
	maps.Copy(commands, echoCommands)
	Obey(r, commands)
}

// echoCommands are further commands of the daemon.
var echoCommands = map[string]func(string){}

// An announcer says when everything is quiesced: no Drainer is drained before.
type announcer struct{}

func (announcer) Quiesce() {}
func (announcer) Resume()  {}
func (announcer) Drain(context.Context) error {
	Say("quiesced", "")
	return nil
}

var proceed = make(chan bool)

func echoConnections(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				Say("accept-error", err)
			}
			return
		}
		go func() {
			defer conn.Close()
			b := make([]byte, 1000)
			for {
				n, err := conn.Read(b)
				if err != nil {
					return
				}
				switch text := string(b[:n]); text {
				case "stay": // until a restart drains
					fmt.Fprint(conn, "staying")
					<-autorestart.Draining()
					fmt.Fprint(conn, "draining")
				case "stay forever":
					fmt.Fprint(conn, "staying")
					select {}
				default:
					fmt.Fprintf(conn, "%d %s", autorestart.Generation(), text)
				}
			}
		}()
	}
}

func echoPackets(conn net.PacketConn) {
	b := make([]byte, 1000)
	for {
		n, addr, err := conn.ReadFrom(b)
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				Say("read-error", err)
			}
			return
		}
		conn.WriteTo(fmt.Appendf(nil, "%d %s", autorestart.Generation(), b[:n]), addr)
	}
}

// dial connects to a socket of the daemon.
func dial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	d := new(net.Dialer)
	if network == "unixgram" {
		d.LocalAddr = &net.UnixAddr{Net: network, Name: t.TempDir() + "/client"}
	}
	ctx, stop := testprocess.WithTimeout(t.Context(), Timeout)
	defer stop()
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Cleanup(testprocess.LimitIO(conn, time.Minute))
	return conn
}

func send(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	b := make([]byte, 1000)
	n, err := conn.Read(b)
	if string(b[:n]) != text || err != nil {
		t.Fatalf("%s %s answered %q, %v; expected %q", conn.RemoteAddr().Network(), conn.RemoteAddr(), b[:n], err, text)
	}
}

// wantEcho checks that the given generation answers on a new connection.
func wantEcho(t *testing.T, network, address string, generation int) {
	t.Helper()
	conn := dial(t, network, address)
	defer conn.Close()
	send(t, conn, "hello")
	want(t, conn, fmt.Sprintf("%d hello", generation))
}
