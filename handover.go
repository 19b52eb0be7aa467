package autorestart

import (
	"os"
	"slices"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/internal/report"
)

// inherited is what the image before this one, in this same process, left for
// it; its PID is 0 if there was none.
var inherited = handover.Taken

// Generation returns how many images this process has had before this one, each
// of which handed over to the next: 0 in a program that was started afresh.
func Generation() int { return inherited.Number(handover.Generation) }

// succession is what this image does about what it was handed, and hands on. What
// few programs use, they put in here; it is linked into no others.
var succession successionState

type successionState struct {
	mu      sync.Mutex
	settled bool // what nobody has asked for is gone

	estate   *estate // files and states
	bequeath func(*handover.Handover) error
	dissolve func()

	// bringToRest quiesces and drains. Unless it fails, the caller resumes where there
	// is no exec.
	bringToRest func(done <-chan struct{}, timeout time.Duration, t *restartTimes) (resume func(), err error)

	// restToReturn is the same for a version that failed: without patience.
	restToReturn func() (resume func())

	signals       []int // that must not end the process during the exec
	ignoreForExec func(signals []int) (undo func())
}

// started is when this image was.
var started = time.Now()

func init() {
	handover.Back, handover.Notice = execBack, report.Warn
	if handover.Ignored != "" {
		report.Warn("what the environment says of a restart is ignored", "reason", handover.Ignored)
	}
	if !handover.OnProbation() && inherited.Number(handover.PID) != 0 {
		time.AfterFunc(passing.UnclaimedTimeout, settleHandover)
	}
}

// settleHandover lets go of what was handed over and nobody has asked for.
func settleHandover() {
	s := &succession
	s.mu.Lock()
	first := !s.settled
	if s.settled = true; first {
		if s.dissolve != nil {
			s.dissolve()
		} else if files := inherited.Numbers[handover.File]; files != nil {
			report.Warn("closed what the version before has handed over and this one has no use for", "files", len(files))
			closeAll(files)
		}
		closeAll(inherited.Numbers[handover.Manifest])
		for _, sig := range inherited.Numbers[handover.Signal] {
			stopIgnoring(sig)
		}
	}
	s.mu.Unlock()
	if first && handover.Settled != nil {
		handover.Settled()
	}
}

func closeAll(fds []int) {
	for _, fd := range fds {
		closeDescriptor(fd)
	}
}

// newHandover begins what crosses the exec of c. The caller closes what of it is
// temporary.
func newHandover(c *candidate) *handover.Handover {
	h := new(handover.Handover)
	h.Texts[handover.Image] = contentMark(c.id)
	h.Texts[handover.Times] = c.times.String()
	h.Texts[handover.Path] = c.path
	h.Set(handover.PID, os.Getpid())
	h.Set(handover.Generation, Generation()+1)
	return h
}

// addTo adds to h what the program hands on. It is called with s locked, which stays
// so until the exec has failed: nothing that h names may be closed before.
func (s *successionState) addTo(h *handover.Handover) error {
	if !s.settled {
		for _, kind := range [...]int{handover.Signal, handover.File, handover.Manifest} {
			h.Numbers[kind] = inherited.Numbers[kind]
		}
	}
	s.addSignals(h)
	if s.bequeath != nil {
		return s.bequeath(h)
	}
	return nil
}

// addSignals is not inlined, which would add to every program.
//
//go:noinline
func (s *successionState) addSignals(h *handover.Handover) {
	for _, sig := range s.signals {
		if !slices.Contains(h.Numbers[handover.Signal], sig) {
			h.Numbers[handover.Signal] = append(h.Numbers[handover.Signal], sig)
		}
	}
	h.Quieten = s.ignoreForExec
}

// execBack executes the image before this one. Its caller keeps this one on probation
// meanwhile, and as long as it is, nothing is closed that h names.
func execBack(target string, args, env []string, h *handover.Handover) error {
	report.Warn("going back to the version before", "reason", h.Texts[handover.Reason])
	s := &succession
	s.mu.Lock()
	s.addSignals(h)
	rest := s.restToReturn
	s.mu.Unlock()
	var resume func()
	if rest != nil {
		resume = rest()
	}
	err := execve(target, args, env, h, nil)
	report.Warn("the version before can't come back", "reason", err)
	if resume != nil {
		resume()
	}
	return err
}
