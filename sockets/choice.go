package sockets

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
)

// A request is what somebody asks for.
type request struct {
	network, address string
	name             string // that systemd gave the socket; may be empty

	// What the address means, where that is known.
	port  uint16       // not 0
	hosts []netip.Addr // unspecified: all
}

// resolve finds out what the address means. It fails only if ctx ends; what is not an
// address, package net says better.
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

// choose returns the index of the inherited socket that fits best, or -1: the one
// that was asked for by the same call, then by the name that systemd gave it, then
// by the address that it has.
func choose(inherited []key, r *request) int {
	best, bestRank := -1, 0
	for i, k := range inherited {
		rank := r.rank(k)
		if rank > bestRank || rank > 0 && rank == bestRank && k.number < inherited[best].number {
			best, bestRank = i, rank
		}
	}
	return best
}

// answers reports whether the socket was opened by the same call.
func (k key) answers(r *request) bool {
	return k.kind != unasked && k.network == r.network && k.address == r.address
}

func (r *request) rank(k key) int {
	if k.answers(r) {
		return 4
	}
	if base(k.network) != base(r.network) {
		return 0
	}
	named := r.name != "" && k.name == r.name && k.kind != opened
	switch here := r.matches(k.local); {
	case named && here:
		return 3
	case named:
		return 2
	case here:
		return 1
	}
	return 0
}

// base returns the network without the address family.
func base(network string) string { return strings.TrimRight(network, "46") }

// isUnix reports whether addresses of the network are paths.
func isUnix(network string) bool { return strings.HasPrefix(network, "unix") }

// matches reports whether a socket with the given address is what r asks for.
func (r *request) matches(local string) bool {
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
		// Of both families there is but one that can have all of the port.
		if host == ip || host.IsUnspecified() && ip.IsUnspecified() {
			return true
		}
	}
	return false
}

func cleanPath(path string) string {
	if isAbstract(path) {
		return path
	}
	return filepath.Clean(path)
}

// isAbstract reports whether a socket's address is a name that is not in the file
// system.
func isAbstract(path string) bool {
	return path == "" || path[0] == '@' || path[0] == 0
}
