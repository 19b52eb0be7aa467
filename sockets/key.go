package sockets

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// A key is the name that a socket crosses the exec under, see [autorestart.Pass].
// It holds all that is known of the socket, so that the next image finds what it is
// asked for without opening any.
type key struct {
	kind    kind
	network string // as it was asked for
	address string // likewise
	number  int    // tells sockets of the same network and address apart
	local   string // the address that it got
	name    string // that systemd gave it, as a rule
}

type kind string

const (
	opened    kind = "socket"
	activated kind = "systemd-socket"       // by systemd, which owns its path
	unasked   kind = "systemd-socket-spare" // and nobody has asked for it yet; network is what it is
	accepted  kind = "connection"           // by the listener with the rest of the key; name is a number
	closing   kind = "closing-connection"   // likewise, that lingers
)

// String is what parseKey parses.
func (k key) String() string {
	return fmt.Sprintf("%s %s/%d %q %q %q", k.kind, k.network, k.number, k.address, k.local, k.name)
}

// parseKey reports false for a name that is none of ours.
func parseKey(s string) (k key, ok bool) {
	word, s, _ := strings.Cut(s, " ")
	k.kind = kind(word)
	switch k.kind {
	case opened, activated, unasked, accepted, closing:
	default:
		return key{}, false
	}
	word, s, _ = strings.Cut(s, " ")
	network, number, _ := strings.Cut(word, "/")
	n, err := strconv.Atoi(number)
	if err != nil {
		return key{}, false
	}
	k.network, k.number = network, n
	for i, field := range []*string{&k.address, &k.local, &k.name} {
		if i > 0 {
			if s, ok = strings.CutPrefix(s, " "); !ok {
				return key{}, false
			}
		}
		quoted, err := strconv.QuotedPrefix(s)
		if err != nil {
			return key{}, false
		}
		s = s[len(quoted):]
		if *field, err = strconv.Unquote(quoted); err != nil {
			return key{}, false
		}
	}
	return k, s == ""
}

// localAddress is a's for a key; not every socket has one.
func localAddress(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}

// hasPath reports whether the socket is reached by a path.
func (k key) hasPath() bool { return isUnix(k.network) && !isAbstract(k.local) }

// ownsPath reports whether the path goes with the socket, as package net has it.
func (k key) ownsPath() bool {
	return k.kind == opened && k.network != "unixgram" && k.hasPath()
}
