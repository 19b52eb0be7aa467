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
// wait, and the new version answers them.
//   - Plain HTTP/1.1: a client notices nothing. It may send requests at any time, also
//     several at once. Connections cross the exec between two requests, and with a part
//     of the next request's header.
//   - HTTP/1.1 over TLS: a request that arrives during the restart gets a response with
//     Connection: close. An idle connection is closed after 10 ms without data.
//   - HTTP/2: the server sends GOAWAY. The client opens no new streams on the connection,
//     and the server answers the requests that were sent before. Then the server sends a
//     PING, waits up to a second for the answer, and closes the connection with a second
//     GOAWAY.
//
// In two cases a client of HTTP/1.1 over TLS may have to send a request again:
//   - The request arrives when its idle connection is closed. It is not served, as with
//     every server that closes idle connections.
//   - The client sends several requests at once. Those that arrived before the restart
//     are answered. Requests after a response with Connection: close are not served (RFC
//     9112, section 9.3.2).
//
// With the option Overlap of [autorestart.Restarter], two processes serve, one after the other.
// Connections that would cross the exec go to the process that serves, and clients need not
// wait for the new version. What is said of other connections holds in each of the two drains.
//
// # TLS sessions
//
// Clients of [ServeTLS] that have a session ticket resume their sessions in the next version, without
// a full handshake. So a restart does not make thousands of clients do full handshakes at once. The
// keys of the tickets cross the exec in memory. They rotate by the rules of crypto/tls: new tickets get
// a new key after a day, and a ticket is accepted for seven days. Each address has keys of its own.
// A server with several listeners accepts the tickets of all of them. Call [ResumeSessions] for
// servers that ServeTLS does not serve.
//
// Certificates are read again by each version. A session that resumes does not see them, as in
// one process.
//
// If a ticket can't be decrypted, the client does a full handshake, and gets a new ticket. The keys
// do not cross where there are no files in memory: on systems other than Linux, and if memfd_create(2)
// is denied.
//
// ServeTLS leaves the keys to crypto/tls, and sessions do not resume in the next version, if the
// server's TLSConfig
//   - sets SessionTicketsDisabled, SessionTicketKey, WrapSession or UnwrapSession, or has
//     keys by [tls.Config.SetSessionTicketKeys]
//   - sets GetConfigForClient; call [ResumeSessions] for the configs that it returns
//   - sets VerifyPeerCertificate. crypto/tls does not call it when a session resumes. So a client that
//     an old version has accepted would not be checked by a newer one. Use VerifyConnection instead, which
//     is called for each connection.
//
// For client certificates, crypto/tls checks before it resumes a session that the certificate is still
// valid, and that the version that runs requests one and trusts its root.
//
// # Connections that do not cross
//
// Some servers close plain HTTP/1.1 connections as if they were over TLS:
//   - a server for HTTP/2 without TLS, see [http.Protocols]
//   - a server whose listener is not from package sockets
//   - a server whose listener wraps one of package sockets. New connections to it still
//     wait for the new version. If it also wraps its connections, they are closed after
//     50 ms without a request.
//
// # Slow clients
//
// A restart does not wait for clients that might send something:
//   - The header of a request, and an HTTP/2 frame, must be complete 500 ms after the
//     restart began. Otherwise the connection is closed. A client of HTTP/1.1 gets 408
//     Request Timeout first.
//   - A TLS handshake has one second.
//   - A new TLS connection without a request is closed after 50 ms. Browsers open such
//     connections in advance, and open another one when they need it.
//
// A plain HTTP/1.1 connection that can cross the exec has no such limit. A header that is
// too long to cross has 500 ms.
//
// Each idle connection that crosses the exec makes the exec a little longer. A server
// with thousands of idle connections should close them earlier, see
// [http.Server.IdleTimeout].
//
// # HTTP/2 without TLS
//
// Set [http.Server.Protocols] with SetUnencryptedHTTP2(true). The handler of
// golang.org/x/net/http2/h2c hijacks its connections, so a restart could lose requests on
// them. [Serve] returns an error if the server has that handler. If the handler is nested
// in others, a client that begins with HTTP/2 gets the status 505, and a request to
// upgrade the connection is served as HTTP/1.1.
//
// # Long requests
//
// The exec waits for requests whose header is complete. New connections wait with it. The
// wait ends after [autorestart.Restarter.DrainTimeout]. A handler whose response takes
// long should therefore return when the channel of [autorestart.Draining] is closed. The
// channel is closed when the servers with the lowest DrainOrder have stopped accepting.
//
// Server-sent events and hijacked connections, such as WebSockets, have no end of their
// own. [Streams] ends them, spreads the time at which their clients come back, and closes
// the connections of clients that don't answer. Log lines say how many of the connections
// that a restart waits for are hijacked.
//
// A handler can't wait for a restart. If it calls [autorestart.Restarter.Restart], it
// gets [autorestart.ErrInHandler]. It can start a goroutine that calls Restart, and
// return.
//
// If the restart is called off, the server continues as before, except that idle TLS
// connections have been closed. If the new version is rolled back, idle and new
// connections go back to the previous version.
//
// # Several servers
//
// The servers of a process are drained at the same time, unless their listeners have
// different numbers, see [sockets.Config]. An admin server with a higher number answers
// until the other servers have finished. The backend of a reverse proxy in the same process
// needs a higher number than the proxy.
//
// A restart needs no call of [http.Server.Shutdown]. If the program calls it all the same,
// the requests are finished, and the listener crosses the exec.
//
// # Importing the package
//
// Importing the package changes nothing, also in package net/http. [Serve] changes the
// server that it gets, and no other.
package httpserve

import (
	"fmt"
	"net"
	"net/http"

	"github.com/autorestart-go/autorestart/internal/httpconn"
	"github.com/autorestart-go/autorestart/sockets"
)

// ListenAndServe is like [http.Server.ListenAndServe] with a listener of package sockets,
// see [Serve]. If systemd has passed a socket for the address, ListenAndServe uses that
// socket. If the server's BaseContext is set, it is called between listening and serving:
// that is the place for [autorestart.Ready].
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
// http.Server.Serve. Shutdown and Close of srv work as usual, also during a restart. After
// them Serve returns [http.ErrServerClosed], and srv takes no part in restarts any more.
//
// A listener can be served once at a time. If it is served already, by this server or
// another one, Serve returns an error and leaves the listener open. A connection that
// crosses the exec would otherwise go to either of the two.
//
// The server is drained together with its listeners: it has the DrainOrder of
// [sockets.Config], or of a method DrainOrder() int of a listener that is not of package
// sockets. If the listeners of a server have different numbers, Serve returns an error.
//
// The first call for a server replaces its fields Handler, ConnState, ConnContext and
// BaseContext by functions that call the original ones. It also sets TLSNextProto if that
// is nil, and replaces TLSConfig by a copy that has WrapSession and UnwrapSession, see the
// documentation of the package. Set the fields before the first call, and don't change them
// afterwards.
//
// If a part of this package does not fit the version of net/http, the server runs without
// that part, and its error log says so.
func Serve(srv *http.Server, ln net.Listener) error {
	return serve(srv, ln, false, func() error {
		if l := httpconn.ListenerOf(ln); l != nil {
			l.AcceptParked()
		}
		return srv.Serve(ln)
	})
}

// ServeTLS is like [http.Server.ServeTLS], see [Serve]. It closes the listener also if the
// certificate can't be read.
func ServeTLS(srv *http.Server, ln net.Listener, certFile, keyFile string) error {
	return serve(srv, ln, true, func() error { return srv.ServeTLS(ln, certFile, keyFile) })
}

// serve calls accept, which returns when srv accepts nothing from ln any more.
func serve(srv *http.Server, ln net.Listener, overTLS bool, accept func() error) error {
	release, err := httpconn.Claim(ln)
	if err != nil {
		return fmt.Errorf("httpserve: %w", err)
	}
	defer release()
	defer ln.Close()
	s, err := attach(srv, overTLS)
	if err != nil {
		return err
	}
	stop, err := s.startServing(ln)
	if err != nil {
		return err
	}
	defer stop()
	if overTLS {
		s.addSessionsOf(ln)
	}
	return accept()
}
