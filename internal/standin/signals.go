package standin

import (
	"os"
	"slices"
	"syscall"
)

// A stand-in has a process group of its own, so what is sent to the main process, or to the group
// of a terminal, has to be forwarded. It goes over the link, and the stand-in sends it to itself:
// the main process does not know what the program has subscribed to there.

// IsForwarded reports whether a signal is one by which operators talk to daemons.
func IsForwarded(sig os.Signal) bool { return slices.Contains(forwarded[:], sig) }

// maxSignals is how many signals wait for a stand-in that reads nothing. Further ones are lost, as
// those are that a process does not receive.
const maxSignals = 16

// Forward sends a signal, to which the program has subscribed in the main process, to all
// stand-ins. It does not wait for them.
func (s *Set) Forward(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.all {
		select {
		case x.signals <- sig:
		default:
		}
	}
}

// forward sends the signals to the stand-in until it has ended.
func (x *StandIn) forward() {
	for {
		select {
		case sig := <-x.signals:
			x.link.send(message{kind: signaled, n: uint64(sig), fd: -1})
		case <-x.removed:
			return
		}
	}
}

// OnSignal has f called with each signal that the main process forwards.
func (c *Child) OnSignal(f func(syscall.Signal)) {
	c.mu.Lock()
	early := c.early
	c.signal, c.early = f, nil
	c.mu.Unlock()
	for _, sig := range early {
		f(sig)
	}
}

func (c *Child) forwarded(sig syscall.Signal) {
	c.mu.Lock()
	f := c.signal
	if f == nil {
		c.early = append(c.early, sig)
	}
	c.mu.Unlock()
	if f != nil {
		f(sig)
	}
}
