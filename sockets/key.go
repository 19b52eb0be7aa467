package sockets

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/autorestart-go/autorestart/internal/activation"
)

// A key is the name under which a socket crosses the exec, see [passing.Name]. It
// contains all that the next version has to know to choose a socket without opening
// it.
type key struct {
	kind    kind
	network string // as requested
	address string // as requested
	number  int    // distinguishes sockets of the same network and address
	local   string // the address that the socket is bound to
	name    string // of the socket in systemd; of a connection, a number
}

// kind is part of what crosses the exec: the strings are the same in all versions of
// this library. This version passes no unclaimed sockets on; earlier ones took all of
// systemd's when they started.
type kind string

const (
	opened     kind = "socket"
	activated  kind = "systemd-socket"       // opened by systemd, which owns its path
	unclaimed  kind = "systemd-socket-spare" // the same, unclaimed; network is the actual one
	parked     kind = "connection"           // accepted by the listener with the rest of the key
	halfClosed kind = "closing-connection"   // the same, half closed
	begun      kind = "begun-connection"     // parked, with the beginning of a request as its state
	unread     kind = "unread-connection"    // to that listener, and not accepted yet

	// The packet connection with the rest of the key, with packets that were read as its state. Like
	// connections it crosses in both directions.
	keptFor kind = "autorestart:kept-packets"

	// Passed by systemd and not taken. The number is the descriptor, the network the
	// actual one. It crosses the exec without a key: each version finds it in place.
	announced kind = "announced"
)

// String returns the string that [parseKey] parses.
func (k key) String() string {
	return fmt.Sprintf("%s %s/%d %q %q %q", k.kind, k.network, k.number, k.address, k.local, k.name)
}

// parseKey returns false if s is not the key of a socket.
func parseKey(s string) (k key, ok bool) {
	word, s, _ := strings.Cut(s, " ")
	k.kind = kind(word)
	switch k.kind {
	case opened, activated, unclaimed, parked, halfClosed, begun, unread, keptFor:
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

// isOpened reports whether a call of this package has opened or claimed the socket.
func (k key) isOpened() bool { return k.kind != unclaimed && k.kind != announced }

// hasPath reports whether clients reach the socket by a path.
func (k key) hasPath() bool { return isUnix(k.network) && !isAbstract(k.local) }

// isReplacedBy reports whether other has the path of a socket that this program has opened. systemd binds the path of a
// socket unit anew, also if the program has bound it before.
func (k key) isReplacedBy(other key) bool {
	return k.kind == opened && k.hasPath() &&
		other.kind == announced && other.hasPath() && !other.isStored() && cleanPath(k.local) == cleanPath(other.local)
}

// isStored reports whether systemd announces the socket because this program has had it stored, for the time after a
// crash. It then belongs to the program, and to no socket unit.
func (k key) isStored() bool { return k.kind == announced && activation.IsStored(k.name) }

// isConnection reports whether the socket is a connection to a listener, or the packets of a packet
// connection: it crosses beside the socket with the rest of the key.
func (k key) isConnection() bool {
	return k.kind == parked || k.kind == halfClosed || k.kind == begun || k.kind == unread || k.kind == keptFor
}

// ownsPath reports whether Close removes the path of the socket, as in package net.
func (k key) ownsPath() bool {
	return k.kind == opened && k.network != "unixgram" && k.hasPath()
}
