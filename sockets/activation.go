package sockets

import (
	"errors"
	"strconv"
	"strings"
)

// activation is what sd_listen_fds(3) finds in the environment.
type activation struct{ pid, fds, names string }

var activationVars = [...]string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}

// firstActivated is the descriptor of the first socket.
const firstActivated = 3

var (
	errOtherProcess = errors.New("LISTEN_PID is another process")
	errMalformed    = errors.New("LISTEN_PID or LISTEN_FDS is not a number that can be")
)

// parse returns the names of the sockets that are for this process. Some may be
// empty.
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
