package goaway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
)

// The keys of [http.Server.TLSNextProto]. The second one is no protocol of TLS. Its
// function serves any connection from which the preface was read; it expects the
// connection as the UnencryptedNetConn of a [tls.Conn].
const (
	encrypted   = "h2"
	unencrypted = "unencrypted_http2"
)

type protocol = func(*http.Server, *tls.Conn, http.Handler)

// Configure adds the HTTP/2 connections of srv to the group, if srv serves HTTP/2.
// overTLS is true for a server that serves by [http.Server.ServeTLS], and false for
// [http.Server.Serve].
//
// Configure must be called once for a server, before it serves and after its fields are
// set. It wraps the ConnState hook, so that the hook gets the connections that the listener
// has accepted.
//
// If there is an error, srv is unchanged. The error wraps [errors.ErrUnsupported] if srv has
// an HTTP/2 implementation that can't be wrapped.
func (g *Group) Configure(srv *http.Server, overTLS bool) error {
	t := newTwin(srv)
	if err := t.prepareHTTP2(overTLS); err != nil {
		return err
	}
	if t.TLSNextProto[encrypted] == nil {
		return nil
	}
	serve := t.TLSNextProto[unencrypted]
	if serve == nil {
		if srv.TLSNextProto[encrypted] != nil {
			return fmt.Errorf("the server's HTTP/2 serves TLS connections only: %w", errors.ErrUnsupported)
		}
		if serve = t.serveFunc(); serve == nil {
			return errors.New("net/http does not pass on the function that serves HTTP/2")
		}
	}
	if !servesPlain(serve) {
		return errors.New("net/http does not serve HTTP/2 on the connection that it is given")
	}
	if hook := srv.ConnState; hook != nil {
		srv.ConnState = func(c net.Conn, state http.ConnState) { hook(accepted(c), state) }
	}
	t.ConnState = srv.ConnState
	srv.TLSNextProto = t.TLSNextProto
	srv.TLSNextProto[encrypted] = g.encrypted(serve)
	srv.TLSNextProto[unencrypted] = g.unencrypted(serve)
	srv.RegisterOnShutdown(func() { t.Shutdown(context.Background()) })
	return nil
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
type plainConn struct{ net.Conn }

func (c plainConn) UnencryptedNetConn() net.Conn { return c.Conn }

func wrapPlain(c net.Conn) *tls.Conn { return tls.Client(plainConn{c}, nil) }

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
