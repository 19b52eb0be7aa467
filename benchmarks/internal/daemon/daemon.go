// Package daemon has the parts that the compared servers share.
package daemon

import (
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// Flags of every daemon.
var (
	Network  = flag.String("network", "tcp", "`network` to listen on")
	Address  = flag.String("address", "127.0.0.1:8080", "`address` to listen on")
	CertFile = flag.String("cert", "", "`file` with a certificate; without one, no TLS")
	KeyFile  = flag.String("key", "", "`file` with its key")
)

// Flags of some daemons.
var (
	UnixPath     = flag.String("unix", "", "`path` of a Unix socket to listen on, too")
	ReadyTimeout = flag.Duration("ready-timeout", 10*time.Second, "how `long` a version may take until it is ready")

	delay = flag.Duration("delay", 0, "how `long` the start of a version takes")
)

// Start parses the flags. It ends the process at the end of standard input, so that
// no daemon outlives the benchmark.
func Start() {
	flag.Parse()
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
}

// Prepare takes as long as the start of a version does.
func Prepare() { time.Sleep(*delay) }

// A Listener listens on a network at an address.
type Listener func(network, address string) (net.Listener, error)

// Listen listens on the network at the address, and at the path of the Unix socket if there is
// one.
func Listen(listen Listener) ([]net.Listener, error) {
	ln, err := listen(*Network, *Address)
	if err != nil || *UnixPath == "" {
		return []net.Listener{ln}, err
	}
	path, err := listen("unix", *UnixPath)
	return []net.Listener{ln, path}, err
}

// Serve serves on ln by net/http alone.
func Serve(server *http.Server, ln net.Listener) error {
	if *CertFile == "" {
		return server.Serve(ln)
	}
	return server.ServeTLS(ln, *CertFile, *KeyFile)
}
