package handover

import (
	"errors"
	"math"
	"strconv"

	"github.com/autorestart-go/autorestart/internal/execve"
)

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

// ErrCannotAttest says that this process can't attest what it hands over, as without
// /proc. The next image would ignore it.
var ErrCannotAttest = errors.New("cannot prove to the new version that this process has its rights; is /proc mounted?")

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
	kept := execve.Keep(s.Numbers[Signal])
	variable, release, err := s.packFor(target, kept)
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
	variable, release, err := s.packFor(target, execve.Keep(nil))
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

// packFor packs s, to which it adds what is known when target is about to be executed.
func (s *State) packFor(target Target, kept *execve.Kept) (variable string, release func(), err error) {
	s.addExecuted()
	s.addTaint()
	s.addKept(kept)
	s.Numbers[Executable] = nil
	if target.FD != 0 {
		s.Set(Executable, target.FD)
	}
	return s.pack()
}

// addKept has s carry what the exec keeps.
func (s *State) addKept(k *execve.Kept) {
	s.Numbers[IgnoredAtStart] = k.Ignored
	s.Numbers[OpenFiles] = nil
	if k.OpenFiles != 0 {
		s.Set(OpenFiles, k.OpenFiles)
	}
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
