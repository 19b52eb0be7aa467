package autorestart

import (
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"

	"github.com/autorestart-go/autorestart/internal/execve"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/standin"
)

// Notify is [signal.Notify] for a program that restarts. Between the exec and the call of
// Notify in the next version, the signals are ignored: a SIGHUP at that time does not end
// the process. A signal that arrives while it is ignored is lost.
//
// If the next version does not subscribe to such a signal, the signal gets its default
// action back when that version calls [Ready]. In a version that is not on trial, this
// happens after a minute even without a call of Ready.
//
// SIGTERM, SIGINT, SIGQUIT and SIGABRT are never ignored: they end the process also
// between the exec and Notify. Signals that a Go program survives without a subscription,
// such as SIGUSR1 and SIGPIPE, end no version. A signal that was ignored when the process
// was started, such as SIGHUP by nohup(1), stays ignored until the program subscribes.
//
// For a signal that was ignored at the exec or at the start of the process,
// [signal.Ignored] reports true until this version subscribes, also after Ready. A child
// that is started while a signal is ignored goes on ignoring that signal. A version that
// is to ignore a signal for good calls [signal.Ignore] after Ready.
//
// A stand-in (see [Restarter.Overlap]) gets SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1,
// SIGUSR2 and SIGWINCH, too, when they are sent to the main process and both processes
// have subscribed to them by Notify. It gets SIGTERM, SIGINT and SIGQUIT also without a
// subscription of its own, and ends. As long as there is a stand-in, [signal.Stop] does not
// give such a signal its default action back in the main process, and StopNotify does.
//
// On systems other than Linux, Notify behaves like signal.Notify.
func Notify(c chan<- os.Signal, signals ...os.Signal) {
	s := &self().signals
	s.mu.Lock() // until the end: restoreDefaults must see the subscription
	defer s.mu.Unlock()
	s.subscribe(c, signals)
	signal.Notify(c, signals...)
	s.resubscribe()
}

// StopNotify is [signal.Stop] for a channel that was passed to [Notify]. A signal that no
// other channel has subscribed to by Notify gets its default action back, and is not
// ignored in the next exec. [signal.Stop], [signal.Reset] and [signal.Ignore] don't do
// that: after them, the signal is still ignored in the next exec.
func StopNotify(c chan<- os.Signal) {
	s := &self().signals
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := s.unsubscribe(c)
	if s.forwarding != nil {
		signal.Stop(s.forwarding)
	}
	s.resubscribe()
	signal.Stop(c)
	for _, sig := range gone {
		// The program itself may ignore it.
		if !signal.Ignored(syscall.Signal(sig)) {
			execve.StopIgnoring(sig)
		}
	}
}

// A signalSet has the signals that are ignored during the next exec, and those that stand-ins get,
// too.
type signalSet struct {
	mu         sync.Mutex
	notified   []subscription // passed to Notify
	inherited  []int          // ignored since the exec; none after restoreDefaults
	forwarding chan os.Signal // for stand-ins; nil while there are none
}

// A subscription is a channel with one of its signals.
type subscription struct {
	c   chan<- os.Signal
	sig int
}

// subscribe adds what was passed to Notify. Without a signal it is every one.
func (s *signalSet) subscribe(c chan<- os.Signal, signals []os.Signal) {
	var numbers []int
	for _, sig := range signals {
		if n, ok := sig.(syscall.Signal); ok {
			numbers = append(numbers, int(n))
		}
	}
	if len(signals) == 0 {
		const above = 32 // from here on a signal is ignored in any case, or not at all
		for n := 1; n < above; n++ {
			numbers = append(numbers, n)
		}
	}
	for _, n := range numbers {
		if one := (subscription{c, n}); !slices.Contains(s.notified, one) {
			s.notified = append(s.notified, one)
		}
	}
}

// endsProcess reports whether a signal is never ignored in an exec.
func endsProcess(sig int) bool {
	switch syscall.Signal(sig) {
	case syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGABRT:
		return true
	}
	return false
}

// forward calls send with each signal that the program has subscribed to and that comes from now
// on, until stopForwarding is called.
func (s *signalSet) forward(send func(syscall.Signal)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := make(chan os.Signal, 16)
	s.forwarding = c
	s.resubscribe()
	go func() {
		for sig := range c {
			send(sig.(syscall.Signal))
		}
	}()
}

// stopForwarding undoes forward: a signal to which no part of the program listens any more, by
// [signal.Stop], has its default action.
func (s *signalSet) stopForwarding() {
	s.mu.Lock()
	defer s.mu.Unlock()
	signal.Stop(s.forwarding)
	close(s.forwarding)
	s.forwarding = nil
}

// resubscribe has forwarding get what the program has subscribed to. It is called with s locked.
func (s *signalSet) resubscribe() {
	if s.forwarding == nil {
		return
	}
	for _, one := range s.notified {
		if sig := syscall.Signal(one.sig); standin.IsForwarded(sig) {
			signal.Notify(s.forwarding, sig)
		}
	}
}

// has reports whether the program has subscribed to a signal by Notify.
func (s *signalSet) has(sig syscall.Signal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.notified, func(one subscription) bool { return one.sig == int(sig) })
}

// unsubscribe removes a channel, and returns its signals that no other channel has.
func (s *signalSet) unsubscribe(c chan<- os.Signal) (gone []int) {
	var left []subscription
	for _, one := range s.notified {
		if one.c == c {
			gone = append(gone, one.sig)
		} else {
			left = append(left, one)
		}
	}
	s.notified = left
	gone = slices.DeleteFunc(gone, func(sig int) bool {
		return endsProcess(sig) || slices.ContainsFunc(left, func(one subscription) bool { return one.sig == sig })
	})
	s.inherited = slices.DeleteFunc(slices.Clone(s.inherited), func(sig int) bool { return slices.Contains(gone, sig) })
	return gone
}

// handOver adds the signals to what crosses the exec, which ignores them. The set is locked
// until end is called, because the exec has failed: a default action that is restored meanwhile
// would end the process, and a subscription that is made meanwhile would not cross.
func (s *signalSet) handOver(h *handover.State) (end func()) {
	s.mu.Lock()
	crossing := slices.Clip(s.inherited)
	for _, one := range s.notified {
		if !endsProcess(one.sig) {
			crossing = append(crossing, one.sig)
		}
	}
	for _, sig := range crossing {
		if !slices.Contains(h.Numbers[handover.Signal], sig) {
			h.Numbers[handover.Signal] = append(h.Numbers[handover.Signal], sig)
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
		execve.StopIgnoring(sig)
	}
	s.inherited = nil
}
