package sockets

import (
	"context"
	"maps"
	"os"
	"slices"
	"sync"
	"time"
)

// The process that this one stands in for may die. Its supervisor starts another one, which
// needs the addresses: this process closes its copies of the sockets within a few hundredths of
// a second. The clients in the queues are taken before, and served. What a packet connection
// has received and no reader has got is lost, as at the end of every process; packets that are
// being handled are answered if that takes no longer.
//
// The program notices nothing: Accept returns the clients that were taken, and then blocks, as
// the methods that read from packet connections do. An error would end most programs.
//
// A process that leaves, since another one has the same sockets and serves, closes its copies
// of listening sockets, too. That process may close one and open it again, and clients whom no
// process accepts must be refused. Packet connections stay open for answers that come late.

const (
	// handshakeTime is how long handshakes that are under way may still take.
	handshakeTime = 20 * time.Millisecond

	// lostTimeout limits how long it takes until no caller is in the kernel, and until
	// packets are answered.
	lostTimeout = 20 * time.Millisecond

	maxQueue = 1 << 16 // clients may come as fast as they are taken
)

// lose is called when the process that this one stands in for has ended.
func (r *registry) lose() {
	unlock := r.lock()
	listeners := slices.Collect(maps.Keys(r.listeners))
	packets := slices.Collect(maps.Keys(r.packets))
	retiring := slices.Collect(maps.Keys(r.retiring))
	r.inherited = slices.DeleteFunc(r.inherited, func(k key) bool { return k.kind != announced })
	unlock()
	var ending sync.WaitGroup
	for _, l := range listeners {
		ending.Go(l.lose)
	}
	for _, p := range packets {
		ending.Go(p.lose)
	}
	for _, t := range retiring {
		ending.Go(t.lose)
	}
	ending.Wait()
	for _, k := range r.inheritedKeys() { // those that the program has not claimed, or has closed in a drain
		if !k.isConnection() {
			r.stopPassing(k)
		}
	}
	r.Store.CloseRetired()
}

// lose takes the clients in the queue, and closes the socket. One of systemd stays open there,
// and its clients are left to the next process.
func (l *listener) lose() {
	l.mu.Lock()
	if l.ended || l.closed {
		l.mu.Unlock()
		return
	}
	l.ended = true
	l.epoch++
	l.arm(past)
	l.mu.Unlock()
	l.removePath()
	ctx, cancel := context.WithTimeout(context.Background(), lostTimeout)
	defer cancel()
	l.await(ctx, func() bool { return l.inside == 0 })
	if l.key.kind == opened {
		l.takeQueue()
	}
	l.end()
}

// removePath removes the path of the listener, unless it has become that of another one.
func (l *listener) removePath() {
	if l.path == nil {
		return
	}
	now, err := os.Lstat(l.key.local)
	if err == nil && os.SameFile(l.path, now) && now.ModTime().Equal(l.path.ModTime()) {
		os.Remove(l.key.local)
	}
}

// takeQueue takes the clients in the queue. A client that asks for a connection meanwhile is not
// answered, and asks again after a second.
func (l *listener) takeQueue() {
	f, err := l.socket.File()
	if err != nil {
		return
	}
	defer f.Close()
	setNonblock(f, true) // if the program has made it blocking
	withDescriptor(f, func(fd int) {
		undo := dropSYN(fd)
		until := time.Now()
		if !isUnix(l.key.network) {
			until = until.Add(handshakeTime)
		}
		for range maxQueue {
			conn, err := acceptOne(fd)
			switch {
			case err == nil:
				undo(conn.Int())
				l.addNewcomer(conn)
			case time.Now().Before(until):
				time.Sleep(handshakeTime / 10)
			default:
				stopListening(fd)
				return
			}
		}
	})
}

// end closes the copies of the socket that this process has. Accept returns what waits, and then
// blocks.
func (l *listener) end() {
	l.mu.Lock()
	l.ended = true
	l.arm = func(time.Time) error { return nil }
	l.wakeUp()
	l.mu.Unlock()
	l.socket.Close()
	l.registry.stopPassing(l.key)
	l.registry.Store.CloseRetired() // no previous version is executed by a process that has another one beside it
}

// leaveEnded leaves if the socket is about to be closed, so that the caller of Accept waits.
func (l *listener) leaveEnded(epoch uint) (left bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if left = l.ended && !l.closed; left {
		l.leave(epoch, nil)
		l.wakeUp()
	}
	return left
}

// lose closes the socket.
func (p *packets) lose() {
	p.mu.Lock()
	p.hold()
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), lostTimeout)
	defer cancel()
	p.await(ctx, func() bool { return p.closed || p.inside == 0 && p.readers.settle() == 0 })
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.ended = true
	p.arm = func(time.Time) error { return nil }
	p.mu.Unlock()
	p.socket.Close()
	p.registry.stopPassing(p.key)
}
