//go:build linux && !autorestart_portable

// Package pressure deploys versions of a server at random moments, under load. No
// request, no idle connection and no datagram may be lost. The short form runs with the
// other tests. The whole one is
//
//	AUTORESTART_TEST_PRESSURE=2000 go test -timeout 4h -run TestPressure ./internal/pressure
//
// It deploys 2,000 pairs of versions in each mode, and writes a file for each mode to
// docs/runs. AUTORESTART_TEST_SEED repeats the random choices of a run.
package pressure

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/sockets"
)

func TestMain(m *testing.M) { daemontest.Main(m, map[string]func(){"server": serverMain}) }

const seedEnv = "AUTORESTART_TEST_SEED"

// unixEnv has the path of the server's unix socket.
const unixEnv = "AUTORESTART_TEST_ADDRESS"

// overlapEnv is set if the server restarts with Overlap.
const overlapEnv = "AUTORESTART_TEST_OVERLAP"

// crowdedEnv is set if the main process opens files at each start that leave no room for connections,
// and closes them a second later.
const crowdedEnv = "AUTORESTART_TEST_CROWDED"

// generationHeader is in each response: the generation that has answered.
const generationHeader = "Generation"

// An image is what the server says of itself when it begins, and when it is ready.
type image struct {
	Version    int
	Generation int
	StandIn    bool
	RolledBack string
	TCP        string // addresses
	TLS        string
	UDP        string
	Times      autorestart.RestartTimes
}

// serverMain is a server in the order of README.md: Run has begun when the sockets are
// opened, and Ready comes before Serve.
func serverMain() {
	defer autorestart.RollbackUnlessReady()
	say("begun", image{})
	if os.Getenv(crowdedEnv) != "" && !autorestart.StandIn() && autorestart.Generation() > 0 {
		crowd(time.Second)
	}
	work := startWork()
	restarter := &autorestart.Restarter{
		ReadyTimeout: 30 * time.Second,
		DrainTimeout: 30 * time.Second,
		Overlap:      os.Getenv(overlapEnv) != "",
		BeforeExec: func(context.Context, *autorestart.ExecPlan) error {
			work()
			return nil
		},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	go func() { panic(restarter.Run(context.Background())) }()

	work()
	plain := listen("tcp", "127.0.0.1:0")
	work()
	secure := listen("tcp", "127.0.0.2:0")
	work()
	path := listen("unix", os.Getenv(unixEnv))
	work()
	packets := retry(func() (net.PacketConn, error) {
		config := sockets.Config{ListenConfig: net.ListenConfig{Control: control}}
		return config.ListenPacket(context.Background(), "udp", "127.0.0.1:0")
	})
	work()
	autorestart.Ready()
	say("ready", image{TCP: plain.Addr().String(), TLS: secure.Addr().String(), UDP: packets.LocalAddr().String()})

	srv := func() *http.Server {
		return &http.Server{Handler: http.HandlerFunc(echo), TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate()}}}
	}
	work()
	go func() { panic(httpserve.Serve(srv(), plain)) }()
	work()
	go func() { panic(httpserve.Serve(srv(), path)) }()
	go func() { panic(httpserve.ServeTLS(srv(), secure, "", "")) }()
	for range 4 {
		go func() { panic(echoPackets(packets)) }()
	}
	if autorestart.StandIn() {
		select {} // it has not the standard input of its main process
	}
	daemontest.Obey(restarter, nil)
}

// startWork returns a function that takes as long as what a program does between two
// steps: in some images no time, in others up to 20 ms.
func startWork() (work func()) {
	seed, _ := strconv.ParseUint(os.Getenv(seedEnv), 10, 64)
	random := mathrand.New(mathrand.NewPCG(seed, uint64(autorestart.Generation())))
	limit := time.Duration(random.IntN(3)*random.IntN(10)) * time.Millisecond
	return func() { time.Sleep(time.Duration(mathrand.Int64N(int64(limit) + 1))) }
}

// crowd leaves no more descriptors than the start of a stand-in needs, for the given time.
func crowd(duration time.Duration) {
	var limit syscall.Rlimit
	syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	var files []*os.File
	for {
		f := retry(func() (*os.File, error) { return os.Open(os.DevNull) })
		files = append(files, f)
		if uint64(f.Fd())+18 >= limit.Cur {
			break
		}
	}
	time.AfterFunc(duration, func() {
		for _, f := range files {
			f.Close()
		}
	})
}

func listen(network, address string) net.Listener {
	return retry(func() (net.Listener, error) { return sockets.Listen(network, address) })
}

// retry calls f until no error that passes prevents it, as a program does that takes
// its errors seriously.
func retry[T any](f func() (T, error)) T {
	for {
		v, err := f()
		if err == nil {
			return v
		}
		if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENOMEM) {
			panic(err)
		}
		time.Sleep(time.Millisecond)
	}
}

// say reports the image that runs.
func say(event string, i image) {
	i.Version, i.Generation, i.Times, i.StandIn = version(), autorestart.Generation(), autorestart.LastRestart(), autorestart.StandIn()
	if err := autorestart.RolledBack(); err != nil {
		i.RolledBack = err.Error()
	}
	daemontest.Say(event, string(daemontest.Must(json.Marshal(i))))
}

var version = sync.OnceValue(func() (v int) {
	for v == 0 { // a system call has failed
		v = daemontest.Self().Version
	}
	return v
})

func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(generationHeader, strconv.Itoa(autorestart.Generation()))
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Write(body)
}

func echoPackets(conn net.PacketConn) error {
	for b := make([]byte, 2048); ; {
		n, from, err := conn.ReadFrom(b)
		if err != nil {
			return err
		}
		if _, err := conn.WriteTo(b[:n], from); err != nil {
			return err
		}
	}
}

// control gives a new socket its buffer.
func control(_, _ string, c syscall.RawConn) error {
	var err error
	return errors.Join(c.Control(func(fd uintptr) { _, err = setReceiveBuffer(int(fd)) }), err)
}

// certificate makes a certificate. Clients accept any.
func certificate() tls.Certificate {
	key := daemontest.Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"example"}}
	der := daemontest.Must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
