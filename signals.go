package autorestart

import (
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"

	"github.com/autorestart-go/autorestart/internal/handover"
)

// Notify is [signal.Notify] for a program that restarts. Between the exec and the
// call of Notify in the next version the signals are ignored. Without Notify they would
// end the process. A version that never subscribes to a signal gets its default
// action back when it calls [Ready], or after a minute. A signal that arrives while it
// is ignored is lost.
//
// SIGTERM, SIGINT and SIGQUIT are not ignored: they end the process at any moment. On
// other systems than Linux, or without signals, Notify behaves like signal.Notify.
//
// Children that are started while a signal is ignored go on ignoring it. A version
// that wants to ignore it for good calls [signal.Ignore] after [Ready].
func Notify(c chan<- os.Signal, signals ...os.Signal) {
	s := &self.signals
	s.mu.Lock() // until the end: restoreDefaults must see the subscription
	defer s.mu.Unlock()
	for _, sig := range signals {
		switch n, ok := sig.(syscall.Signal); {
		case !ok, slices.Contains(s.notified, int(n)):
		case n == syscall.SIGTERM, n == syscall.SIGINT, n == syscall.SIGQUIT:
		default:
			s.notified = append(s.notified, int(n))
		}
	}
	signal.Notify(c, signals...)
}

// A signalSet has the signals that are ignored during the next exec.
type signalSet struct {
	mu        sync.Mutex
	notified  []int // passed to Notify
	inherited []int // ignored since the exec; none after restoreDefaults
}

// handOver adds the signals to what crosses the exec, which ignores them. The set is locked
// until end is called, because the exec has failed: a default action that is restored meanwhile
// would end the process, and a subscription that is made meanwhile would not cross.
func (s *signalSet) handOver(h *handover.State) (end func()) {
	s.mu.Lock()
	for _, signals := range [...][]int{s.inherited, s.notified} {
		for _, sig := range signals {
			if !slices.Contains(h.Numbers[handover.Signal], sig) {
				h.Numbers[handover.Signal] = append(h.Numbers[handover.Signal], sig)
			}
		}
	}
	return s.mu.Unlock
}

// restoreDefaults gives the inherited signals that nothing has subscribed to their
// default action back.
func (s *signalSet) restoreDefaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sig := range s.inherited {
		handover.StopIgnoring(sig)
	}
	s.inherited = nil
}
