//go:build linux && !autorestart_portable

package overlap

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/rawsys"
	"github.com/autorestart-go/autorestart/internal/testprocess"
	"github.com/autorestart-go/autorestart/sockets"
)

func TestMain(m *testing.M) { testprocess.Main(m) }

// Variables of the server's environment.
const (
	dirEnv   = "AUTORESTART_TEST_DIR"   // where its sockets and the files of the test are
	readyEnv = "AUTORESTART_TEST_READY" // ReadyTimeout
	drainEnv = "AUTORESTART_TEST_DRAIN" // DrainTimeout
	holdEnv  = "AUTORESTART_TEST_HOLD"  // set: a new version waits for a file of the test before it is ready
	noteEnv  = "AUTORESTART_TEST_NOTE"  // set: the server writes notes to its log
	gateEnv  = "AUTORESTART_TEST_GATE"  // set: a Gate waits for a file of the test before it gives leave
	certEnv  = "AUTORESTART_TEST_CERT"  // set: the server serves TLS, too, with the certificate and key of this name
)

// Versions that don't work, as a stand-in or in the main process.
const (
	panics = 10000 + iota // more than there are versions in any test
	panicsElsewhere
	exits
	logsFatal
	faults
	neverReady
	rollsBack
	returns
	failsInMain
	panicsInMain
	neverReadyInMain
)

// furtherAddress is the first version that listens at one more address.
const furtherAddress = 5000

// An identity is the answer of the server.
type identity struct {
	Version, PID, Generation int
	StandIn                  bool
	RolledBack               string
	Signals                  int64
	State                    string
	Children                 int   // that the program would find as inherited ones
	Reaped                   int64 // by reapers of the program
}

var reaped atomic.Int64

var signals atomic.Int64

var _ = testprocess.RegisterHelper("server", serve)

func serve() {
	defer autorestart.RollbackUnlessReady()
	autorestart.CleanUpChildZombiesQuietly()
	dir, version := os.Getenv(dirEnv), daemontest.Version()
	readyTimeout, _ := time.ParseDuration(os.Getenv(readyEnv))
	drainTimeout, _ := time.ParseDuration(os.Getenv(drainEnv))
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("version", version, "process", os.Getpid())
	hups := make(chan os.Signal, 1)
	autorestart.Notify(hups, syscall.SIGHUP)
	terms := make(chan os.Signal, 1)
	autorestart.Notify(terms, syscall.SIGTERM)
	go func() {
		for range hups {
			signals.Add(1)
		}
	}()
	go func() {
		<-terms
		logger.Info("terminating")
		os.Exit(0)
	}()
	r := autorestart.Restarter{Overlap: true, ReadyTimeout: readyTimeout, DrainTimeout: drainTimeout, Logger: logger}
	if os.Getenv(noteEnv) != "" {
		takeNotes(&r, version)
	}
	if os.Getenv(gateEnv) != "" {
		r.Gate = fileGate{dir, logger}
	}
	autorestart.RegisterDrainer(drainNote{drainFile(dir, identity{Version: version, StandIn: autorestart.StandIn()})})
	go func() { panic(r.Run(context.Background())) }()
	count := func(autorestart.ChildExit) { reaped.Add(1) }
	go (&autorestart.Reaper{Reaped: count}).Run(context.Background())
	go (&autorestart.Orphans{Subreaper: true, Reaped: count, Undecided: func(autorestart.Child) { reaped.Add(1) }}).Run(context.Background())
	path := filepath.Join(dir, "socket")
	if autorestart.Generation() == 0 {
		os.Remove(path) // of a process that was killed
	}
	ln := daemontest.Must(sockets.Listen("unix", path))
	tcp := daemontest.Must(sockets.Listen("tcp", address(dir, "tcp")))
	if version >= furtherAddress {
		ln := daemontest.Must(sockets.Listen("unix", filepath.Join(dir, "further")))
		go httpserve.Serve(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			json.NewEncoder(w).Encode(self(version))
		})}, ln)
	}
	packets := daemontest.Must(sockets.ListenPacket("udp", address(dir, "udp")))
	if autorestart.Generation() == 0 {
		setAddress(dir, tcp.Addr())
		setAddress(dir, packets.LocalAddr())
	}
	autorestart.State("state") // claimed before Ready
	misbehave(version)
	if os.Getenv(holdEnv) != "" && version > 1 {
		role := "main"
		if autorestart.StandIn() {
			role = "stand-in"
		}
		await(dir, "ready", role, strconv.Itoa(version))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { json.NewEncoder(w).Encode(self(version)) })
	mux.HandleFunc("/hold/", func(w http.ResponseWriter, r *http.Request) {
		name := filepath.Base(r.URL.Path)
		os.WriteFile(filepath.Join(dir, "held "+name), nil, 0o600)
		await(dir, name)
		json.NewEncoder(w).Encode(self(version))
	})
	mux.HandleFunc("/deaf", func(w http.ResponseWriter, r *http.Request) {
		signal.Stop(terms)
		json.NewEncoder(w).Encode(self(version))
	})
	mux.HandleFunc("/restart-alone", func(w http.ResponseWriter, r *http.Request) {
		go func() {
			err := (&autorestart.Restarter{DrainTimeout: drainTimeout, Logger: logger}).Restart(context.Background())
			logger.Error("restarting without Overlap", "reason", err)
		}()
		json.NewEncoder(w).Encode(self(version))
	})
	mux.HandleFunc("/state/", func(w http.ResponseWriter, r *http.Request) {
		autorestart.SetState("state", []byte(filepath.Base(r.URL.Path)))
		json.NewEncoder(w).Encode(self(version))
	})
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := packets.ReadFrom(b)
			if err != nil {
				panic(err)
			}
			packets.WriteTo(b[:n], from)
		}
	}()
	go httpserve.Serve(&http.Server{Handler: mux}, ln)
	serveSecure(dir, mux)
	switch {
	case version == returns:
		return
	case version != neverReady && (version != neverReadyInMain || autorestart.StandIn()):
		autorestart.Ready()
	}
	httpserve.Serve(&http.Server{Handler: mux}, tcp)
	panic("Serve has returned")
}

// A drainNote is a file that is there while nothing is accepted any more.
type drainNote struct{ file string }

func (drainNote) Quiesce() {}

func (n drainNote) Drain(context.Context) error { return os.WriteFile(n.file, nil, 0o600) }

func (n drainNote) Resume() { os.Remove(n.file) }

func drainFile(dir string, i identity) string {
	return filepath.Join(dir, fmt.Sprint("drains ", i.Version, " stand-in ", i.StandIn))
}

// address returns the address that the first process has got, so that each one asks for the same.
func address(dir, network string) string {
	if b, err := os.ReadFile(filepath.Join(dir, network)); err == nil {
		return string(b)
	}
	return "127.0.0.1:0"
}

func setAddress(dir string, a net.Addr) {
	daemontest.Must(0, os.WriteFile(filepath.Join(dir, a.Network()), []byte(a.String()), 0o600))
}

func self(version int) identity {
	i := identity{Version: version, PID: os.Getpid(), Generation: autorestart.Generation(), StandIn: autorestart.StandIn(), Signals: signals.Load(), Reaped: reaped.Load()}
	if err := autorestart.RolledBack(); err != nil {
		i.RolledBack = err.Error()
	}
	state, _ := autorestart.State("state")
	i.State = string(state)
	children, _ := autorestart.InheritedChildren()
	i.Children = len(children)
	return i
}

// await waits until the test has made a file.
func await(dir string, name ...string) {
	path := filepath.Join(dir, fmt.Sprint(name))
	for {
		if _, err := os.Stat(path); err == nil {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func misbehave(version int) {
	if autorestart.StandIn() || version >= failsInMain {
		fmt.Fprintln(os.Stderr, "last words")
	}
	switch {
	case version == panics:
		panic("a panic in main")
	case version == panicsElsewhere:
		go panic("a panic elsewhere")
		select {}
	case version == exits:
		os.Exit(3)
	case version == logsFatal:
		log.Fatal("fatal")
	case version == faults:
		var defaultAction [8]uint64
		syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGSEGV), uintptr(unsafe.Pointer(&defaultAction)), 0, rawsys.SigsetSize, 0, 0)
		syscall.Kill(os.Getpid(), syscall.SIGSEGV)
		select {}
	case version == rollsBack:
		autorestart.Rollback(fmt.Errorf("no good"))
	case version == failsInMain && !autorestart.StandIn():
		autorestart.Rollback(fmt.Errorf("no good in the main process"))
	case version == panicsInMain && !autorestart.StandIn():
		panic("a panic in the main process")
	}
}
