// Package imagetest has images of which one executes the next in the process of a test.
package imagetest

import (
	"errors"
	"testing"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/internal/sys"
	"github.com/autorestart-go/autorestart/internal/testclock"
)

// A Process is a row of images, of which the last one is current.
type Process struct {
	Failure error // of each exec, if it is not nil

	t    testing.TB
	next chan *image.Image
}

// Start starts the first image. The one from before is current again at the end of the test.
func Start(t testing.TB) *Process {
	p := &Process{t: t, next: make(chan *image.Image)}
	t.Cleanup(image.Current().Use)
	p.start(new(handover.State)).Use()
	return p
}

func (p *Process) start(inherited *handover.State) *image.Image {
	i := image.Start(inherited, p.execute)
	p.t.Cleanup(func() {
		i.Store.CloseUnclaimed()
		for _, name := range i.Store.Names() {
			i.Store.Unpass(name)
		}
		i.Trial.End()
	})
	return i
}

var errTestEnds = errors.New("the test ends")

// execute starts the next image with what it gets. It does not return before the test ends.
func (p *Process) execute(_ handover.Target, _, _ []string, h *handover.State) error {
	if p.Failure != nil {
		return p.Failure
	}
	inherited, err := passing.Duplicate(h)
	if err != nil {
		return err
	}
	select {
	case p.next <- p.start(inherited):
		<-p.t.Context().Done()
	case <-p.t.Context().Done():
	}
	return errTestEnds
}

// AwaitExec calls f, which executes another image, and returns when that is current.
func (p *Process) AwaitExec(f func() error) {
	p.t.Helper()
	var failed error
	ended := make(chan bool)
	go func() {
		defer close(ended)
		failed = f()
		select {
		case p.next <- nil:
		case <-p.t.Context().Done():
		}
	}()
	p.t.Cleanup(func() { <-ended })
	next, _ := testclock.Receive(p.t, "exec", p.next)
	if next == nil {
		p.t.Fatalf("not executed: %v", failed)
	}
	next.Use()
}

// StartBeside starts an image that gets what the current one would hand over, as another process
// that serves beside it. It is held.
func (p *Process) StartBeside() *image.Image {
	p.t.Helper()
	h, inherited := new(handover.State), new(handover.State)
	if err := image.Current().Store.HandOver(h, func() (err error) {
		inherited, err = passing.Duplicate(h)
		return err
	}); err != nil {
		p.t.Fatal(err)
	}
	i := p.start(inherited)
	i.Beside.SetServes(true)
	i.Drainers.Hold()
	return i
}

// SecretsCross reports whether secrets cross an exec, see [passing.SecretName]: whether there are
// files in memory.
func SecretsCross() (inMemory bool) {
	fd, err := handover.MemoryFileOf(func(is bool) []byte {
		inMemory = is
		return nil
	})
	if err == nil {
		sys.NewFD(fd).Close()
	}
	return inMemory
}

// GiveTo returns a function for [image.Beside.SetGive] that gives connections to another image.
func GiveTo(to *image.Image) func(image.Conn) error {
	return func(c image.Conn) error {
		fd, err := sys.Duplicate(c.FD)
		if err != nil {
			return image.ErrNotTaken
		}
		defer fd.Close()
		if c.FD = fd.Int(); !to.Beside.Take(c) {
			return image.ErrNotTaken
		}
		fd.Release()
		return nil
	}
}
