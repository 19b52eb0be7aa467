package sockets

import (
	"errors"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/autorestart-go/autorestart/internal/report"
)

// activation contains the variables of sd_listen_fds(3).
type activation struct{ pid, fds, names string }

var activationVars = [...]string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}

// firstActivated is the descriptor of the first socket.
const firstActivated = 3

var (
	errOtherProcess  = errors.New("LISTEN_PID is that of another process")
	errMalformed     = errors.New("LISTEN_PID or LISTEN_FDS is not a valid number")
	errUnknownSocket = errors.New("neither TCP, UDP nor Unix")
)

func init() {
	if hasExec && isFirstVersion() {
		passActivated()
	}
}

// passActivated passes the sockets from systemd on, as the previous version would have
// done. It runs before main so that nothing else uses them.
func passActivated() {
	var a activation
	for i, value := range [...]*string{&a.pid, &a.fds, &a.names} {
		*value = os.Getenv(activationVars[i])
		os.Unsetenv(activationVars[i])
	}
	names, err := a.parse(os.Getpid())
	if err != nil {
		report.Warn("ignored the sockets that the environment announces", "reason", err)
	}
	// Passing opens descriptors. So first find out which numbers are sockets.
	sockets := make(map[int]string)
	for i, name := range names {
		fd := firstActivated + i
		if err := adoptSocket(fd); err != nil {
			// LISTEN_FDS may be wrong, and the descriptor another one's: it stays open.
			report.Warn("ignored a descriptor from systemd", "fd", fd, "name", name, "reason", err)
			continue
		}
		sockets[fd] = name
	}
	for fd, name := range sockets {
		if err := passActivatedSocket(fd, name); err != nil {
			report.Warn("closed a socket from systemd", "fd", fd, "name", name, "reason", err)
		}
	}
}

// parse returns the names of the sockets for the process pid. A name may be empty.
func (a activation) parse(pid int) (names []string, err error) {
	if a.pid == "" && a.fds == "" {
		return nil, nil
	}
	forPID, err := strconv.ParseInt(a.pid, 10, 32)
	if err != nil || forPID <= 0 {
		return nil, errMalformed
	}
	if int(forPID) != pid {
		return nil, errOtherProcess
	}
	n, err := strconv.ParseUint(a.fds, 10, 16)
	if err != nil {
		return nil, errMalformed
	}
	names = make([]string, n)
	if a.names != "" {
		copy(names, strings.Split(a.names, ":"))
	}
	return names, nil
}

// passActivatedSocket closes fd, and passes a copy of it on to this version and later
// ones.
func passActivatedSocket(fd int, name string) error {
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	network, local, err := networkAndAddress(f)
	if err != nil {
		return err
	}
	return passFile(key{kind: unclaimed, network: network, number: fd, local: local, name: name}, f)
}

// networkAndAddress returns those of the socket f.
func networkAndAddress(f *os.File) (network, local string, err error) {
	var addr net.Addr
	if ln, err := net.FileListener(f); err == nil {
		addr = ln.Addr()
		ln.Close()
	} else if conn, err := net.FilePacketConn(f); err == nil {
		addr = conn.LocalAddr()
		conn.Close()
	}
	switch addr.(type) {
	case *net.TCPAddr, *net.UDPAddr, *net.UnixAddr:
		return addr.Network(), addr.String(), nil
	}
	return "", "", errUnknownSocket
}
