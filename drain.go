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
	// error that says what is left; the exec cuts that off.
	Drain(ctx context.Context) error

	// Resume accepts work again, because there was no exec. Drain has returned before.
	Resume()
}

// defaultDrainTimeout is the value of a DrainTimeout of zero.
const defaultDrainTimeout = 10 * time.Second

// RegisterDrainer has d drained before each exec, together with all others, until
// unregister is called. After [Restarter.DrainTimeout] the exec takes place
// nevertheless; if the restart is called off, all drainers resume.
func RegisterDrainer(d Drainer) (unregister func()) { return drain.Process.Register(d) }

// Draining returns a channel that is closed while the program is drained for a
// restart. A handler that would go on for long ends then. If the restart is called
// off, the next call returns another channel.
func Draining() <-chan struct{} { return drain.Process.Draining() }
