//go:build !autorestart_portable

// The trial of a new version. The image that is known to work crosses the exec as a
// descriptor, and is executed by it when the new version fails, whatever is on the
// disk by then. Without /proc there is no rollback, and no version is on trial.

package handover

import (
	"sync"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart/internal/execve"
	"github.com/autorestart-go/autorestart/internal/origin"
	"github.com/autorestart-go/autorestart/internal/rawsys"
)

// CanRollBack says that a version can be rolled back on this system.
const CanRollBack = true

// A Trial is that of one image. The zero value is that of an image that can't be rolled back.
type Trial struct {
	mu      sync.Mutex // held while the previous image is executed
	phase   phase
	handed  State
	putBack []putBack
	timer   *time.Timer
	env     []string            // that this image was executed with
	execute Executor            // nil: executeBare
	reject  func(reason string) // in a stand-in; nil otherwise
}

// A phase is a part of a trial; zero is none.
type phase int

const (
	starting phase = 1 << iota // until the image is ready, for ReadyWithin at most
	ready                      // until it is healthy, for HealthWithin
)

// OnRollback has f execute the previous image from now on. A version that hangs
// before this call, as in the initialisation of a package, is rolled back by a bare
// exec.
func (t *Trial) OnRollback(f Executor) {
	t.mu.Lock()
	t.execute = f
	t.mu.Unlock()
}

func executeBare(target Target, args, env []string, s *State) error {
	return execve.AsLeader(func() error {
		syscall.ForkLock.RLock()
		err := Execute(target, args, env, s)
		syscall.ForkLock.RUnlock()
		return err
	})
}

// rollbackPause is the time between the first attempts to roll back a version that is not
// ready in time, or not healthy. It doubles up to maxRollbackPause.
const (
	rollbackPause    = time.Second
	maxRollbackPause = time.Minute
)

// Start begins the trial if s, which the image has inherited, says that there is one.
func (t *Trial) Start(s *State) {
	ms := s.Number(ReadyWithin)
	if ms == 0 || s.Number(Previous) == 0 {
		return
	}
	t.mu.Lock()
	t.phase, t.handed, t.putBack, t.env = starting, *s, nil, syscall.Environ()
	limit := time.Duration(ms) * time.Millisecond
	t.timer = time.AfterFunc(limit, func() {
		t.rollBackRetrying(starting, "it was not ready within "+limit.String())
	})
	t.mu.Unlock()
}

// rollBackRetrying executes the previous image, and tries again while the phase lasts: the
// obstacle may pass.
func (t *Trial) rollBackRetrying(during phase, reason string) {
	since, pause := time.Now(), rollbackPause
	for t.rollBack(since, during, reason) != ErrNotOnTrial {
		time.Sleep(pause) // each attempt makes clients wait
		pause = min(2*pause, maxRollbackPause)
	}
}

// startStandIn begins the trial of a stand-in. It ends when the stand-in is ready, and its main
// process has the clock.
func (t *Trial) startStandIn() {
	t.mu.Lock()
	t.phase, t.reject = starting, func(string) { syscall.Exit(1) }
	t.mu.Unlock()
}

// OnRejection has f called, in a stand-in, in place of a rollback: f tells the main process the
// reason, and ends this one.
func (t *Trial) OnRejection(f func(reason string)) {
	t.mu.Lock()
	t.reject = f
	t.mu.Unlock()
}

// BecomeReady says that this image is ready, and returns for how long it is still on trial. If
// that is zero, the caller ends the trial.
func (t *Trial) BecomeReady() (healthWithin time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.phase == starting && t.handed.Number(HealthWithin) != 0 {
		t.phase = ready
		t.timer.Stop()
		healthWithin = time.Duration(t.handed.Number(HealthWithin)) * time.Millisecond
	}
	return healthWithin
}

// RollBackUnhealthy executes the previous image because this one is ready and not healthy. It
// tries again until that succeeds, or the trial has ended.
func (t *Trial) RollBackUnhealthy(reason string) { t.rollBackRetrying(ready, reason) }

// On reports whether the image can still be rolled back.
func (t *Trial) On() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.phase != 0
}

// Keep has the next image, which gets s, roll back to the image that this one would roll
// back to. It returns [ErrNotOnTrial] if there is none. The descriptors are copies,
// because this version may become ready before the exec; the caller owns them. An
// error means that the next image would not be on trial.
func (t *Trial) Keep(s *State) (copies []int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.phase == 0 {
		return nil, ErrNotOnTrial
	}
	s.KeepTrial(&t.handed)
	for _, kind := range [...]NumberKind{Previous, Dir} {
		fd, err := rawsys.Duplicate(t.handed.Number(kind))
		if err != nil {
			return copies, err
		}
		s.Set(kind, fd)
		copies = append(copies, fd)
	}
	return copies, nil
}

// PreviousStart returns the arguments and the environment that the previous image gets in a
// rollback of the next one, if that is kept on trial.
func (t *Trial) PreviousStart() (args, env []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	args, env = t.previousStart()
	if len(t.putBack) > 0 {
		env = withoutActivation(env)
	}
	return args, env
}

// previousStart is called with t locked.
func (t *Trial) previousStart() (args, env []string) {
	args, env = origin.Args, t.env
	if list, ok := parseList(t.handed.Texts[PreviousArgs]); ok {
		args = list
	}
	if list, ok := parseList(t.handed.Texts[PreviousEnv]); ok {
		env = list
	}
	return args, env
}

// End says that the image works: it can't be rolled back any more.
func (t *Trial) End() {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.phase == 0:
	case t.reject != nil:
		t.phase = 0
	default:
		t.phase = 0
		t.timer.Stop()
		syscall.Close(t.handed.Number(Previous))
		syscall.Close(t.handed.Number(Dir))
		for _, p := range t.putBack {
			syscall.Close(p.fd)
		}
	}
}

// RollBack executes the previous image. It returns only if that failed, or with
// [ErrNotOnTrial].
func (t *Trial) RollBack(reason string) error { return t.rollBack(time.Now(), starting|ready, reason) }

// rollBack is RollBack in some phases, for a reason that there has been since the given time.
func (t *Trial) rollBack(since time.Time, during phase, reason string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.phase&during == 0 {
		return ErrNotOnTrial
	}
	if t.reject != nil {
		t.reject(reason)
		return ErrNotOnTrial
	}
	s := t.handed // whose slices are replaced below, and not changed
	s.Texts[Failed], s.Texts[Reason] = s.Texts[Image], reason
	s.Texts[Image], s.Texts[Times] = s.Texts[Original], FormatTimes(since, since, since, since)
	s.Set(Generation, s.Number(Generation)+1)
	for _, p := range t.putBack {
		s.changes = append(s.changes, p)
	}
	s.changes = append(s.changes, directoryChange(t.handed.Number(Dir)))
	args, env := t.previousStart()
	for _, kind := range trialNumbers {
		s.Numbers[kind] = nil
	}
	for _, kind := range trialTexts {
		s.Texts[kind] = ""
	}
	execute := t.execute
	if execute == nil {
		execute = executeBare
	}
	return execute(Target{Path: s.Texts[Path], FD: t.handed.Number(Previous)}, args, env, &s)
}
