//go:build !autorestart_portable

// A stand-in: a child of the process that hands over, which gets a State although its PID is
// another one.
//
// A variable of the environment makes no process a stand-in. The parent, the main process, makes
// a socket pair, whose other end the child finds under Channel, and sends the child's PID over it.
// So
//   - SO_PEERCRED of the channel, which says who has made the pair, is the parent of this process
//   - the first message has the credentials of the parent, and names this process.
//
// Until this code runs, a parent-death signal ends a child without a parent. After that the child
// watches its parent by a pidfd, and the channel for its end. The signal would come when the
// thread ends that has forked, so at the exec of the main process at the latest. The end of the
// channel alone is not seen while a child of the main process has inherited the other end.
//
//	call                  since    without it
//	SO_PEERCRED           2.2      there are no stand-ins
//	SO_PASSCRED           2.2      the same
//	pidfd_open(2)         5.3      the same

package handover

import (
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/autorestart-go/autorestart/internal/rawsys"
)

// standInGreeting is the first message of a channel, followed by the PID of the stand-in.
const standInGreeting = "stand-in "

// StandInGreeting returns the first message that the main process sends to a stand-in.
func StandInGreeting(pid int) []byte { return []byte(standInGreeting + strconv.Itoa(pid)) }

// StandInStarted is the answer to the greeting, as a message of internal/standin: the stand-in
// watches its parent, and the thread that has forked it may end.
const StandInStarted = "\x01\x00\x00\x00"

// isStandIn reports whether the variable makes this process a stand-in of its parent.
func isStandIn(variable string, parent int) bool {
	s, ignored := Parse(variable, parent)
	channel := s.Number(Channel)
	if ignored != "" || channel == 0 {
		return false
	}
	peer, err := syscall.GetsockoptUcred(channel, syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	if err != nil || int(peer.Pid) != parent {
		return false
	}
	return isGreeted(channel, parent)
}

// isGreeted receives the greeting of the main process. It comes as soon as that knows the PID, or
// goes on if it was stopped.
func isGreeted(channel, parent int) bool {
	text := make([]byte, 64)
	credentials := make([]byte, syscall.CmsgSpace(syscall.SizeofUcred))
	var length int
	n, err := rawsys.IgnoringEINTR(func() (n int, err error) {
		n, length, _, _, err = syscall.Recvmsg(channel, text, credentials, syscall.MSG_CMSG_CLOEXEC)
		return n, err
	})
	switch {
	case err != nil:
		endStandIn("recvmsg: " + err.Error())
	case n == 0 && length == 0:
		endStandIn("the main process has closed the channel")
	case string(text[:n]) != string(StandInGreeting(syscall.Getpid())):
		return false
	}
	messages, err := syscall.ParseSocketControlMessage(credentials[:length])
	if err != nil || len(messages) != 1 {
		return false
	}
	sender, err := syscall.ParseUnixCredentials(&messages[0])
	if err != nil || int(sender.Pid) != parent {
		return false
	}
	// From here on, messages have descriptors.
	syscall.SetsockoptInt(channel, syscall.SOL_SOCKET, syscall.SO_PASSCRED, 0)
	return true
}

// endStandIn ends a stand-in that can't be one. A normal start would be that of a second main
// process.
func endStandIn(reason string) {
	syscall.Write(syscall.Stderr, []byte("autorestart: cannot start as a stand-in: "+reason+"\n"))
	syscall.Exit(1)
}

// becomeStandIn begins to watch the main process.
func (s *State) becomeStandIn() {
	channel, main := s.Number(Channel), s.Number(PID)
	pidfd, _, errno := syscall.Syscall(rawsys.Numbers.PidfdOpen, uintptr(main), 0, 0)
	if errno != 0 {
		endStandIn("pidfd_open: " + errno.Error())
	}
	watched, err := rawsys.Duplicate(channel) // the other one becomes that of internal/standin
	if err != nil {
		endStandIn("fcntl: " + err.Error())
	}
	if syscall.Getppid() != main {
		endStandIn("the main process has ended")
	}
	const setParentDeathSignal = 1
	syscall.RawSyscall(syscall.SYS_PRCTL, setParentDeathSignal, 0, 0)
	syscall.Write(channel, []byte(StandInStarted))
	ProcessTrial.startStandIn()
	go awaitEndOfMain(int(pidfd), watched)
}

// endOfMain is called when the main process has ended; nil until [OnEndOfMain].
var endOfMain atomic.Pointer[func(lives bool)]

// OnEndOfMain has f called when the main process of this stand-in has ended, or has closed the
// channel and lives. Before this call, the stand-in then ends at once.
func OnEndOfMain(f func(lives bool)) { endOfMain.Store(&f) }

// endTime is how long a process lives on at most when its end has closed its descriptors.
const endTime = time.Second

// awaitEndOfMain has a thread of its own: it begins before Go's poller.
func awaitEndOfMain(pidfd, channel int) {
	hasEnded := awaitEnd(pidfd, channel, nil)
	if !hasEnded && endOfMain.Load() != nil {
		limit := syscall.NsecToTimespec(int64(endTime))
		hasEnded = awaitEnd(pidfd, -1, &limit)
	}
	if f := endOfMain.Load(); f != nil {
		(*f)(!hasEnded)
		return
	}
	syscall.Exit(1)
}

// awaitEnd waits until the process has ended, which it reports, or the channel is closed; for the
// given time at most, unless that is nil.
func awaitEnd(pidfd, channel int, limit *syscall.Timespec) (hasEnded bool) {
	const in = 1 // errors and the end are always reported
	fds := [2]struct {
		fd              int32
		events, revents int16
	}{{fd: int32(pidfd), events: in}, {fd: int32(channel), events: 0}}
	for {
		n, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&fds[0])), 2, uintptr(unsafe.Pointer(limit)), 0, 0, 0)
		if errno != syscall.EINTR && errno != syscall.EAGAIN {
			return n > 0 && errno == 0 && fds[0].revents != 0
		}
	}
}
