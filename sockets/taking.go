package sockets

import "github.com/autorestart-go/autorestart/internal/image"

// take takes a connection that the process beside this one gives: Accept returns it, in this
// version or in the next one. It returns false, and has done nothing, unless it is to be served
// here.
func (r *registry) take(given image.Conn) bool {
	k, ok := parseKey(given.Key)
	if !ok || given.FD < 3 {
		return false
	}
	if limit := openFilesLimit(); limit-1-given.FD < leftByTaken(limit, r.Inherited.IsStandIn) {
		return false
	}
	if k.kind == opened { // also while this process drains: a newer version has come
		return r.takeShared(k, given.FD)
	}
	l := r.listenerBeside(k)
	return l != nil && !r.isDraining() && l.take(k.kind, given)
}

// listenerBeside returns the open listener to which a connection with the key k belongs, as the
// other process has formatted it; or nil. It is the listener with the same socket, or else one
// with the same address. The other process may be of the version that has passed the socket to
// this one, or of the one that has got it from there, and was opened by another call.
func (r *registry) listenerBeside(k key) (found *listener) {
	defer r.lock()()
	best := 0
	for l := range r.listeners {
		score := 0
		switch {
		case l.oldKey.isOpened() && l.oldKey.slot() == k.slot():
			score = 3
		case l.key.slot() == k.slot():
			score = 2
		case l.key.local == k.local && withoutFamily(l.key.network) == withoutFamily(k.network):
			score = 1
		}
		if score > best {
			found, best = l, score
		}
	}
	return found
}

// take adds a connection of the given kind to those that wait.
func (l *listener) take(as kind, given image.Conn) (taken bool) {
	c := &inheritedConn{registry: l.registry, key: l.connectionKey(as), fd: given.FD, begun: given.State}
	l.mu.Lock()
	switch as {
	case unread:
		taken = true
	case parked, begun:
		taken = l.acceptParked && (as == begun) == (len(c.begun) > 0)
	}
	if taken = taken && !l.closed && c.pass() == nil; taken {
		queue := l.waiting(as)
		*queue = append(*queue, c)
		l.wakeUp()
	}
	l.mu.Unlock()
	if taken {
		l.closeInheritedIfClosed()
		l.interrupt()
	}
	return taken
}
