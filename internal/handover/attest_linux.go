//go:build !autorestart_portable

// The attestation of a handover.
//
// A program with file capabilities hands over to its next version, but its environment is
// set by whoever starts it, and that may be a process of the same user without these
// capabilities. So the next image wants to know that an image with its rights speaks to
// it, and asks for what only such an image can do.
//
// The image that hands over forks. The process that stays behind over the exec, the
// attester, has its rights, and a socket to the next image. That opens a file with a random
// name, tells the attester the number of the descriptor, and is told the name: the link in
// /proc/PID/fd is only for who may read this process, which takes all capabilities that it
// has, in the same user namespace, and the consent of a security module (PTRACE_MODE_READ
// in ptrace(2)). Who may do that has the rights of this process already, and can't gain
// any by a forged handover.
//
// The attester looks at no other process than the one that has forked it, and adds what it
// was forked to attest: the variable, and which file its carrier is. So no stranger can
// have the name told by it, or put other contents in the place of what was handed over.
//
//	call                  since    without it
//	memfd_create(2)       3.17     a secure image believes nothing
//	/proc/PID/fd          2.2      the same, also where hidepid= hides a child
//	PR_SET_DUMPABLE       2.3.20   -

package handover

import (
	"math/rand/v2"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"
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
	pid          uintptr // of the process that it answers
	socket, peer uintptr // its end, and the other one

	path   [64]byte // /proc/PID/fd/ and what the next image sends
	prefix uintptr  // length of the part that is known

	reply []byte // its own PID, the link, and the statement

	header, capabilities [6]uint32 // for capset(2)
	allSignals, signals  [2]uint64 // for rt_sigprocmask(2)
}

// statement is what an attester attests of s: the variable, and which file is its carrier.
func (s *State) statement(variable string) string {
	if fd := s.Number(Carrier); fd != 0 {
		var st syscall.Stat_t
		if err := syscall.Fstat(fd, &st); err != nil {
			return ""
		}
		variable += strconv.FormatUint(uint64(st.Dev), 16) + ":" + strconv.FormatUint(st.Ino, 16)
	}
	return variable
}

// attest has a process attest s if the next image will ask for that, and adds it to the
// variable. The caller calls dismiss when the exec has failed.
func (s *State) attest(variable string) (attested string, dismiss func(), err error) {
	if !Secure {
		return variable, func() {}, nil
	}
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, err
	}
	defer syscall.Close(pair[0])
	fd, err := aboveStandard(pair[1], nil)
	if err != nil {
		return "", nil, err
	}
	setTimeout(pair[0])
	s.Set(Attester, fd)
	variable += attesterField(fd)
	a := &attester{pid: uintptr(syscall.Getpid()), socket: uintptr(pair[0]), peer: uintptr(fd)}
	a.prefix = uintptr(copy(a.path[:], "/proc/"+strconv.Itoa(syscall.Getpid())+"/fd/"))
	a.reply = append(make([]byte, 4+maxLink), s.statement(variable)...)
	a.prepareCapabilities()
	pid, errno := a.fork()
	if errno != 0 {
		syscall.Close(fd)
		s.Numbers[Attester] = nil
		return "", nil, &attestError{errno}
	}
	return variable, func() {
		end(pid)
		syscall.Close(fd)
		s.Numbers[Attester] = nil
	}, nil
}

// An attestError says that no attester could be started.
type attestError struct{ err error }

func (e *attestError) Error() string {
	return "cannot start the process that attests the handover: " + e.err.Error()
}

func (e *attestError) Unwrap() error { return e.err }

func attesterField(fd int) string {
	return numberKeys[Attester] + "=" + strconv.Itoa(fd) + ","
}

// setTimeout limits how long a read or write of a socket takes.
func setTimeout(fd int) error {
	err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &attesterTimeout)
	if err == nil {
		err = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &attesterTimeout)
	}
	return err
}

// end ends an attester and waits for it. It is a child that sends no SIGCHLD, which only
// __WALL waits for.
func end(pid int) {
	const wall = 0x40000000
	syscall.Kill(pid, syscall.SIGKILL)
	for {
		if _, err := syscall.Wait4(pid, nil, wall, nil); err != syscall.EINTR {
			return
		}
	}
}

// prepareCapabilities has the attester make all capabilities that it may have effective:
// only those count.
func (a *attester) prepareCapabilities() {
	const version3 = 0x20080522
	a.header[0] = version3
	syscall.RawSyscall(syscall.SYS_CAPGET, uintptr(unsafe.Pointer(&a.header)), uintptr(unsafe.Pointer(&a.capabilities)), 0)
	c := &a.capabilities // effective, permitted, inheritable, and the same for the upper half
	c[0], c[3] = c[1], c[4]
}

// fork starts the attester and returns its PID. A signal must not find the child: the
// runtime's handlers work on state that belongs to this process.
//
//go:norace
//go:nocheckptr
//go:nosplit
func (a *attester) fork() (pid int, errno syscall.Errno) {
	setMask, size := uintptr(2), uintptr(8)
	if mips {
		setMask, size = 3, 16
	}
	a.allSignals = [2]uint64{^uint64(0), ^uint64(0)}
	syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, setMask,
		uintptr(unsafe.Pointer(&a.allSignals)), uintptr(unsafe.Pointer(&a.signals)), size, 0, 0)
	n, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, 0, 0, 0, 0, 0, 0)
	if n == 0 && errno == 0 {
		a.run()
	}
	syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, setMask, uintptr(unsafe.Pointer(&a.signals)), 0, size, 0, 0)
	return int(n), errno
}

const mips = runtime.GOARCH == "mips" || runtime.GOARCH == "mipsle" ||
	runtime.GOARCH == "mips64" || runtime.GOARCH == "mips64le"

// run is the child. It answers one question, and waits until it is ended, or the other end
// is closed.
//
//go:norace
//go:nocheckptr
//go:nosplit
func (a *attester) run() {
	syscall.RawSyscall(syscall.SYS_CLOSE, a.peer, 0, 0)
	syscall.RawSyscall(syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&a.header)), uintptr(unsafe.Pointer(&a.capabilities)), 0)
	path := unsafe.Pointer(&a.path)
	reply := unsafe.Pointer(unsafe.SliceData(a.reply))
	room := unsafe.Sizeof(a.path) - a.prefix - 1 // for a NUL
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, a.socket, uintptr(unsafe.Add(path, a.prefix)), room)
	parent, _, _ := syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0)
	if errno == 0 && parent == a.pid {
		*(*byte)(unsafe.Add(path, a.prefix+n)) = 0
		*(*int32)(reply) = currentPID()
		syscall.RawSyscall6(syscall.SYS_READLINKAT, 0, uintptr(path), uintptr(unsafe.Add(reply, 4)), maxLink, 0, 0)
		syscall.RawSyscall(syscall.SYS_WRITE, a.socket, uintptr(reply), uintptr(len(a.reply)))
		syscall.RawSyscall(syscall.SYS_READ, a.socket, uintptr(path), 1)
	}
	for {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

//go:norace
//go:nocheckptr
//go:nosplit
func currentPID() int32 {
	pid, _, _ := syscall.RawSyscall(syscall.SYS_GETPID, 0, 0, 0)
	return int32(pid)
}

// checkAttestation returns why s, which was parsed from the variable, is not believed.
func (s *State) checkAttestation(variable string) (ignored string) {
	socket := s.Number(Attester)
	if socket == 0 || setTimeout(socket) != nil {
		return notAttested
	}
	defer syscall.Close(socket)
	closeOnExec(socket)
	name := strconv.FormatUint(rand.Uint64(), 36) + strconv.FormatUint(rand.Uint64(), 36)
	fd, err := memfdCreate(name)
	if err != nil {
		return notAttested
	}
	defer syscall.Close(fd)
	defer becomeReadable()()
	if _, err := syscall.Write(socket, []byte(strconv.Itoa(fd))); err != nil {
		return notAttested
	}
	want := s.statement(variable)
	reply := make([]byte, 4+maxLink+len(want)+1)
	n, err := syscall.Read(socket, reply)
	if err != nil || n != len(reply)-1 || string(reply[4+maxLink:n]) != want {
		return notAttested
	}
	link, _, _ := cut(string(reply[4:][:maxLink]), 0)
	if link != "/memfd:"+name+" (deleted)" {
		return notAttested
	}
	end(int(*(*int32)(unsafe.Pointer(&reply[0]))))
	return ""
}

// becomeReadable lets processes that have the rights of this one look at it, until restore
// is called. The kernel lets none after an exec that has added capabilities. It can't be
// set back to be dumped for root alone (suid_dumpable in proc(5)): then it is not at all.
func becomeReadable() (restore func()) {
	const getDumpable, setDumpable = 3, 4
	was, _, _ := syscall.RawSyscall(syscall.SYS_PRCTL, getDumpable, 0, 0)
	if was == 1 {
		return func() {}
	}
	syscall.RawSyscall(syscall.SYS_PRCTL, setDumpable, 1, 0)
	return func() { syscall.RawSyscall(syscall.SYS_PRCTL, setDumpable, 0, 0) }
}
