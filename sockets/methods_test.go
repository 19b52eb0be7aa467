//go:build unix

package sockets

import (
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Connections and listeners have the methods of those of package net, and no others: what is
// documented of these, users find, and nothing that only this library may call. A method that a
// release of Go adds is to be looked at before it is listed here: one that reads has to pass the
// gate.
func TestMethodsAreThoseOfNet(t *testing.T) {
	const (
		connAsIs = "CloseRead CloseWrite File LocalAddr RemoteAddr SetReadBuffer SetWriteBuffer SetWriteDeadline SyscallConn Write "
		tcpAsIs  = "MultipathTCP ReadFrom SetKeepAlive SetKeepAliveConfig SetKeepAlivePeriod SetLinger SetNoDelay "
		unixAsIs = "WriteMsgUnix WriteTo WriteToUnix "
		udpAsIs  = "File LocalAddr RemoteAddr SetReadBuffer SetWriteBuffer SetWriteDeadline Write WriteMsgUDP WriteMsgUDPAddrPort WriteTo WriteToUDP WriteToUDPAddrPort "
	)
	for _, test := range []struct {
		own, like any
		asIs      string // methods of package net, which read nothing
		gated     string // methods of this package
		missing   string
	}{
		{&tcpConn{}, &net.TCPConn{}, connAsIs + tcpAsIs, "Close Read SetDeadline SetReadDeadline WriteTo", ""},
		{&unixConn{}, &net.UnixConn{}, connAsIs + unixAsIs, "Close Read ReadFrom ReadFromUnix ReadMsgUnix SetDeadline SetReadDeadline", ""},
		{&udpConn{}, &net.UDPConn{}, udpAsIs, "Close Read ReadFrom ReadFromUDP ReadFromUDPAddrPort ReadMsgUDP ReadMsgUDPAddrPort SetDeadline SetReadDeadline SyscallConn", ""},
		// It does not let others read by system calls of their own.
		{&keepingConn{}, &net.UDPConn{}, udpAsIs, "Close Read ReadFrom ReadFromUDP ReadFromUDPAddrPort ReadMsgUDPAddrPort SetDeadline SetReadDeadline SyscallConn", "ReadMsgUDP"},
		{&unixgramConn{}, &net.UnixConn{}, strings.Replace(connAsIs, "SyscallConn", "", 1) + unixAsIs, "Close Read ReadFrom ReadFromUnix ReadMsgUnix SetDeadline SetReadDeadline SyscallConn", ""},
		// Accept returns connections that a restart waits for; those of package net are none.
		{&listener{}, &net.TCPListener{}, "", "Accept Addr Close File SetDeadline SyscallConn", "AcceptTCP"},
		// A path stays in a restart, whatever the program says.
		{&listener{}, &net.UnixListener{}, "", "Accept Addr Close File SetDeadline SyscallConn", "AcceptUnix SetUnlinkOnClose"},
	} {
		listed := strings.Fields(test.asIs + " " + test.gated + " " + test.missing)
		slices.Sort(listed)
		own, like := methods(test.own), methods(test.like)
		if names := methodNames(like); !slices.Equal(names, listed) {
			t.Errorf("%T has %v, and listed is %v", test.like, names, listed)
		}
		for name, kind := range own {
			if like[name] != kind {
				t.Errorf("%T has %s%s, and %T does not", test.own, name, kind, test.like)
			}
		}
		for name := range like {
			if _, ok := own[name]; !ok && !slices.Contains(strings.Fields(test.missing), name) {
				t.Errorf("%T lacks %s of %T", test.own, name, test.like)
			}
		}
	}
}

// methods returns the exported methods of v, each with its parameters and results.
func methods(v any) map[string]string {
	all := map[string]string{}
	for m := range reflect.TypeOf(v).Methods() {
		all[m.Name] = reflect.ValueOf(v).MethodByName(m.Name).Type().String()
	}
	return all
}

func methodNames(all map[string]string) (names []string) {
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
