package sockets

import (
	"context"
	"errors"
	"net"
	"os"

	"github.com/autorestart-go/autorestart"
)

// socket is what all listeners and packet connections of package net are.
type socket interface {
	Close() error
	File() (*os.File, error)
}

// obtain returns the inherited socket that is meant, or else one that open opens. It
// crosses the next exec under the key k; in the image before it had the key then.
func obtain[S socket](ctx context.Context, network, address, name string,
	fromFile func(f *os.File, network string) (S, error), open func() (S, error), local func(S) net.Addr,
) (s S, k, then key, err error) {
	fail := func(err error) (S, key, key, error) {
		var none S
		op, ok := errors.AsType[*net.OpError](err)
		if ok && op.Op != "listen" {
			err, ok = op.Err, false
		}
		if !ok {
			err = &net.OpError{Op: "listen", Net: network, Addr: asked{network, address}, Err: err}
		}
		return none, key{}, key{}, err
	}
	req := &request{network: network, address: address, name: name}
	if !isUnix(network) && anyInherited(network) {
		if err := req.resolve(ctx); err != nil {
			return fail(err)
		}
	}
	for {
		old, ok := claim(req)
		if !ok {
			break
		}
		s, k, err := inherit(old, req, fromFile)
		switch {
		case err == nil:
			return s, k, old, nil
		case errors.Is(err, os.ErrNotExist):
			withdraw(old) // by Ready, or its path is gone
		default:
			unclaim(old, req)
			return fail(err)
		}
	}
	if s, err = open(); err != nil {
		return fail(err)
	}
	k = reserve(key{kind: opened, network: network, address: address, local: localAddress(local(s))})
	if err := pass(k, s); err != nil {
		vacate(k)
		s.Close()
		return fail(err)
	}
	return s, k, key{}, nil
}

// inherit returns the inherited socket that the key old is of, and what its key is
// from now on.
func inherit[S socket](old key, req *request, fromFile func(*os.File, string) (S, error)) (s S, k key, err error) {
	if old.hasPath() {
		// Programs tend to remove what is in the way.
		if _, err := os.Lstat(old.local); err != nil {
			return s, key{}, err
		}
	}
	f, err := autorestart.Inherited(old.String())
	if err != nil {
		return s, key{}, err
	}
	defer f.Close()
	if s, err = fromFile(f, old.network); err != nil || old.answers(req) {
		return s, old, err
	}
	k = old
	if k.kind == unasked {
		k.kind = activated
	}
	k.network, k.address = req.network, req.address
	k = reserve(k)
	if err := autorestart.Pass(k.String(), f); err != nil {
		vacate(k)
		s.Close()
		return s, key{}, err
	}
	autorestart.Pass(old.String(), nil)
	return s, k, nil
}

// pass has the next image inherit the socket. On systems where nothing is
// inherited that is no error.
func pass(k key, s socket) error {
	if !inheritance {
		return nil
	}
	f, err := s.File()
	if err != nil {
		return err
	}
	defer f.Close()
	return autorestart.Pass(k.String(), f)
}

// withdraw undoes pass.
func withdraw(k key) {
	autorestart.Pass(k.String(), nil)
	vacate(k)
}

// asked is an address as somebody has written it.
type asked struct{ network, address string }

func (a asked) Network() string { return a.network }
func (a asked) String() string  { return a.address }

var errNotThat = errors.New("the inherited socket is of another kind")

// fileListener makes an inherited listener of f.
func fileListener(f *os.File, network string) (listenerSocket, error) {
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	if l, ok := ln.(listenerSocket); ok && ln.Addr().Network() == base(network) {
		return l, nil
	}
	ln.Close()
	return nil, errNotThat
}

// filePacketConn makes an inherited packet connection of f.
func filePacketConn(f *os.File, network string) (packetSocket, error) {
	conn, err := net.FilePacketConn(f)
	if err != nil {
		return nil, err
	}
	if c, ok := conn.(packetSocket); ok && conn.LocalAddr().Network() == base(network) {
		return c, nil
	}
	conn.Close()
	return nil, errNotThat
}
