package autorestart

import (
	"os"
	"os/signal"
	"slices"
	"syscall"
)

// Notify is [signal.Notify] for a program that restarts: between the exec and the
// call of Notify in the next version the signals are ignored, where they would end
// the process. A version that never subscribes gets their default action back when
// it calls [Ready], or after a minute. What comes while a signal is ignored is
// lost.
//
// SIGTERM, SIGINT and SIGQUIT are not ignored: they end the process at any moment.
// On systems other than Linux none is, nor where no signal is named.
//
// Children that are started while a signal is ignored go on ignoring it. A version
// that is to ignore it for good, by [signal.Ignore], calls that after [Ready].
func Notify(c chan<- os.Signal, signals ...os.Signal) {
	s := &succession
	s.mu.Lock() // until the end: Ready gives the default to what nobody has subscribed to
	defer s.mu.Unlock()
	s.ignoreForExec = ignoreForExec
	for _, sig := range signals {
		switch n, ok := sig.(syscall.Signal); {
		case !ok, slices.Contains(s.signals, int(n)):
		case n == syscall.SIGTERM, n == syscall.SIGINT, n == syscall.SIGQUIT:
		default:
			s.signals = append(s.signals, int(n))
		}
	}
	signal.Notify(c, signals...)
}
