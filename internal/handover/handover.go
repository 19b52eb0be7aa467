// Package handover carries what one image of a process tells the next image across the
// exec. It also rolls back a version that fails its trial.
//
// A version that has to be rolled back may hang before its main, in the initialisation of
// a package. Therefore this package has to be initialised before almost every other.
// Packages are initialised in the order of their paths, each after its imports. All
// imports of this package come before package os. Package strings would not.
//
// # Compatibility
//
// The previous image and the next one may contain different versions of this library.
// These rules hold for everything that crosses, also in internal/passing and package
// sockets. The files in the testdata folders show it, and tests compare.
//   - A key keeps its meaning for ever. Another meaning gets another key.
//   - A version passes over a key that it does not know, and a record of an unknown kind.
//     Everything else must make sense without them. The value of a new key contains no
//     comma: for a version that does not know the key, the value ends at the comma.
//   - A key may be left out only if every version that reads the key can do without it.
//   - If the format has a version that can't be read, that is reported and the state is
//     ignored: the next image starts with nothing, it does not fail.
//   - The State crosses in a carrier, except to versions from before carriers, see
//     [KnowsCarrier].
//   - A name in the manifest belongs to the program or to the library for ever: names of
//     a new kind of the library begin with a prefix that no name of a program has, see
//     passing.Name.
//   - A connection is lost if the receiver does not know its kind. No connection of such
//     a kind is made for that receiver, see [KnowsConnections]. In a rollback the
//     receiver is Previous.
//
// # Trust
//
// The variable is believed if it comes from a starter that has the rights of this
// process. A process with the rights of another user (set-user-ID, set-group-ID) believes
// nothing. A process that has its rights from file capabilities or a security module
// believes only an attested handover, see attest_linux.go.
package handover

import (
	"errors"
	"math"
	"strconv"
	"syscall"

	"github.com/autorestart-go/autorestart/internal/execve"
	"github.com/autorestart-go/autorestart/internal/rawsys"
)

// Env names the variable by which the next image finds its [State]. It is set for the exec
// alone and taken out of the environment before main runs, so that no child sees it.
const Env = "AUTORESTART_HANDOVER"

// State is what crosses the exec beside arguments, environment and files. The image
// that takes it owns its descriptors.
type State struct {
	Numbers [numNumbers][]int // most kinds have one at most
	Texts   [numTexts]string

	// InVariable has the State cross in the variable itself, see [State.pack]: the image
	// that receives it knows no other way.
	InVariable bool

	// Reserve, which may be nil, has what the exec may not be able to open any more.
	Reserve *Reserve

	// IsStandIn says that this process is a stand-in, and PID its main process. It is not in the
	// text form.
	IsStandIn bool

	// ForStandIn leaves connections out: they stay with the main process. It is not in the text
	// form.
	ForStandIn bool

	changes []change // made right before the exec; not in the text form

	// Expendable are those of the Files that are left out first where there is no room, the
	// first of them first. It is not in the text form.
	Expendable []int
}

// NumberKind says what a number in a [State] is.
type NumberKind int

// Numbers.
const (
	PID            NumberKind = iota
	Generation                // of the image that is executed; 0 is the first
	Signal                    // each is ignored until the new image subscribes to it or is ready
	ReadyWithin               // ms after its start, or Previous is executed again
	Missing                   // files and states that there was no room for
	Taint                     // 1: an image of this process was Secure, see [Tainted]
	Closed                    // idle connections that there was no room for
	Lines                     // of the log that were lost
	Connections               // 1: Previous knows all kinds of connections, see [KnowsConnections]; 2: it can have stand-ins, too
	OpenFiles                 // the soft RLIMIT_NOFILE that stays in force; none if the runtime may raise it
	IgnoredAtStart            // signals that the process was started with as ignored ones, as by nohup(1)
	StandInPID                // of each stand-in of this process
	Beside                    // 1: one of them serves
	HealthWithin              // ms after it is ready, in which Previous may be executed again

	Watch    // of inotify: a descriptor and a watch descriptor, in turns
	Inotify  // from here on, descriptors
	File     // what the program passes on; the names are in Manifest
	Manifest // of names and states
	Previous // the image that is known to work
	Dir      // the working directory to go back to
	Channel  // of a stand-in to its main process
	StandIns // pidfd and channel of each, in turns; StandIn has the rest
	Streams  // standard output and error, of a stand-in that serves

	Executable // what is executed, where that is a descriptor
	Carrier    // the file that holds all others; only in the variable
	Attester   // a connection to the process that attests the State; likewise

	numNumbers
)

// TextKind says what a text in a [State] is.
type TextKind int

// Texts. They may contain anything.
const (
	Image        TextKind = iota // which file is executed, as the root package formats it
	Times                        // of this restart, see [FormatTimes]; [Execute] adds the last one
	Failed                       // which file was executed and rolled back
	Reason                       // why it was
	Path                         // of the executable, where the kernel can't tell
	Content                      // of the manifest, where there is no file for it
	Original                     // which file Previous is a copy of, as Image; none if it is no copy
	PreviousArgs                 // a list: the arguments of Previous, where those of this image are others
	PreviousEnv                  // likewise its environment
	Observed                     // for the observer of events in the next image, as the root package formats it; no comma
	StandIn                      // the stand-ins of this process, as internal/standin formats them; no comma

	numTexts
)

// Number returns the one number of its kind, or 0.
func (s *State) Number(kind NumberKind) int {
	if len(s.Numbers[kind]) == 0 {
		return 0
	}
	return s.Numbers[kind][0]
}

// Set makes n the one number of its kind.
func (s *State) Set(kind NumberKind, n int) { s.Numbers[kind] = []int{n} }

// ProcessTrial is the trial of the image that the program runs in. It begins with the
// initialisation of this package.
var ProcessTrial Trial

// What a State tells the next image of its trial.
var (
	trialNumbers = [...]NumberKind{ReadyWithin, HealthWithin, Connections, Previous, Dir}
	trialTexts   = [...]TextKind{Original, PreviousArgs, PreviousEnv}
)

// KeepTrial puts the image that gets s on the trial that kept tells of.
func (s *State) KeepTrial(kept *State) {
	s.InVariable = s.InVariable || kept.InVariable
	for _, kind := range trialNumbers {
		s.Numbers[kind] = kept.Numbers[kind]
	}
	for _, kind := range trialTexts {
		s.Texts[kind] = kept.Texts[kind]
	}
}

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

// ErrCannotAttest says that this process can't attest what it hands over, as without
// /proc. The next image would ignore it.
var ErrCannotAttest = errors.New("cannot prove to the new version that this process has its rights; is /proc mounted?")

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

// ErrNotOnTrial says that there is no version to roll back to: none, or not any more.
var ErrNotOnTrial = errors.New("this version is not on trial")

// A Target is a program to execute.
type Target struct {
	Path string // executed if FD is 0, and what it is called
	FD   int    // of the open file

	// LastLook is called right before the exec, unless it is nil. An error prevents the exec.
	LastLook func() error
}

// look calls LastLook.
func (t Target) look() error {
	if t.LastLook == nil {
		return nil
	}
	return t.LastLook()
}

// ExecPath returns a path that leads to the target.
func (t Target) ExecPath() string {
	if t.FD != 0 {
		return "/proc/self/fd/" + strconv.Itoa(t.FD)
	}
	return t.Path
}

// Executor executes an image with a state, as [Execute] does.
type Executor func(target Target, args, env []string, s *State) error

// Execute executes target, with s unless that is nil. It returns only if that
// failed. Then everything is as it was, also s. The caller keeps forks away: no child may
// inherit what is about to cross.
//
// A descriptor that is executed stays open in the next image, which owns it. Where the
// kernel starts an interpreter for the file, see binfmt_misc in proc(5), the interpreter
// opens the file by this path. Without s nothing would close it.
func Execute(target Target, args, env []string, s *State) error {
	if s == nil {
		if err := target.look(); err != nil {
			return err
		}
		return execve.Execute(target.ExecPath(), args, nextEnvironment(env), nil, func() {})
	}
	own := *s
	s = &own
	s.addExecuted()
	s.addTaint()
	kept := execve.Keep(s.Numbers[Signal])
	s.addKept(kept)
	s.Numbers[Executable] = nil
	if target.FD != 0 {
		s.Set(Executable, target.FD)
	}
	variable, release, err := s.pack()
	if err != nil {
		return err
	}
	defer release()
	variable, dismiss, err := s.attest(variable, target.ExecPath())
	if err != nil {
		return err
	}
	defer dismiss()
	undo, err := doAll(append(s.inheritances(), s.changes...))
	if err != nil {
		return err
	}
	defer undo()
	if err := target.look(); err != nil {
		return err
	}
	variable, last := s.stampLast(variable)
	return execve.Execute(target.ExecPath(), args, nextEnvironment(env, Env+"="+variable), kept, last)
}

// Spawn calls start with the path, the environment and the descriptors for a child that executes
// target, as a stand-in that gets s. Afterwards everything is as it was, also s.
func Spawn(target Target, env []string, s *State, start func(path string, env []string, descriptors []int) error) error {
	own := *s
	s = &own
	s.addExecuted()
	s.addTaint()
	s.addKept(execve.Keep(nil))
	s.Numbers[Executable] = nil
	if target.FD != 0 {
		s.Set(Executable, target.FD)
	}
	variable, release, err := s.pack()
	if err != nil {
		return err
	}
	defer release()
	if err := target.look(); err != nil {
		return err
	}
	var descriptors []int
	for _, fds := range s.Numbers[Inotify:] {
		descriptors = append(descriptors, fds...)
	}
	return start(target.ExecPath(), nextEnvironment(env, Env+"="+variable), descriptors)
}

// addKept has s carry what the exec keeps.
func (s *State) addKept(k *execve.Kept) {
	s.Numbers[IgnoredAtStart] = k.Ignored
	s.Numbers[OpenFiles] = nil
	if k.OpenFiles != 0 {
		s.Set(OpenFiles, k.OpenFiles)
	}
}

// kept is what s carries of that.
func (s *State) kept() *execve.Kept {
	return &execve.Kept{Subscribed: s.Numbers[Signal], Ignored: s.Numbers[IgnoredAtStart], OpenFiles: s.Number(OpenFiles)}
}

// CheckSize returns an error, which wraps E2BIG and says what is too long, if execve(2) will
// not take these arguments and this environment. It adds what an exec adds that hands over in a
// carrier, at its longest.
func CheckSize(path string, args, env []string) error {
	var s State
	for _, kind := range [...]NumberKind{PID, Generation, Carrier, Attester} {
		s.Set(kind, math.MaxInt32)
	}
	if byDescriptor := (Target{FD: math.MaxInt32}).ExecPath(); len(path) < len(byDescriptor) {
		path = byDescriptor
	}
	return execve.CheckSize(path, args, nextEnvironment(env, Env+"="+s.String()))
}
