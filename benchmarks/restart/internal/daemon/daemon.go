// Package daemon has the parts that the compared servers share.
package daemon

import (
	"flag"
	"io"
	"net"
	"net/http"
	"os"
)

// Flags of every daemon.
var (
	Network  = flag.String("network", "tcp", "`network` to listen on")
	Address  = flag.String("address", "127.0.0.1:8080", "`address` to listen on")
	CertFile = flag.String("cert", "", "`file` with a certificate; without one, no TLS")
	KeyFile  = flag.String("key", "", "`file` with its key")
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

// Server returns a server that answers each request with the body of the request. A
// header has the identity of this process.
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

// Serve serves on ln by net/http alone.
func Serve(server *http.Server, ln net.Listener) error {
	if *CertFile == "" {
		return server.Serve(ln)
	}
	return server.ServeTLS(ln, *CertFile, *KeyFile)
}
