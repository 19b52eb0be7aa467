//go:build !autorestart_portable

// The attestation of a handover.
//
// A program with file capabilities hands over to its next version. But its environment is
// set by its starter, which may be a process of the same user without these capabilities.
// So the next image believes the variable only after this exchange.
//
//  1. The image that hands over forks. The child, the attester, has its rights. It stays
//     behind over the exec, and has a socket to the next image.
//  2. The next image opens a file with a random name, and sends the number of its
//     descriptor to the attester.
//  3. The attester reads the link of that descriptor in /proc/PID/fd, and replies with it.
//     The kernel shows the link to a process that may read the next image: with all its
//     capabilities, in its user namespace, and with the consent of a security module
//     (PTRACE_MODE_READ in ptrace(2)).
//  4. The next image compares the name. A process that may read it has its rights already,
//     and can't gain any by a forged handover.
//
// The attester reads the links of no process but the one that has forked it, so a stranger
// can't have the name of another process read by it. The reply contains what the attester
// was forked to attest: the variable, and which file its carrier is. So a stranger can't
// put other contents in the place of what was handed over.
//
// The image that hands over asks first. Where it gets no answer, the next image would not
// get one either.
//
//	call                  since    without it
//	memfd_create(2)       3.17     nothing can be attested, and nothing is handed over
//	/proc/PID/fd          2.2      the same
//	PR_SET_DUMPABLE       2.3.20   -

package handover

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"github.com/autorestart-go/autorestart/internal/rawsys"
)

// attesterTimeout is how long attester and next image wait for each other. It takes them
// a fraction of a millisecond.
var attesterTimeout = syscall.Timeval{Sec: 10}

// maxLink is the room for the link of a memfd in /proc/PID/fd.
const maxLink = 64

// An attester is what the process knows that attests. It has no more than one thread, and
// nothing of the Go runtime works in it: it makes system calls, and calls no function that
// could grow its stack.
type attester struct {
	pid    uintptr // of the process that it answers
	socket uintptr // its end of the connection

	path   [64]byte // /proc/PID/fd/ and what the next image sends
	prefix uintptr  // length of the part that is known

	reply []byte // its own PID, the link, and the statement

	header       capabilityHeader // for capset(2)
	capabilities capabilitySets

	allSignals, signals rawsys.SignalMask
}

// statement is what an attester attests of s: the variable, and which file is its carrier.
func (s *State) statement(variable string) (string, error) {
	if fd := s.Number(Carrier); fd != 0 {
		var st syscall.Stat_t
		if err := syscall.Fstat(fd, &st); err != nil {
			return "", err
		}
		variable += strconv.FormatUint(uint64(st.Dev), 16) + ":" + strconv.FormatUint(st.Ino, 16)
	}
	return variable, nil
}

// attest has a process attest s if the image at the path will ask for that, and adds it to
// the variable. The caller calls dismiss when the exec has failed.
//
// An image that gets no capabilities does not ask. Any process of its user may look into it,
// and must not find a connection to an attester there.
func (s *State) attest(variable, path string) (attested string, dismiss func(), err error) {
	if !Secure || s.InVariable {
		return variable, func() {}, nil
	}
	own, err := capabilities()
	if err != nil {
		return "", nil, &attestError{ErrCannotAttest}
	}
	gained, err := own.gained(path)
	switch {
	case err != nil:
		return "", nil, &attestError{err}
	case gained&^own.permitted() != 0:
		return "", nil, &attestError{errMoreRights}
	case gained == 0 && own.permitted() != 0:
		return variable, func() {}, nil
	}
	pair, err := s.socketpair()
	if err != nil {
		return "", nil, &attestError{err}
	}
	socket, fd := pair[0], pair[1]
	defer syscall.Close(socket)
	s.Set(Attester, fd)
	variable += numberKeys[Attester] + "=" + strconv.Itoa(fd) + ","
	pid := 0
	dismiss = func() {
		if pid > 0 {
			end(pid)
		}
		syscall.Close(fd)
		s.Reserve.refill()
	}
	statement, err := s.statement(variable)
	if err == nil {
		err = setTimeout(fd)
	}
	if err == nil {
		pid, err = newAttester(socket, statement, own).start()
	}
	if err == nil {
		_, err = s.ask(fd, statement)
	}
	if err != nil {
		dismiss()
		return "", nil, &attestError{err}
	}
	return variable, dismiss, nil
}

// newAttester returns an attester with its end of a connection. It makes all capabilities
// that it may have effective: only those count.
func newAttester(socket int, statement string, own capabilitySets) *attester {
	a := &attester{pid: uintptr(syscall.Getpid()), socket: uintptr(socket)}
	a.prefix = uintptr(copy(a.path[:], "/proc/"+strconv.Itoa(syscall.Getpid())+"/fd/"))
	a.reply = append(make([]byte, 4+maxLink), statement...)
	a.header.version, a.capabilities = capabilityVersion3, own
	for i := range a.capabilities {
		a.capabilities[i].effective = own[i].permitted
	}
	return a
}

func (a *attester) start() (pid int, err error) {
	pid, errno := a.fork()
	if errno != 0 {
		return 0, errno
	}
	return pid, nil
}

// An attestError says that the handover can't be attested.
type attestError struct{ err error }

func (e *attestError) Error() string { return "cannot attest the handover: " + e.err.Error() }

func (e *attestError) Unwrap() error { return e.err }

// Is reports that an image with more rights can't have anything attested, either.
func (e *attestError) Is(target error) bool {
	return target == ErrCannotAttest && e.err == errMoreRights
}

var errMoreRights = errors.New("the new version gets capabilities that this process does not have")

// setTimeout limits how long a read or write of a socket takes.
func setTimeout(fd int) error {
	err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &attesterTimeout)
	if err == nil {
		err = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &attesterTimeout)
	}
	return err
}

// end ends an attester and waits for it. It is a child that sends no SIGCHLD, which only
// __WALL waits for. An error says that it is gone.
func end(pid int) {
	const wall = 0x40000000
	syscall.Kill(pid, syscall.SIGKILL)
	for {
		if _, err := syscall.Wait4(pid, nil, wall, nil); err != syscall.EINTR {
			return
		}
	}
}

// fork starts the attester and returns its PID. A signal must not find the child: the
// runtime's handlers work on state that belongs to this process.
//
//go:norace
//go:nocheckptr
//go:nosplit
func (a *attester) fork() (pid int, errno syscall.Errno) {
	a.allSignals = rawsys.SignalMask{^uint64(0), ^uint64(0)}
	a.signals.Change(&a.allSignals)
	n, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, 0, 0, 0, 0, 0, 0)
	if n == 0 && errno == 0 {
		a.run()
	}
	a.allSignals.Change(&a.signals)
	return int(n), errno
}

// run is the child. It answers until the other end is closed. If it can't set its
// capabilities, its answers show that. It calls RawSyscall6 alone, which needs less stack than
// RawSyscall: without optimization, as for a debugger, there is just enough.
//
//go:norace
//go:nocheckptr
//go:nosplit
func (a *attester) run() {
	// It keeps nothing else open: no client, no listener, and not the other end. Before Linux
	// 5.9 it keeps everything open while it lives.
	syscall.RawSyscall6(rawsys.Numbers.CloseRange, 0, a.socket-1, 0, 0, 0, 0)
	syscall.RawSyscall6(rawsys.Numbers.CloseRange, a.socket+1, lastDescriptor, 0, 0, 0, 0)
	syscall.RawSyscall6(syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&a.header)), uintptr(unsafe.Pointer(&a.capabilities)), 0, 0, 0, 0)
	path := unsafe.Pointer(&a.path)
	reply := unsafe.Pointer(unsafe.SliceData(a.reply))
	room := unsafe.Sizeof(a.path) - a.prefix - 1 // for a NUL
	pid, _, _ := syscall.RawSyscall6(syscall.SYS_GETPID, 0, 0, 0, 0, 0, 0)
	*(*int32)(reply) = int32(pid)
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_READ, a.socket, uintptr(unsafe.Add(path, a.prefix)), room, 0, 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		parent, _, _ := syscall.RawSyscall6(syscall.SYS_GETPPID, 0, 0, 0, 0, 0, 0)
		if errno != 0 || n == 0 || parent != a.pid {
			break
		}
		*(*byte)(unsafe.Add(path, a.prefix+n)) = 0
		if !isNumber((*byte)(unsafe.Add(path, a.prefix))) {
			break // a path would lead to another process
		}
		clear((*[maxLink]byte)(unsafe.Add(reply, 4))[:])
		syscall.RawSyscall6(syscall.SYS_READLINKAT, 0, uintptr(path), uintptr(unsafe.Add(reply, 4)), maxLink, 0, 0)
		syscall.RawSyscall6(syscall.SYS_WRITE, a.socket, uintptr(reply), uintptr(len(a.reply)), 0, 0, 0)
	}
	for {
		syscall.RawSyscall6(syscall.SYS_EXIT_GROUP, 0, 0, 0, 0, 0, 0)
	}
}

const lastDescriptor = 1<<32 - 1

// isNumber reports whether the text up to a NUL has digits only.
//
//go:norace
//go:nocheckptr
//go:nosplit
func isNumber(text *byte) bool {
	for *text != 0 {
		if *text < '0' || *text > '9' {
			return false
		}
		text = (*byte)(unsafe.Add(unsafe.Pointer(text), 1))
	}
	return true
}

// checkAttestation returns why s, which was parsed from the variable, is not believed.
func (s *State) checkAttestation(variable string) (ignored string) {
	socket := s.Number(Attester)
	statement, err := s.statement(variable)
	if socket == 0 || err != nil || setTimeout(socket) != nil {
		return notAttested
	}
	pid, err := s.ask(socket, statement)
	syscall.Close(socket)
	if err != nil {
		reapAttester()
		return notAttested
	}
	end(pid)
	return ""
}

// ask asks the attester at the other end of a socket whether it attests the statement. The
// PID is that of the attester. Unless a lack is why, the error is [ErrCannotAttest].
func (s *State) ask(socket int, statement string) (pid int, err error) {
	fd, name, end, err := s.probe()
	switch {
	case MayPass(err):
		return 0, err
	case err != nil:
		return 0, ErrCannotAttest
	}
	defer end()
	defer becomeReadable()()
	question, reply := []byte(strconv.Itoa(fd)), make([]byte, 4+maxLink+len(statement)+1)
	if _, err := rawsys.IgnoringEINTR(func() (int, error) { return syscall.Write(socket, question) }); err != nil {
		return 0, ErrCannotAttest
	}
	// With SO_RCVTIMEO a signal does interrupt it, see signal(7).
	n, err := rawsys.IgnoringEINTR(func() (int, error) { return syscall.Read(socket, reply) })
	if err != nil || n != len(reply)-1 || string(reply[4+maxLink:n]) != statement {
		return 0, ErrCannotAttest
	}
	if link, _, _ := rawsys.Cut(string(reply[4:][:maxLink]), 0); link != "/memfd:"+name+" (deleted)" {
		return 0, ErrCannotAttest
	}
	return int(*(*int32)(unsafe.Pointer(&reply[0]))), nil
}

func randomName() string {
	return strconv.FormatUint(rand.Uint64(), 36) + strconv.FormatUint(rand.Uint64(), 36)
}

// closeAttester closes the connection to an attester that is not asked.
func (s *State) closeAttester() {
	if socket := s.Number(Attester); socket != 0 && rawsys.Crossed(socket) {
		syscall.Close(socket)
		reapAttester()
	}
}

// reapAttester waits for an attester whose PID is not known: its connection is closed. It is
// the only child that __WCLONE waits for.
func reapAttester() {
	const wclone, wnohang, attempts = 0x80000000, 1, 100
	for range attempts {
		pid, _, errno := syscall.RawSyscall6(syscall.SYS_WAIT4, ^uintptr(0), 0, wclone|wnohang, 0, 0, 0)
		if errno != 0 || pid != 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// becomeReadable lets processes that have the rights of this one look at it, until restore
// is called. The kernel lets none after an exec that has added capabilities, and lets them
// again after an exec that has added none. From then on the process is not readable in any
// case, and never dumps core, which a process of its user could read.
func becomeReadable() (restore func()) {
	const setDumpable = 4
	syscall.RawSyscall(syscall.SYS_PRCTL, setDumpable, 1, 0)
	return func() { syscall.RawSyscall(syscall.SYS_PRCTL, setDumpable, 0, 0) }
}
