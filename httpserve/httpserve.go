// Package httpserve serves net/http so that a restart by package autorestart loses
// no request, not even one that a client can't repeat.
//
//	srv := &http.Server{Addr: ":8080", Handler: handler}
//	ln, err := sockets.Listen("tcp", srv.Addr)
//	...
//	autorestart.Ready()
//	err = httpserve.Serve(srv, ln)
//
// # What a client notices
//
// Before the exec requests that have begun are answered by the version that they
// reached. Newcomers wait in the kernel and are answered by the next one.
//   - Plain HTTP/1.1: nothing. Idle connections cross the exec, and so do those that
//     have just been made; a client may send its next request at any time. Only what is
//     asked on a connection that has found no rest for 20 ms is answered with
//     Connection: close.
//   - HTTP/1.1 over TLS: a response under way ends its connection (Connection: close). An
//     idle connection is closed when nothing has come for 10 ms. A request that is on the
//     way at that very moment fails, as whenever a server closes an idle connection.
//   - HTTP/2: GOAWAY, in two steps: the client goes elsewhere, and what it has sent by then
//     is answered. A client that does not answer is given 250 ms.
//
// A server for HTTP/2 without TLS, [http.Protocols], closes all idle connections like
// that. So does one whose listener is not from package sockets, or wrapped; then
// newcomers are also kept waiting only if the listener below is from there.
//
// A connection over TLS on which no request has begun is closed after 50 ms; a browser
// may have made it to be prepared, and makes another.
//
// Each idle connection that crosses the exec takes a second descriptor for the moment,
// and lengthens it by some 50 µs: a server that has thousands of them had better end
// them sooner ([http.Server.IdleTimeout]).
//
// # Long requests
//
// The exec waits for responses that are under way, up to
// [autorestart.Restarter.DrainTimeout], and newcomers wait with it. So a handler whose
// response goes on for long, as server-sent events do, should end it when
// [autorestart.Draining] says so. The same goes for connections that it has taken over,
// as for WebSocket.
//
// If the restart is called off, everything is as before, but for idle connections over
// TLS, which are closed. If the new version is taken back after it has begun to listen,
// the idle connections that have crossed to it are closed.
package httpserve

import (
	"net"
	"net/http"

	"github.com/autorestart-go/autorestart/sockets"
)

// ListenAndServe is like [http.Server.ListenAndServe] with a listener of package
// sockets, see [Serve]. The server's BaseContext is called in between, if set: that
// is the place for [autorestart.Ready].
func ListenAndServe(srv *http.Server) error {
	ln, err := sockets.Listen("tcp", orDefault(srv.Addr, ":http"))
	if err != nil {
		return err
	}
	return Serve(srv, ln)
}

// ListenAndServeTLS is like [http.Server.ListenAndServeTLS] with a listener of
// package sockets, see [Serve].
func ListenAndServeTLS(srv *http.Server, certFile, keyFile string) error {
	ln, err := sockets.Listen("tcp", orDefault(srv.Addr, ":https"))
	if err != nil {
		return err
	}
	return ServeTLS(srv, ln, certFile, keyFile)
}

func orDefault(addr, def string) string {
	if addr == "" {
		return def
	}
	return addr
}

// Serve is like [http.Server.Serve]: it returns what that returns, and closes the
// listener. Shutdown and Close of srv work as ever.
//
// The first call for a server replaces its Handler, ConnState and ConnContext by others
// that call those, and sets TLSNextProto if that is nil. So set the fields before,
// and leave them alone from then on.
func Serve(srv *http.Server, ln net.Listener) error {
	defer ln.Close()
	s, err := attach(srv, false)
	if err != nil {
		return err
	}
	defer s.begin()()
	if ln, ok := ln.(interface{ GoOn() }); ok {
		ln.GoOn()
	}
	return srv.Serve(ln)
}

// ServeTLS is like [http.Server.ServeTLS], see [Serve]. It always closes the
// listener.
func ServeTLS(srv *http.Server, ln net.Listener, certFile, keyFile string) error {
	defer ln.Close()
	s, err := attach(srv, true)
	if err != nil {
		return err
	}
	defer s.begin()()
	return srv.ServeTLS(ln, certFile, keyFile)
}
