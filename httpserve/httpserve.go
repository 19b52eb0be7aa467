// Package httpserve serves net/http so that a restart by package autorestart loses
// no request.
package httpserve

import (
	"net"
	"net/http"

	"github.com/autorestart-go/autorestart/sockets"
)

// ListenAndServe is like [http.Server.ListenAndServe] with a listener of package
// sockets, see [Serve].
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

// Serve is like [http.Server.Serve].
func Serve(srv *http.Server, ln net.Listener) error {
	s, err := attach(srv)
	if err != nil {
		ln.Close()
		return err
	}
	defer s.begin()()
	if ln, ok := ln.(interface{ GoOn() }); ok {
		ln.GoOn()
	}
	return srv.Serve(ln)
}

// ServeTLS is like [http.Server.ServeTLS], see [Serve].
func ServeTLS(srv *http.Server, ln net.Listener, certFile, keyFile string) error {
	s, err := attach(srv)
	if err != nil {
		ln.Close()
		return err
	}
	defer s.begin()()
	// Unlike Serve, it leaves the listener open if the certificate can't be read.
	defer ln.Close()
	return srv.ServeTLS(ln, certFile, keyFile)
}
