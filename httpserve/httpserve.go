// Package httpserve serves net/http so that a restart by package autorestart loses no
// request. That includes requests that a client can't repeat.
//
//	srv := &http.Server{Addr: ":8080", Handler: handler}
//	ln, err := sockets.Listen("tcp", srv.Addr)
//	if err != nil {
//		log.Panic(err)
//	}
//	autorestart.Ready()
//	log.Panic(httpserve.Serve(srv, ln))
//
// # What a client notices
//
// Before the exec, the old version answers the requests that it has read. New connections
// wait in the kernel, and the new version answers them.
//   - Plain HTTP/1.1: a client notices nothing, and may send requests at any time, several
//     at once included. Connections cross the exec between two requests, and with a part
//     of the next request's header.
//   - HTTP/1.1 over TLS: a request that arrives during the restart gets a response with
//     Connection: close. An idle connection is closed after 10 ms without data. A
//     request that arrives at that very moment is not served, as whenever a server closes
//     an idle connection, and the client may send it again. Of requests that a client sends
//     at once, all are answered if they arrived before the restart; otherwise the client
//     has to send those again that follow Connection: close (RFC 9112, section 9.3.2).
//   - HTTP/2: the server sends GOAWAY in two steps. The client opens no new streams on
//     the connection, and the server answers the requests that were sent before. A
//     client that does not answer has 250 ms.
//
// A server for HTTP/2 without TLS (see [http.Protocols]) also closes connections of
// plain HTTP/1.1, as if over TLS. The same holds for a server whose listener is not from
// package sockets or is wrapped. In that case, new connections wait in the kernel only if
// the wrapped listener is from package sockets. If a wrapped listener wraps its
// connections, too, they are closed after 50 ms without a request.
//
// A TLS connection without a request is closed after 50 ms. Browsers open such
// connections in advance, and open another one when they need it.
//
// A restart does not wait for clients that might send something. If the header of a
// request, or an HTTP/2 frame, is not complete 500 ms after the restart began, the
// connection is closed. A client of HTTP/1.1 gets 408 Request Timeout first. A TLS handshake
// has one second. Plain HTTP/1.1 needs no such limit, unless a header is so long that it
// can't cross the exec.
//
// Each idle connection that crosses the exec makes it a little longer. A server with
// thousands of idle connections should close them earlier, see [http.Server.IdleTimeout].
//
// # HTTP/2 without TLS
//
// Set [http.Server.Protocols] with SetUnencryptedHTTP2(true). The handler of
// golang.org/x/net/http2/h2c hijacks its connections, so a restart could lose requests on
// them. [Serve] returns an error if the server has that handler. If the handler is nested in
// others, a client that begins with HTTP/2 gets the status 505, and a request to upgrade the
// connection is served as HTTP/1.1.
//
// # Long requests
//
// The exec waits for requests whose header is complete, for
// [autorestart.Restarter.DrainTimeout] at most, and new connections wait with it. A handler
// whose response takes long, as with server-sent events, should therefore end it when the
// channel of [autorestart.Draining] is closed. The same applies to hijacked connections, as for
// WebSocket.
//
// A handler can ask for a restart, but can't wait for it: [autorestart.Restarter.Restart]
// returns [autorestart.ErrInHandler].
//
// If the restart is called off, the server continues as before, but idle TLS connections
// have been closed. If the new version is rolled back, connections that are idle or new go
// back to the previous one.
package httpserve

import (
	"net"
	"net/http"

	"github.com/autorestart-go/autorestart/internal/httpconn"
	"github.com/autorestart-go/autorestart/sockets"
)

// ListenAndServe is like [http.Server.ListenAndServe] with a listener of package
// sockets, see [Serve]: one that systemd has passed for the address, if there is one. If the server's BaseContext is set, it is called between
// listening and serving: that is the place for [autorestart.Ready].
func ListenAndServe(srv *http.Server) error {
	ln, err := sockets.Listen("tcp", addrOrDefault(srv.Addr, ":http"))
	if err != nil {
		return err
	}
	return Serve(srv, ln)
}

// ListenAndServeTLS is like [http.Server.ListenAndServeTLS] with a listener of package
// sockets, see [ListenAndServe].
func ListenAndServeTLS(srv *http.Server, certFile, keyFile string) error {
	ln, err := sockets.Listen("tcp", addrOrDefault(srv.Addr, ":https"))
	if err != nil {
		return err
	}
	return ServeTLS(srv, ln, certFile, keyFile)
}

func addrOrDefault(addr, def string) string {
	if addr == "" {
		return def
	}
	return addr
}

// Serve is like [http.Server.Serve]: it closes the listener and returns the error of
// http.Server.Serve. Shutdown and Close of srv work as usual.
//
// The first call for a server replaces its fields Handler, ConnState, ConnContext and
// BaseContext by functions that call the original ones, and sets TLSNextProto if it is nil.
// Set the fields before that call, and don't change them afterwards.
//
// The error log of the server says so if a part of this package does not fit the version of
// net/http. The server then serves without that part.
func Serve(srv *http.Server, ln net.Listener) error {
	defer ln.Close()
	s, err := attach(srv, false)
	if err != nil {
		return err
	}
	defer s.startServing()()
	if ln, ok := ln.(httpconn.Listener); ok {
		ln.AcceptParked()
	}
	return srv.Serve(ln)
}

// ServeTLS is like [http.Server.ServeTLS], see [Serve]. It closes the listener in any
// case.
func ServeTLS(srv *http.Server, ln net.Listener, certFile, keyFile string) error {
	defer ln.Close()
	s, err := attach(srv, true)
	if err != nil {
		return err
	}
	defer s.startServing()()
	return srv.ServeTLS(ln, certFile, keyFile)
}
