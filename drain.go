package autorestart

import (
	"context"
	"time"

	"github.com/autorestart-go/autorestart/internal/drain"
)

// A Drainer is a part of the program that accepts work from outside and is drained
// before an exec: a server, the consumer of a queue. Quiesce and Resume must not
// register or unregister drainers.
type Drainer interface {
	// Quiesce stops accepting work and returns soon. Callers that bring work block;
	// they must not fail.
	Quiesce()

	// Drain waits until all accepted work is done, or ctx ends. Then it returns an
	// error that names the unfinished work. The exec ends that work.
	Drain(ctx context.Context) error

	// Resume accepts work again, because there was no exec. Drain has returned before.
	Resume()
}

// defaultDrainTimeout is the value of a DrainTimeout of zero.
const defaultDrainTimeout = 10 * time.Second

// RegisterDrainer registers d until unregister is called. Before each exec all registered
// drainers are drained at once. After [Restarter.DrainTimeout] the exec takes place
// nevertheless; if the restart is called off, all drainers resume.
func RegisterDrainer(d Drainer) (unregister func()) { return drain.Process.Register(d) }

// Draining returns a channel that is closed while the program is drained for a
// restart. Long-running handlers should return when it is closed. If the restart is called
// off, the next call returns another channel.
func Draining() <-chan struct{} { return drain.Process.Draining() }
