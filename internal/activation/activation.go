// Package activation decides whether the sockets that a supervisor passes are for this process. The
// supervisor announces them in the environment, see sd_listen_fds(3). Each child that inherits the
// environment finds the same variables, and perhaps the same descriptors.
package activation

import (
	"errors"
	"os"
	"strconv"
	"strings"
)

// FirstDescriptor is the descriptor of the first socket.
const FirstDescriptor = 3

// StoredPrefix begins the names of the descriptors that systemd stores for this library, see internal/fdstore. It is the
// same in all versions of this library.
const StoredPrefix = "autorestart."

// IsStored reports whether a name is that of a descriptor that systemd stores for this library.
func IsStored(name string) bool { return strings.HasPrefix(name, StoredPrefix) }

// Names are the variables that announce sockets. A process that has taken the sockets removes them.
var Names = [...]string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"}

// Variables are the values of the environment.
type Variables struct {
	PID, FDs, FDNames string

	// PIDFDID is LISTEN_PIDFDID, since systemd 258: which process it is, in all namespaces and for
	// as long as the system runs.
	PIDFDID string

	// ExecPID is SYSTEMD_EXEC_PID, since systemd 248: the PID of the process that systemd has started.
	ExecPID string
}

var (
	ErrOtherProcess = errors.New("LISTEN_PID is that of another process")
	ErrMalformed    = errors.New("LISTEN_PID or LISTEN_FDS is not a valid number")
)

// Get returns the values that the environment has now.
func Get() (v Variables) {
	for i, value := range [...]*string{&v.PID, &v.FDs, &v.FDNames, &v.PIDFDID} {
		*value = os.Getenv(Names[i])
	}
	v.ExecPID = os.Getenv("SYSTEMD_EXEC_PID")
	return v
}

// IsMain reports whether a process of this PID namespace may be the one that systemd has started. Before
// systemd 248 each process may be.
func (v Variables) IsMain(pid int) bool {
	return v.ExecPID == "" || v.ExecPID == strconv.Itoa(pid) || pid == 1 && processOf(pid, false).procIsOwn
}

// For returns the names of the sockets that are announced for a process of this PID namespace. A
// name may be empty. The error is [ErrOtherProcess] or [ErrMalformed].
func (v Variables) For(pid int) (names []string, err error) {
	if v.PID == "" && v.FDs == "" {
		return nil, nil
	}
	return v.names(processOf(pid, v.PIDFDID != ""))
}

// A process is what is known of the process that may have been announced.
type process struct {
	pid int // in this PID namespace

	// id is the number of its inode in pidfs; 0 if there is none.
	id uint64

	// procIsOwn says that the /proc here is that of this PID namespace.
	procIsOwn bool
}

func (v Variables) names(p process) (names []string, err error) {
	announced, err := strconv.ParseInt(v.PID, 10, 32)
	if err != nil || announced <= 0 {
		return nil, ErrMalformed
	}
	if !v.announce(int(announced), p) {
		return nil, ErrOtherProcess
	}
	n, err := strconv.ParseUint(v.FDs, 10, 16)
	if err != nil {
		return nil, ErrMalformed
	}
	names = make([]string, n)
	if v.FDNames != "" {
		copy(names, strings.Split(v.FDNames, ":"))
	}
	return names, nil
}

// announce reports whether the variables are for p, where LISTEN_PID is pid.
//
// With PrivatePIDs=, the service is process 1 of a PID namespace. LISTEN_PID is a PID outside, in
// systemd 257 that of the process that has made the namespace, and SYSTEMD_EXEC_PID is the same one.
// systemd mounts the /proc of the namespace. It is missing if a program has started a child in a PID
// namespace, and nothing more.
func (v Variables) announce(pid int, p process) bool {
	if v.PIDFDID != "" && p.id != 0 {
		id, err := strconv.ParseUint(v.PIDFDID, 10, 64)
		return err == nil && id == p.id
	}
	return pid == p.pid || p.pid == 1 && v.PID == v.ExecPID && p.procIsOwn
}
