package grpcserve

import (
	"context"
	"sync"
	"time"
)

// restart is what all servers, streams and health services of the program have in common.
var restart restartState

// A restartState says whether the program is drained, and has its streams.
type restartState struct {
	mu        sync.Mutex
	drained   int           // servers
	begun     chan struct{} // closed while servers are drained; nil if no goroutine has asked
	cancelled bool          // the contexts of streams
	streams   map[*context.CancelCauseFunc]bool
}

// begin is called when a server begins to be drained, before its clients learn of that.
func (r *restartState) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drained++
	if r.drained == 1 && r.begun != nil {
		close(r.begun)
	}
}

// end is called when a server is not drained any more.
func (r *restartState) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drained--
	if r.drained == 0 {
		r.begun, r.cancelled = nil, false
	}
}

// draining returns a channel that is closed while servers are drained.
func (r *restartState) draining() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.begun == nil {
		r.begun = make(chan struct{})
		if r.drained > 0 {
			close(r.begun)
		}
	}
	return r.begun
}

// isDraining reports whether servers are drained.
func (r *restartState) isDraining() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.drained > 0
}

// addStream has cancel called with [ErrRestart] when the streams' time has come, unless remove is called
// before.
func (r *restartState) addStream(cancel context.CancelCauseFunc) (remove func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancelled {
		cancel(ErrRestart)
		return func() {}
	}
	if r.streams == nil {
		r.streams = map[*context.CancelCauseFunc]bool{}
	}
	r.streams[&cancel] = true
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.streams, &cancel)
	}
}

// cancelStreams cancels the contexts of the streams, and of those that begin before end is called.
func (r *restartState) cancelStreams() {
	r.mu.Lock()
	if r.drained == 0 {
		r.mu.Unlock()
		return // called off at this moment
	}
	r.cancelled = true
	streams := r.streams
	r.streams = nil
	r.mu.Unlock()
	for cancel := range streams {
		(*cancel)(ErrRestart)
	}
}

// goodbyeTime is how long streams have to end once their contexts are cancelled, at least.
const goodbyeTime = time.Second

// streamTimeout returns when the contexts of streams are cancelled, in a drain that takes the given time
// at most: at half of that, or goodbyeTime before its end if that is sooner.
func streamTimeout(drain time.Duration) time.Duration {
	return max(0, min(drain/2, drain-goodbyeTime))
}
