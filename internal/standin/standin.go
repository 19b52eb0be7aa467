// Package standin has two versions of a program serve side by side: a new version is started as
// a child of the process first, its stand-in, and serves while the process drains, executes the
// new version, and starts again. [Set] is the part of the main process, [Child] that of a stand-in.
//
// # The way of a stand-in
//
//	main process                          stand-in
//	[Set.Start]                      -->  starts, with the State of an exec
//	                                 <--  started: it watches its main process
//	serves                           <--  ready, or rejected, or it ends
//	stops accepting                  -->  serve: it accepts
//	gives idle connections, drains   -->
//	ping                             <->  pong
//	executes the new version
//	is ready, accepts                -->  retire: it stops accepting
//	                                 <--  gives idle connections, drains
//	                                 <--  farewell: the states that it has set; it exits
//
// Both have one [Link], over which they send these messages. If the main process ends, the
// stand-in stops listening, drains and exits, see [handover.OnEndOfMain]. Every wait of the main
// process for a stand-in has a limit; after that, the stand-in's process group is killed.
package standin

import (
	"errors"
	"time"
)

// graceTime is what a stand-in has beyond its time to drain: a Drainer has a second after the end
// of its context, and what is sealed another.
const graceTime = 3 * time.Second

// pingTimeout is how long a stand-in that works takes at most to answer. A busy one takes a while:
// a goroutine that computes has 10 ms before another one comes. Nobody waits meanwhile, and a
// stand-in that is killed loses its requests.
const pingTimeout = 5 * time.Second

// pauseTimeout is how long an exec waits for a message that is being handled.
const pauseTimeout = time.Second

// errNoAnswer says that a stand-in was stopped, or does not work.
var errNoAnswer = errors.New("it does not answer")
