package handover

import (
	"syscall"

	"github.com/autorestart-go/autorestart/internal/execve"
	"github.com/autorestart-go/autorestart/internal/rawsys"
)

// ProcessTrial is the trial of the image that the program runs in. It begins with the
// initialisation of this package.
var ProcessTrial Trial

// Inherited is what the previous image of this process left for this one;
// its PID is 0 if there was none. Ignored says why what was found in the environment
// was not taken.
var Inherited, Ignored = inherit()

func inherit() (s State, ignored string) {
	value, ok := syscall.Getenv(Env)
	if !ok {
		return State{}, ""
	}
	syscall.Unsetenv(Env)
	pid := syscall.Getpid()
	main := syscall.Getppid()
	standIn := !Secure && !Elevated() && isStandIn(value, main)
	if standIn {
		pid = main
		defer func() {
			if ignored != "" {
				endStandIn(ignored)
			}
		}()
	}
	s, ignored = Parse(value, pid)
	switch {
	case Elevated():
		s.closeAttester()
		s.discard()
		return State{}, "this process has other rights than its starter"
	case ignored != "":
		return State{}, ignored
	case !Secure:
		s.closeAttester()
	default:
		if ignored = s.checkAttestation(value); ignored != "" {
			s.discard()
			return State{}, ignored
		}
	}
	if s, ignored = s.unpack(); ignored != "" {
		return State{}, ignored
	}
	s.keepFromChildren()
	if s.IsStandIn = standIn; standIn {
		s.becomeStandIn()
	}
	s.takeTaint()
	s.kept().Take()
	ProcessTrial.Start(&s)
	return s, ""
}

// notAttested is why a secure process takes nothing.
const notAttested = "this process may have more rights than its starter, and no process that has them attests the handover"

// discard closes what a handover that is not believed names, so that no descriptor of a
// previous image is left open without an owner. Descriptors that have crossed an exec are
// not close-on-exec; any other is one of this image.
func (s *State) discard() {
	var unpacked State
	if rawsys.Crossed(s.Number(Carrier)) {
		unpacked, _ = s.unpack()
	}
	for _, kinds := range [...][][]int{s.Numbers[Inotify:], unpacked.Numbers[Inotify:]} {
		for _, fds := range kinds {
			for _, fd := range fds {
				if rawsys.Crossed(fd) {
					rawsys.Close(fd)
				}
			}
		}
	}
}

// Elevated reports whether this process has another user's rights, as by setuid. Then
// anybody can have set the variable. Such a process hands nothing over, either.
func Elevated() bool {
	return syscall.Getuid() != syscall.Geteuid() || syscall.Getgid() != syscall.Getegid()
}

// keepFromChildren makes the descriptors close-on-exec, before any package can start a child. One
// that is not open can't be inherited: its number stays as it is, and its owner finds out.
func (s *State) keepFromChildren() {
	for _, fds := range s.Numbers[Inotify:] {
		for _, fd := range fds {
			rawsys.CloseOnExec(fd)
		}
	}
}

// kept returns what [State.addKept] has added.
func (s *State) kept() *execve.Kept {
	return &execve.Kept{Subscribed: s.Numbers[Signal], Ignored: s.Numbers[IgnoredAtStart], OpenFiles: s.Number(OpenFiles)}
}
