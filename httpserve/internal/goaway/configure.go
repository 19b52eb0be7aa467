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

// The keys of [http.Server.TLSNextProto]. The second is no protocol of TLS: the
// function there serves any connection from which the preface was read, handed over
// as the UnencryptedNetConn of a [tls.Conn]. Go has it since 1.24.
const (
	encrypted   = "h2"
	unencrypted = "unencrypted_http2"
)

type protocol = func(*http.Server, *tls.Conn, http.Handler)

// Configure has the HTTP/2 connections of srv join the group, if srv is one to serve
// HTTP/2; overTLS tells whether with [http.Server.ServeTLS] or [http.Server.Serve].
//
// It is called once for a server, before it serves, and with its ConnState hook in
// place: the hook is wrapped, to see the connections it has always seen.
//
// The error wraps [errors.ErrUnsupported] if srv has an HTTP/2 of its own that can't
// be come between; srv serves as before then.
func (g *Group) Configure(srv *http.Server, overTLS bool) error {
	if err := setUp(srv, overTLS); err != nil {
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

// setUp has srv make itself ready for HTTP/2, as it would when it begins to serve,
// according to its own rules. That is all it gets to with a certificate file that
// can't be.
func setUp(srv *http.Server, overTLS bool) error {
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

// expectsHTTP2 is the rule of [http.Server.Serve], which is given connections that
// somebody else may have encrypted.
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
		g.serve(joined, func() { serve(srv, handOver(secureConn{joined, c}), h) })
	}
}

func (g *Group) unencrypted(serve protocol) protocol {
	return func(srv *http.Server, c *tls.Conn, h http.Handler) {
		handed, ok := c.NetConn().(unencryptedConn)
		if !ok {
			serve(srv, c, h) // which knows what to say to that
			return
		}
		plain := handed.UnencryptedNetConn()
		joined := &conn{Conn: plain, transport: plain, group: g}
		g.serve(joined, func() { serve(srv, handOver(joined), h) })
	}
}

func (g *Group) serve(c *conn, serve func()) {
	g.add(c)
	defer g.remove(c)
	serve()
}

type unencryptedConn interface{ UnencryptedNetConn() net.Conn }

// handedOver is a connection in the form that [unencrypted] takes.
type handedOver struct {
	net.Conn // nil; nobody is to use it
	plain    net.Conn
}

func (c handedOver) UnencryptedNetConn() net.Conn { return c.plain }

func handOver(c net.Conn) *tls.Conn { return tls.Client(handedOver{plain: c}, nil) }

// accepted returns the connection that net/http accepted, of which c may be ours.
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
