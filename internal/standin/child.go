package standin

import (
	"context"
	"sync"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/report"
)

// A Child is this process as a stand-in.
type Child struct {
	image *image.Image
	link  *link

	mu     sync.Mutex
	serves bool
	drain  time.Duration // when the main process has ended
	ends   bool          // it drains, and exits after that
	signal func(syscall.Signal)
	early  []syscall.Signal // that have come before there was signal
}

// Join begins to do what the main process says. The image has inherited its channel. If that can't
// be used, this process ends: the main process would wait for it in vain.
func Join(i *image.Image) *Child {
	t, err := joinMain(i.Inherited)
	if err != nil {
		report.Error("this stand-in ends: it cannot receive what its main process says", "reason", err)
		report.Flush(time.Second)
		exit(1)
	}
	return join(i, t)
}

// join is Join with a channel.
func join(i *image.Image, t transport) *Child {
	c := &Child{image: i}
	c.link = newLink(t, i.Beside.Take, c.received)
	i.Trial.OnRejection(func(reason string) {
		c.link.send(message{kind: rejected, text: reason, fd: -1})
		exit(1)
	})
	handover.OnEndOfMain(c.mainEnded)
	go c.link.run()
	return c
}

// Ready gives the main process the sockets that it does not have, and says that this version works.
// The answer is that it serves.
func (c *Child) Ready() {
	c.image.Beside.SetGive(c.link.give)
	c.image.Beside.Share()
	c.image.Beside.SetGive(nil)
	c.link.send(message{kind: ready, fd: -1})
}

func (c *Child) received(m message) {
	switch m.kind {
	case serve:
		c.mu.Lock()
		c.serves, c.drain = true, time.Duration(m.n)*time.Millisecond
		c.mu.Unlock()
		go takeStreams(c.image.Inherited.Numbers[handover.Streams])
		go c.image.Drainers.Release() // parts of the program may take long
	case retire:
		go c.retire(time.Duration(m.n) * time.Millisecond)
	case signaled:
		c.forwarded(syscall.Signal(m.n))
	case ping:
		c.link.send(message{kind: pong, fd: -1})
	}
}

// retire gives what can be given to the main process, which accepts, drains, and exits.
func (c *Child) retire(timeout time.Duration) {
	if !c.beginEnd() {
		return
	}
	c.image.Beside.SetGive(c.link.give)
	c.image.Beside.SetLeaves()
	c.drainFor(timeout)
	fd := c.image.Store.OwnStates()
	c.link.send(message{kind: farewell, fd: fd})
	c.exit()
}

// mainEnded is called when the main process has ended, or has closed the channel and lives. Then the
// sockets are its own, too.
func (c *Child) mainEnded(lives bool) {
	c.mu.Lock()
	serves, drain := c.serves, c.drain
	c.mu.Unlock()
	if !serves {
		exit(1)
	}
	c.image.Beside.SetGive(nil)
	c.link.transport.close() // no answer comes any more
	if !lives {
		c.image.Beside.Lose()
		report.Warn("the main process has ended: this stand-in drains and exits", "timeout", drain.String())
	}
	c.image.Drainers.Release() // the clients that have waited are served
	c.image.Beside.SetLeaves()
	if c.beginEnd() {
		c.drainFor(drain)
		c.exit()
	}
}

// beginEnd reports whether the caller is the one that ends this process.
func (c *Child) beginEnd() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := !c.ends
	c.ends = true
	return first
}

func (c *Child) drainFor(timeout time.Duration) {
	if drainers := c.image.Drainers.Notifier(); drainers != nil {
		if d, err := drainers.Begin(context.Background(), timeout, nil); err == nil {
			d.Seal()
		}
	}
}

func (c *Child) exit() {
	report.Flush(time.Second)
	exit(0)
}
