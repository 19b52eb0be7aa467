package passing

import (
	"slices"
	"strings"
)

// A Name is the name by which a file or a state crosses the exec. There, the names of the
// program and those of this library share one namespace, and versions from before Names, which
// pass the names of the program as they are, read it, too. So
//   - a name of the library is a key of package sockets, or begins with reserved
//   - a name of the program crosses as it is, unless it would be one of the library's; then it
//     gets a prefix.
type Name string

const (
	reserved      = "autorestart:"
	programPrefix = reserved + "program:"
	secretPrefix  = reserved + "secret:"
	carriedPrefix = reserved + "carried:"
)

// keyKinds are the words that the keys of package sockets begin with. A later kind begins with
// reserved.
var keyKinds = [...]string{
	"socket", "systemd-socket", "systemd-socket-spare",
	"connection", "closing-connection", "begun-connection", "unread-connection",
}

// ProgramName returns the name that stands for one that the program has chosen.
func ProgramName(name string) Name {
	if strings.HasPrefix(name, reserved) || looksLikeKey(name) {
		return Name(programPrefix + name)
	}
	return Name(name)
}

// program returns the name that the program has chosen; none for a name of the library.
func (n Name) program() (name string, ok bool) {
	name = strings.TrimPrefix(string(n), programPrefix)
	return name, ProgramName(name) == n
}

// String returns the name that a user knows.
func (n Name) String() string {
	if name, ok := n.program(); ok {
		return name
	}
	return string(n)
}

// CarriedName returns the name of a file or a state of this library that crosses each exec, also of a
// version that does not claim it.
func CarriedName(name string) Name { return Name(carriedPrefix + name) }

func (n Name) isCarried() bool { return strings.HasPrefix(string(n), carriedPrefix) }

// isKeptFile reports whether a [Keeper] gets a file of this name: one of the program, or a socket
// that the program has opened.
func (n Name) isKeptFile() bool {
	_, ofProgram := n.program()
	return ofProgram || n.isSocket()
}

// isSocket reports whether the name is that of a socket that the program has opened.
func (n Name) isSocket() bool { return strings.HasPrefix(string(n), keyKinds[0]+" ") }

// isActivated reports whether the name is that of a listener that systemd has passed.
func (n Name) isActivated() bool {
	return strings.HasPrefix(string(n), keyKinds[1]+" ") || strings.HasPrefix(string(n), keyKinds[2]+" ")
}

// isKeptState reports whether a [Keeper] gets a state of this name.
func (n Name) isKeptState() bool {
	_, ofProgram := n.program()
	return ofProgram || n.isSecret() || n.isCarried()
}

// looksLikeKey reports whether a name has the form of a key of package sockets:
// kind network/number "address" and more.
func looksLikeKey(name string) bool {
	kind, rest, _ := strings.Cut(name, " ")
	socket, rest, _ := strings.Cut(rest, " ")
	return slices.Contains(keyKinds[:], kind) && strings.Contains(socket, "/") && strings.HasPrefix(rest, `"`)
}
