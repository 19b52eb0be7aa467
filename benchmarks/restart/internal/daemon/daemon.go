// Package daemon is what the servers that are compared have in common.
package daemon

import (
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// Where a daemon listens, and with which certificate if with one.
var (
	Network  = flag.String("network", "tcp", "`network` to listen on")
	Address  = flag.String("address", "127.0.0.1:8080", "`address` to listen on")
	CertFile = flag.String("cert", "", "`file` with a certificate; none: no TLS")
	KeyFile  = flag.String("key", "", "`file` with its key")
)

// ReadyTimeout is how long a version may take until it answers, for a server
// that goes back to the one before.
const ReadyTimeout = 300 * time.Millisecond

// Start reads the flags, and has the process end as soon as its standard input
// does: no daemon outlives the benchmark.
func Start() {
	flag.Parse()
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
}

// Server answers each request with the body that came with it, and says who answers.
func Server() *http.Server {
	me := Self().String()
	return &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set(IdentityHeader, me)
		w.Write(body)
	})}
}

// Serve serves on ln with net/http alone.
func Serve(server *http.Server, ln net.Listener) error {
	if *CertFile == "" {
		return server.Serve(ln)
	}
	return server.ServeTLS(ln, *CertFile, *KeyFile)
}
