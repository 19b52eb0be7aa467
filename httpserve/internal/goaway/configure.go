package goaway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"slices"
)

// The keys of [http.Server.TLSNextProto]. The second one is no protocol of TLS. Its
// function serves any connection from which the preface was read; it expects the
// connection as the UnencryptedNetConn of a [tls.Conn]. Go has it since 1.24.
const (
	encrypted   = "h2"
	unencrypted = "unencrypted_http2"
)

type protocol = func(*http.Server, *tls.Conn, http.Handler)

// Configure adds the HTTP/2 connections of srv to the group, if srv serves HTTP/2.
// overTLS is true for a server that serves by [http.Server.ServeTLS], and false for
// [http.Server.Serve].
//
// Configure must be called once for a server, before it serves and after its ConnState
// hook is set. It wraps the hook, so that the hook gets the connections that the listener
// has accepted.
//
// The error wraps [errors.ErrUnsupported] if srv has an HTTP/2 implementation that can't
// be wrapped. Then srv serves as before.
func (g *Group) Configure(srv *http.Server, overTLS bool) error {
	if err := prepareHTTP2(srv, overTLS); err != nil {
		return err
	}
	protocols := maps.Clone(srv.TLSNextProto)
	serve := protocols[unencrypted]
	if protocols[encrypted] != nil {
		if serve == nil {
			return fmt.Errorf("the server's HTTP/2 serves TLS connections only: %w", errors.ErrUnsupported)
		}
		protocols[encrypted] = g.encrypted(serve)
	}
	if serve != nil {
		protocols[unencrypted] = g.unencrypted(serve)
	}
	srv.TLSNextProto = protocols
	if hook := srv.ConnState; hook != nil {
		srv.ConnState = func(c net.Conn, state http.ConnState) { hook(accepted(c), state) }
	}
	return nil
}

// prepareHTTP2 makes srv set up HTTP/2 by its own rules, as it does when it begins to serve. The
// name of the certificate file is invalid, so srv gets no further than that.
func prepareHTTP2(srv *http.Server, overTLS bool) error {
	if !overTLS && !expectsHTTP2(srv) {
		return nil
	}
	const noFile = "\x00"
	err := srv.ServeTLS(noListener{}, noFile, noFile)
	if e, ok := errors.AsType[*fs.PathError](err); ok && e.Path == noFile {
		return nil
	}
	return err
}

// expectsHTTP2 is the rule of [http.Server.Serve], whose listener may return encrypted
// connections.
func expectsHTTP2(srv *http.Server) bool {
	return srv.TLSConfig == nil ||
		srv.Protocols != nil && srv.Protocols.UnencryptedHTTP2() ||
		slices.Contains(srv.TLSConfig.NextProtos, encrypted)
}

func (g *Group) encrypted(serve protocol) protocol {
	return func(srv *http.Server, c *tls.Conn, h http.Handler) {
		if !readPreface(srv, c) {
			return
		}
		joined := &conn{Conn: c, transport: c.NetConn(), group: g}
		g.serve(joined, func() { serve(srv, wrapPlain(secureConn{joined, c}), h) })
	}
}

func (g *Group) unencrypted(serve protocol) protocol {
	return func(srv *http.Server, c *tls.Conn, h http.Handler) {
		wrapper, ok := c.NetConn().(unencryptedConn)
		if !ok {
			serve(srv, c, h) // reports the error
			return
		}
		plain := wrapper.UnencryptedNetConn()
		joined := &conn{Conn: plain, transport: plain, group: g}
		g.serve(joined, func() { serve(srv, wrapPlain(joined), h) })
	}
}

func (g *Group) serve(c *conn, serve func()) {
	g.add(c)
	defer g.remove(c)
	defer c.end()
	serve()
}

type unencryptedConn interface{ UnencryptedNetConn() net.Conn }

// plainConn has the form that the function for [unencrypted] takes.
type plainConn struct {
	net.Conn // nil: only UnencryptedNetConn may be called
	plain    net.Conn
}

func (c plainConn) UnencryptedNetConn() net.Conn { return c.plain }

func wrapPlain(c net.Conn) *tls.Conn { return tls.Client(plainConn{plain: c}, nil) }

// accepted returns the connection that net/http accepted, for c or a wrapper of it.
func accepted(c net.Conn) net.Conn {
	switch c := c.(type) {
	case secureConn:
		return c.tls
	case *conn:
		return c.Conn
	}
	return c
}

type noListener struct{}

func (noListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (noListener) Close() error              { return nil }
func (noListener) Addr() net.Addr            { return &net.TCPAddr{} }
