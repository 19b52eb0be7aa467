//go:build !linux || autorestart_portable

package standin

import (
	"errors"
	"os"
	"syscall"

	"github.com/autorestart-go/autorestart/internal/handover"
)

// Supported returns why this system can't have stand-ins.
func Supported() error { return errors.ErrUnsupported }

// Start fails.
func (s *Set) Start(handover.Target, []string, []string, *handover.State) (*StandIn, error) {
	return nil, errors.ErrUnsupported
}

// openInherited fails.
func openInherited(pid, pidfd, fd int) (process, transport, error) {
	return nil, nil, errors.ErrUnsupported
}

// joinMain fails.
func joinMain(*handover.State) (transport, error) { return nil, errors.ErrUnsupported }

var forwarded [0]os.Signal

// Raise does nothing.
func Raise(syscall.Signal) {}

// takeStreams does nothing.
func takeStreams([]int) {}

// exit ends this process.
var exit = os.Exit
