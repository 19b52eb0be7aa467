// Package image has what the packages of this library keep for an image of a process: what the
// previous image left, what crosses to the next one, the drainers, the trial. The functions of
// the library act on the [Current] image.
//
// That is the one that the program runs in. A test can put another in its place, by [Start] and
// [Image.Use], whose exec executes nothing: it starts one more Image with what was handed over.
package image

import (
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/autorestart-go/autorestart/internal/drain"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/internal/step"
)

// An Image is one image of a process.
type Image struct {
	Inherited *handover.State
	Trial     *handover.Trial
	Store     passing.Store
	Drainers  drain.Group
	Beside    Beside
	Service   atomic.Value // the systemd.Service that was started
	Gate      Gate

	Status atomic.Value // of package status

	// StatusPage is the descriptor of the status page, or 0. It crosses each exec, also of a version that does not use it.
	StatusPage atomic.Int32

	// Execute replaces the image by another one; nil in the image that the program runs in. It
	// returns only if that failed.
	Execute handover.Executor

	// LogTime is how long an exec waits for loggers. Clients wait meanwhile.
	LogTime time.Duration

	// Restarts is set while a restart is under way: from step.Draining, step.StandInServes or step.Restarting, whichever
	// comes first, until the restart has failed.
	Restarts atomic.Bool

	rollsBack atomic.Bool // from step.RollingBack until step.RollbackFailed

	parts [numParts]unsafe.Pointer

	onStep atomic.Pointer[func(kind step.Kind, err error)]
}

// Gate is what an image has of the Gates of its Restarters.
type Gate struct {
	Hook drain.Hook                      // calls them
	Told atomic.Pointer[<-chan struct{}] // closed when one knows of this image; nil before the first
}

const logTime = 10 * time.Millisecond

// own is the image that the program runs in.
var own Image

var current atomic.Pointer[Image]

func init() {
	own.Inherited, own.Trial, own.LogTime = &handover.Inherited, &handover.ProcessTrial, logTime
	own.Store.Inherit(own.Inherited)
	own.StatusPage.Store(int32(own.Inherited.Number(handover.Status)))
	current.Store(&own)
}

// Current returns the image that the functions of the library act on. What outlives a call, as a
// listener, keeps the image that it was made in.
func Current() *Image { return current.Load() }

// Start starts an image that has inherited a state. Calls for an exec go to execute.
func Start(inherited *handover.State, execute handover.Executor) *Image {
	i := &Image{Inherited: inherited, Trial: new(handover.Trial), Execute: execute, LogTime: logTime}
	i.Store.Inherit(inherited)
	i.StatusPage.Store(int32(inherited.Number(handover.Status)))
	i.Trial.OnRollback(execute)
	i.Trial.Start(inherited)
	for p, start := range starts {
		if start != nil {
			i.parts[p] = start(i)
		}
	}
	return i
}

// ReadyWithin returns how long this image may take from its start until it is ready.
func (i *Image) ReadyWithin() time.Duration {
	if ms := i.Inherited.Number(handover.ReadyWithin); ms != 0 {
		return time.Duration(ms) * time.Millisecond
	}
	return passing.UnclaimedTimeout
}

// Use makes i the current image.
func (i *Image) Use() { current.Store(i) }

// A Part is what one package keeps for each image: a pointer. With a type parameter, in an
// interface or in a slice, the linker would put what can be reached from there into each program,
// so that one that drains nothing and passes nothing on would contain the code for both.
type Part int

// Parts.
const (
	Root       Part = iota // of package autorestart
	Sockets                // of package sockets
	TicketKeys             // of package ticketkeys

	numParts
)

// starts make the parts of an image; nil for a package that the program does not import.
var starts [numParts]func(*Image) unsafe.Pointer

// Make has start called for the image that the program runs in, at once, and for each that is
// started later. The initialisation of the package calls it.
func (p Part) Make(start func(*Image) unsafe.Pointer) {
	starts[p] = start
	own.parts[p] = start(&own)
}

// Of returns the part of i, as start has returned it.
func (p Part) Of(i *Image) unsafe.Pointer { return i.parts[p] }
