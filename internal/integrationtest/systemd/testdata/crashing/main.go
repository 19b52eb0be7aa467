// Command crashing is a server for units of tests that ends in different ways. It counts its requests, and finds the
// count again when systemd starts it anew.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/sockets"
	"github.com/autorestart-go/autorestart/systemd"
)

var version = "version 0000000001"

func number() int {
	n, _ := strconv.Atoi(strings.TrimPrefix(version, "version "))
	return n
}

// Versions that differ from the others.
const (
	slow   = 500 // waits for the file "go" before it claims anything
	half   = 501 // waits for it when it has claimed a listener, and serves nothing meanwhile
	fewer  = 502 // does not listen at the last address
	panics = 666 // panics before it is ready
	plain  = 700 // does not use package systemd
)

func main() {
	addresses := flag.String("addresses", "127.0.0.1:8100", "`addresses` to listen at, separated by commas; one with a / is a Unix socket")
	watch := flag.Bool("watch", true, "restart when another version is deployed")
	files := flag.Bool("files", false, "pass a file in memory and a pipe on")
	readyTimeout := flag.Duration("ready-timeout", 10*time.Second, "the `time` that a new version has; 0: it is never rolled back")
	packets := flag.String("packets", "", "`address` of a UDP socket whose datagrams are answered")
	sighup := flag.Bool("sighup", false, "restart at SIGHUP")
	own := flag.Bool("own", false, "have systemd store a file beside those of the library")
	flag.Parse()
	defer autorestart.RollbackUnlessReady()
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if *own {
		http.HandleFunc("/own", ownFile())
	}
	restarter := &autorestart.Restarter{Logger: slog.Default(), ReadyTimeout: *readyTimeout}
	var stuck atomic.Bool
	service := systemd.Service{Restarter: restarter, Logger: slog.Default(), Check: func(context.Context) error {
		for stuck.Load() {
			time.Sleep(time.Hour)
		}
		return nil
	}}
	if number() == plain {
		slog.Info("systemd is not notified")
	} else if err := service.Start(); err != nil {
		slog.Warn("systemd is not notified", "reason", err)
	}
	if *watch {
		go func() { slog.Error("the restarter has ended", "error", restarter.Run(context.Background())) }()
	}
	if *sighup {
		restartAt(autorestart.NotifyOnSighup(), restarter)
	}
	switch number() {
	case slow:
		awaitGo()
	case panics:
		panic("this version panics")
	}
	if *files {
		http.HandleFunc("/files", passFiles())
	}

	var mu sync.Mutex
	count := uint64(0)
	if b, ok := autorestart.State("count"); ok {
		count = binary.BigEndian.Uint64(b)
	}
	pid := strconv.Itoa(os.Getpid())
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, number()) })
	http.HandleFunc("/ready", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, autorestart.LastRestart().Ready.UnixNano())
	})
	http.HandleFunc("/count", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		count++
		autorestart.SetState("count", binary.BigEndian.AppendUint64(nil, count))
		w.Header().Set("PID", pid)
		fmt.Fprint(w, count)
	})
	var listeners []net.Listener
	http.HandleFunc("/hold", func(http.ResponseWriter, *http.Request) {
		slog.Info("holding a request")
		await("release")
	})
	http.HandleFunc("/crash", func(_ http.ResponseWriter, r *http.Request) {
		switch by := r.FormValue("by"); by {
		case "end": // as most programs end
			closeAll(listeners)
			os.Exit(0)
		case "shutdown": // as after `ss --kill`
			shutDown(listeners)
			crash("kill")
		case "check": // the watchdog ends it
			stuck.Store(true)
		case "stop", "late": // as slow programs end, which should call Stopping
			if by == "stop" {
				service.Stopping()
			}
			closeAll(listeners)
			go func() {
				await("release")
				os.Exit(0)
			}()
		default:
			crash(by)
		}
	})
	if *packets != "" {
		answerPackets(*packets)
	}
	all := strings.Split(*addresses, ",")
	if number() == fewer {
		all = all[:len(all)-1]
	}
	for _, address := range all {
		network := "tcp"
		if strings.Contains(address, "/") {
			network = "unix"
		}
		listener, err := sockets.Listen(network, address)
		if err != nil {
			slog.Error("cannot listen", "error", err)
			os.Exit(1)
		}
		listeners = append(listeners, listener)
		if number() == half {
			awaitGo()
		}
	}
	for _, listener := range listeners {
		go serve(listener)
	}
	autorestart.Ready()
	slog.Info("serving", "version", number(), "generation", autorestart.Generation(), "count", count)
	select {}
}

// restartAt restarts the program at each signal.
func restartAt(signals <-chan os.Signal, restarter *autorestart.Restarter) {
	go func() {
		for range signals {
			slog.Warn("not restarted", "reason", restarter.Restart(context.Background()))
		}
	}()
}

func serve(listener net.Listener) {
	slog.Error("the server has ended", "error", httpserve.Serve(new(http.Server), listener))
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		l.Close()
	}
}

// shutDown has the listeners listen no more, whoever has them open.
func shutDown(listeners []net.Listener) {
	for _, l := range listeners {
		raw := must(l.(syscall.Conn).SyscallConn())
		raw.Control(func(fd uintptr) { syscall.Shutdown(int(fd), syscall.SHUT_RDWR) })
	}
}

func awaitGo() {
	slog.Info("waiting", "generation", autorestart.Generation())
	await("go")
}

// await waits until a file beside the executable exists.
func await(name string) {
	for name = filepath.Join(filepath.Dir(os.Args[0]), name); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(name); err == nil {
			return
		}
	}
}

// crash ends the program.
func crash(by string) {
	switch by {
	case "panic":
		go panic("as asked for")
	case "exit":
		os.Exit(3)
	case "memory": // the kernel ends it
		var held [][]byte
		for range 1 << 10 {
			held = append(held, bytes.Repeat([]byte{1}, 1<<20))
		}
		go panic("no limit for " + strconv.Itoa(len(held)) + " MB of memory")
	case "segv":
		syscall.Kill(os.Getpid(), syscall.SIGSEGV)
	default:
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	select {}
}
