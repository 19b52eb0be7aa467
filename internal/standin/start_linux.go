//go:build !autorestart_portable

package standin

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// Start starts a stand-in that executes target and gets h. The caller keeps everything open
// meanwhile that h names.
func (s *Set) Start(target handover.Target, args, env []string, h *handover.State) (*StandIn, error) {
	highest := highestInheritable() // first: it opens a file for a moment
	own, other, err := channelPair()
	if err != nil {
		return nil, err
	}
	defer other.Close()
	x := newStandIn(s)
	out, err := newOutput()
	if err != nil {
		own.close()
		return nil, err
	}
	x.written = out
	streams, real, done, err := out.streams()
	if err != nil {
		own.close()
		out.close()
		return nil, err
	}
	defer done()
	state := *h
	state.Set(handover.Channel, other.Int())
	state.Numbers[handover.Streams] = real
	var p *child
	defer func() {
		if p == nil {
			x.begin()
		}
	}()
	err = handover.Spawn(target, env, &state, func(path string, env []string, descriptors []int) (err error) {
		p, err = spawn(path, args, env, descriptors, streams, highest, x.started)
		return err
	})
	if err != nil {
		own.close()
		out.close()
		return nil, err
	}
	other.Close() // of which only the stand-in's copy counts from now on
	p.killGroupAtEnd(true)
	x.connect(p, own)
	err = x.greet()
	s.add(x)
	if err == nil || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return x, nil // AwaitReady returns how it has ended, if it has
	}
	x.Kill()
	return nil, err
}

// openInherited takes over the pidfd and the channel of a stand-in that the previous image has
// handed over.
func openInherited(pid, pidfd, fd int) (process, transport, error) {
	t, channelErr := newChannel(sys.NewFD(fd))
	p, err := newChild(pid, sys.NewFD(pidfd))
	switch {
	case err == nil && channelErr == nil:
		return p, t, nil
	case err == nil: // it finds the channel closed, and ends
		go func() {
			<-p.done()
			p.close()
		}()
		return nil, nil, channelErr
	case channelErr == nil:
		t.close()
	}
	return nil, nil, err
}

// greet tells the stand-in that it is one. It gets no message before that.
func (x *StandIn) greet() error {
	return x.link.transport.send(handover.StandInGreeting(x.process.pid()), -1)
}

// joinMain returns the channel of this stand-in to its main process. It is called once.
func joinMain(inherited *handover.State) (transport, error) {
	return newChannel(sys.NewFD(inherited.Number(handover.Channel)))
}

// exit ends this process without calling deferred functions, as an exec ends an image.
var exit = os.Exit
