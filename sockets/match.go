package sockets

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// A request is a call of Listen or ListenPacket.
type request struct {
	network, address string
	name             string // of the socket in systemd; may be empty

	// The resolved address. Both are zero if that is not known.
	port  uint16
	hosts []netip.Addr // an unspecified address stands for all
}

// resolve resolves the address. It fails only if ctx ends: for an invalid address,
// package net has the better error.
func (r *request) resolve(ctx context.Context) error {
	host, service, err := net.SplitHostPort(r.address)
	if err != nil {
		return nil
	}
	port, err := net.DefaultResolver.LookupPort(ctx, r.network, service)
	if err != nil {
		return ctx.Err()
	}
	r.port = uint16(port)
	if host == "" {
		host = "::"
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		r.hosts = []netip.Addr{ip}
		return nil
	}
	r.hosts, _ = net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	return ctx.Err()
}

// How well an inherited socket matches a request.
const (
	noMatch = iota
	matchAddress
	matchName
	matchNameAndAddress
	matchCall
)

// bestMatch returns the index of the inherited socket that matches the request best,
// or -1 if none does. Of several, it is the one with the lowest number. It is never a socket whose path was bound
// anew: clients don't reach that one.
func bestMatch(inherited []key, r *request) int {
	best, highest := -1, noMatch
	for i, k := range inherited {
		if slices.ContainsFunc(inherited, k.isReplacedBy) {
			continue
		}
		match := r.match(k)
		if match > highest || match > noMatch && match == highest && k.number < inherited[best].number {
			best, highest = i, match
		}
	}
	return best
}

func (r *request) match(k key) int {
	if k.sameCall(r) {
		return matchCall
	}
	if withoutFamily(k.network) != withoutFamily(r.network) {
		return noMatch
	}
	name := r.name != "" && k.name == r.name && k.kind != opened
	switch address := r.isBoundTo(k.local); {
	case name && address:
		return matchNameAndAddress
	case name:
		return matchName
	case address:
		return matchAddress
	}
	return noMatch
}

// sameCall reports whether the socket was opened by the same call.
func (k key) sameCall(r *request) bool {
	return k.isOpened() && k.network == r.network && k.address == r.address
}

// isBoundTo reports whether a new socket for the request would be bound to the given
// address.
func (r *request) isBoundTo(local string) bool {
	if isUnix(r.network) {
		return local != "" && cleanPath(local) == cleanPath(r.address)
	}
	bound, err := netip.ParseAddrPort(local)
	if err != nil || bound.Port() != r.port {
		return false
	}
	ip := bound.Addr().Unmap()
	if strings.HasSuffix(r.network, "4") && !ip.Is4() || strings.HasSuffix(r.network, "6") && !ip.Is6() {
		return false
	}
	for _, host := range r.hosts {
		host = host.Unmap()
		// 0.0.0.0 and :: stand for the same socket: only one can have all of the port.
		if host == ip || host.IsUnspecified() && ip.IsUnspecified() {
			return true
		}
	}
	return false
}

// withoutFamily returns the network without the address family.
func withoutFamily(network string) string { return strings.TrimRight(network, "46") }

// isUnix reports whether addresses of the network are paths.
func isUnix(network string) bool { return strings.HasPrefix(network, "unix") }

func cleanPath(path string) string {
	if isAbstract(path) {
		return path
	}
	return filepath.Clean(path)
}

// isAbstract reports whether the address of a Unix socket is a name outside the file
// system.
func isAbstract(path string) bool {
	return path == "" || path[0] == '@' || path[0] == 0
}
