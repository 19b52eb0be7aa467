package sockets

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart/internal/report"
)

// Clients must not take the last descriptors: a restart needs some, and so does every other
// part of the program. So listeners accept no connection while fewer than [reserve] are free,
// and newcomers wait in the kernel's queue. The kernel gives the lowest number that is free, so
// the number of an accepted connection tells how many are left.

// reserve returns how many descriptors clients leave, of the given limit. The start of a stand-in
// needs standInNeeds, and those that end have four meanwhile.
func reserve(limit int) int { return min(24, limit/4) }

const standInNeeds = 18

// leftByTaken returns how many descriptors the clients leave that another process gives. A
// stand-in takes fewer clients: the main process can keep them. The main process takes as many
// as leave room for the start of a stand-in: the connection of a client that it does not take ends.
func leftByTaken(limit int, standIn bool) int {
	if standIn {
		return leftByNewcomers(limit)
	}
	return min(standInNeeds, limit/4)
}

// descriptors are those of the process.
var descriptors headroom

type headroom struct {
	short atomic.Bool // fewer than reserve were free when last looked at

	// unchecked is the lowest number that shows nothing without a look at the limit, which
	// may change.
	unchecked atomic.Int64

	mu     sync.Mutex
	freed  chan struct{} // closed when a connection is closed; nil if no listener waits
	warned time.Time
}

// accepted is called with a new connection.
func (h *headroom) accepted(conn syscall.Conn) {
	fd, err := descriptorOf(conn)
	if err != nil || int64(fd) < h.unchecked.Load() {
		return
	}
	limit := openFilesLimit()
	if limit-1-fd >= reserve(limit) {
		h.unchecked.Store(int64(fd) + 1)
		return
	}
	h.setShort(limit)
}

// failed is called with an error of accept. A table that is full shows that the limit is lower
// than before.
func (h *headroom) failed(err error) {
	if errors.Is(err, syscall.EMFILE) {
		h.unchecked.Store(0)
		h.setShort(openFilesLimit())
	}
}

// warnInterval is the time between two log lines for clients that come and go.
const warnInterval = time.Minute

func (h *headroom) setShort(limit int) {
	if h.short.Swap(true) {
		return
	}
	h.mu.Lock()
	warn := time.Since(h.warned) > warnInterval
	if warn {
		h.warned = time.Now()
	}
	h.mu.Unlock()
	if warn {
		report.Warn("new connections wait until descriptors are free; raise RLIMIT_NOFILE if this comes often", "limit", limit, "reserve", reserve(limit))
	}
}

// look finds out whether enough descriptors are free, by a duplicate of conn's.
func (h *headroom) look(conn syscall.Conn) (enough bool) {
	limit := openFilesLimit()
	fd, err := lowestFree(conn)
	if err == nil && limit-fd < reserve(limit) || err != nil && !errors.Is(err, net.ErrClosed) {
		return false
	}
	h.short.Store(false)
	h.wakeUp()
	return true
}

// release is called when a connection was closed.
func (h *headroom) release() {
	if h.short.Load() {
		h.wakeUp()
	}
}

func (h *headroom) wakeUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.freed != nil {
		close(h.freed)
		h.freed = nil
	}
}

// released returns a channel that is closed by the next release. Call it before look.
func (h *headroom) released() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.freed == nil {
		h.freed = make(chan struct{})
	}
	return h.freed
}

func (l *listener) acceptError(err error) error {
	return &net.OpError{Op: "accept", Net: l.Addr().Network(), Addr: l.Addr(), Err: err}
}

// enterAccept is enter for callers of accept: it waits for descriptors, too. It fails if the
// listener is closed.
func (l *listener) enterAccept() (epoch uint, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		l.waitOpen()
		if l.closed {
			return 0, l.acceptError(net.ErrClosed)
		}
		if l.ended && len(l.newcomers)+len(l.inheritedConns) == 0 {
			if expired(l.deadline) {
				return 0, l.acceptError(os.ErrDeadlineExceeded)
			}
			l.wait(nil, l.deadline)
			continue
		}
		if !descriptors.short.Load() || expired(l.deadline) {
			break
		}
		freed := descriptors.released()
		if descriptors.look(l.socket) {
			break
		}
		l.wait(freed, l.earlier(time.Now().Add(retryInterval)))
	}
	l.inside++
	return l.epoch, nil
}
