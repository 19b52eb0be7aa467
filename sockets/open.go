package sockets

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// socket is implemented by the listeners, connections and packet connections of
// package net.
type socket interface {
	Close() error
	File() (*os.File, error)
}

// A source makes sockets of type S.
type source[S socket] struct {
	listen   func() (S, error)                           // opens a new socket
	fromFile func(f *os.File, network string) (S, error) // makes one of an inherited file
	addr     func(S) net.Addr
}

// open returns the inherited socket that matches the request, or else a new one. The
// socket is passed to the next version under the key k. An inherited socket was passed
// to this version under oldKey; that of a new one is zero.
// The caller ends the opening once the socket is registered.
func open[S socket](o *opening, req request, src source[S]) (s S, k, oldKey key, err error) {
	s, k, oldKey, err = openInherited(o, &req, src)
	if err == nil && oldKey == (key{}) {
		o.end()
		s, k, err = openNew(o.registry, &req, src)
		for err != nil && o.again(err) {
			s, k, err = openNew(o.registry, &req, src)
		}
	}
	if err != nil {
		var none S
		return none, key{}, key{}, listenError(req.network, req.address, err)
	}
	return s, k, oldKey, nil
}

// openInherited returns a zero oldKey if no inherited socket matches the request.
func openInherited[S socket](o *opening, req *request, src source[S]) (s S, k, oldKey key, err error) {
	r := o.registry
	r.lookAtAnnounced()
	if !r.anyInherited(req.network) {
		return s, key{}, key{}, nil
	}
	if !isUnix(req.network) {
		if err := req.resolve(o.ctx); err != nil {
			return s, key{}, key{}, err
		}
	}
	if err := o.beginClaim(); err != nil {
		return s, key{}, key{}, err
	}
	for {
		oldKey, ok := r.claim(req)
		if !ok {
			return s, key{}, key{}, nil
		}
		s, k, err := inheritRetrying(o, oldKey, req, src)
		switch {
		case err == nil:
			return s, k, oldKey, nil
		case errors.Is(err, os.ErrNotExist):
			// Ready has closed the socket, it was shut down, its path was removed, or another
			// library has taken it from systemd.
			if errors.Is(err, errShutDown) && oldKey.isOpened() && oldKey.hasPath() {
				removeRefusing(oldKey.network, oldKey.local)
			}
			if oldKey.kind != announced {
				r.stopPassing(oldKey)
				r.freeNumber(oldKey)
			}
		default:
			r.unclaim(oldKey, req)
			return s, key{}, key{}, err
		}
	}
}

// inheritRetryLimit is how long inheriting a socket is tried again while descriptors or memory
// are short. An exec waits for that as long, see [opening].
const inheritRetryLimit = time.Second

// inheritRetrying is inherit, and tries again if that fails for a reason that may pass. Clients
// wait for the socket, and a program ends if it can't listen.
func inheritRetrying[S socket](o *opening, oldKey key, req *request, src source[S]) (s S, k key, err error) {
	for start := time.Now(); ; {
		s, k, err = inherit(o.registry, oldKey, req, src)
		if !mayPass(err) || time.Since(start) >= inheritRetryLimit {
			return s, k, err
		}
		select {
		case <-time.After(retryInterval):
		case <-o.ctx.Done():
			return s, k, err
		}
	}
}

// inherit returns the inherited socket with the key oldKey, and its key from now on.
func inherit[S socket](r *registry, oldKey key, req *request, src source[S]) (s S, k key, err error) {
	if oldKey.hasPath() {
		// Many programs remove the path before they listen.
		if _, err := os.Lstat(oldKey.local); err != nil {
			return s, key{}, err
		}
	}
	open := r.inheritedFile
	if oldKey.kind == announced {
		open = announcedFile
	}
	f, err := open(oldKey)
	if err != nil {
		return s, key{}, err
	}
	defer f.Close()
	var nonblocking bool
	if oldKey.kind == announced {
		nonblocking = isNonblocking(f)
		defer func() {
			if err != nil {
				setNonblock(f, nonblocking) // as systemd has passed it
			}
		}()
	}
	if s, err = src.fromFile(f, oldKey.network); err != nil || oldKey.sameCall(req) {
		return s, oldKey, err
	}
	k = oldKey
	switch {
	case k.isStored():
		k.kind, k.name = opened, ""
	case !k.isOpened():
		k.kind = activated
	}
	k.network, k.address = req.network, req.address
	k = r.reserveNumber(k)
	if err = r.passFile(k, f); err == nil {
		err = r.release(oldKey, nonblocking)
	}
	if err != nil {
		r.stopPassing(k)
		r.freeNumber(k)
		s.Close()
		return s, key{}, err
	}
	return s, k, nil
}

// release gives up the socket under the key by which it was inherited: it has got
// another one. An announced socket was nonblocking or not.
func (r *registry) release(oldKey key, nonblocking bool) error {
	if oldKey.kind == announced {
		return r.takeAnnounced(oldKey, nonblocking)
	}
	r.stopPassing(oldKey)
	return nil
}

func openNew[S socket](r *registry, req *request, src source[S]) (s S, k key, err error) {
	if s, err = src.listen(); err != nil {
		return s, key{}, err
	}
	k = key{kind: opened, network: req.network, address: req.address}
	if local := src.addr(s); local != nil { // not every socket has an address
		k.local = local.String()
	}
	k = r.reserveNumber(k)
	if err := r.passSocket(k, s); err != nil {
		r.freeNumber(k)
		s.Close()
		return s, key{}, err
	}
	return s, k, nil
}

// listenError returns err as the error of net.Listen.
func listenError(network, address string, err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		if op.Op == "listen" {
			return err
		}
		err = op.Err
	}
	return &net.OpError{Op: "listen", Net: network, Addr: requestedAddr{network, address}, Err: err}
}

// requestedAddr is an address as the caller has written it.
type requestedAddr struct{ network, address string }

func (a requestedAddr) Network() string { return a.network }
func (a requestedAddr) String() string  { return a.address }

var errOtherKind = errors.New("the inherited socket is of another kind")

// errShutDown is why a new listener is opened in place of an inherited one.
var errShutDown = fmt.Errorf("the inherited socket was shut down, and listens no more: %w", os.ErrNotExist)

// removeRefusing removes the path of a Unix socket, unless a socket listens there.
func removeRefusing(network, path string) {
	conn, err := net.DialTimeout(network, path, time.Second)
	switch {
	case err == nil:
		conn.Close()
	case errors.Is(err, syscall.ECONNREFUSED):
		os.Remove(path)
	}
}

// fileListener makes an inherited listener of f.
func fileListener(f *os.File, network string) (listenerSocket, error) {
	if isShutDown(f) {
		return nil, errShutDown
	}
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	if l, ok := ln.(listenerSocket); ok && ln.Addr().Network() == withoutFamily(network) {
		return l, nil
	}
	ln.Close()
	return nil, errOtherKind
}

// filePacketConn makes an inherited packet connection of f.
func filePacketConn(f *os.File, network string) (packetSocket, error) {
	conn, err := net.FilePacketConn(f)
	if err != nil {
		return nil, err
	}
	if c, ok := conn.(packetSocket); ok && conn.LocalAddr().Network() == withoutFamily(network) {
		return c, nil
	}
	conn.Close()
	return nil, errOtherKind
}
