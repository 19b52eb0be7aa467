//go:build !autorestart_portable

package autorestart

import (
	"errors"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// exits tells which of many children have exited, without a thread or a
// goroutine for each: their pidfds are in an epoll instance of our own, and that
// instance, itself a descriptor that can be polled, is in the one of Go's
// runtime. One goroutine waits there, parked, for all of them.
type exits struct {
	ready chan []int // PIDs that have exited, or nearly; nil if there are no pidfds
	fd    int        // owned by file
	file  *os.File
	room  int // how many more pidfds we allow ourselves
	limit int // descriptors from this number on are left to the program
	stop  chan struct{}
	ended chan struct{}
}

// newExits prepares to watch. The caller closes it.
func newExits() *exits {
	x := &exits{fd: -1}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return x
	}
	x.room, x.limit = pidfdRoom(limit.Cur)
	return x
}

// pidfdRoom says how many pidfds a program may spend of its table of
// descriptors, and from which descriptor on it is too full for any.
func pidfdRoom(limit uint64) (count, below int) {
	limit = min(limit, 1<<30)
	return int(limit / 2), int(limit - limit/4)
}

// watch has the child's exit announced, once it has a pidfd. It reports false if
// it can't have one: that child has to be asked by its PID, whenever SIGCHLD says
// that some child has exited.
func (x *exits) watch(c *child) bool {
	if c.fd == noPidfd && !x.open(c) || !x.start() {
		return false
	}
	// Edge-triggered, because a zombie that is traced is ready for long before
	// it can be waited for.
	event := unix.EpollEvent{Events: unix.EPOLLIN | epollET, Fd: int32(c.pid)}
	return unix.EpollCtl(x.fd, unix.EPOLL_CTL_ADD, c.fd, &event) == nil
}

// open gives the child a pidfd if there is room for one.
func (x *exits) open(c *child) bool {
	if x.room == 0 {
		return false
	}
	fd, err := openPidfd(c.pid)
	switch {
	case err == nil && fd < x.limit:
		c.fd = fd
		x.room--
		return true
	case err == nil:
		unix.Close(fd)
	case errors.Is(err, unix.ESRCH): // gone, as the next look at it will tell
		return false
	}
	x.room = 0 // it won't be better for the next child
	return false
}

const epollET = 1 << 31 // unix.EPOLLET is negative on some architectures

// start makes the epoll instance when the first child needs it.
func (x *exits) start() bool {
	if x.fd >= 0 {
		return true
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return false
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return false
	}
	// NewFile gives a nonblocking descriptor to the runtime's poller.
	x.fd, x.file = fd, os.NewFile(uintptr(fd), "epoll")
	x.ready, x.stop, x.ended = make(chan []int), make(chan struct{}), make(chan struct{})
	go x.pump()
	return true
}

// pump waits and passes on. It ends when the file is closed.
func (x *exits) pump() {
	defer close(x.ended)
	conn, err := x.file.SyscallConn()
	if err != nil {
		return
	}
	var events [128]unix.EpollEvent
	for {
		n := 0
		err := conn.Read(func(fd uintptr) bool {
			n, err = ignoringEINTR(func() (int, error) { return unix.EpollWait(int(fd), events[:], 0) })
			return n != 0
		})
		if err != nil || n < 0 {
			return
		}
		pids := make([]int, n)
		for i := range pids {
			pids[i] = int(events[i].Fd)
		}
		select {
		case x.ready <- pids:
		case <-x.stop:
			return
		}
	}
}

// close ends the watching. The pidfds are the children's.
func (x *exits) close() {
	if x.file == nil {
		return
	}
	close(x.stop)
	x.file.Close()
	<-x.ended
}

// notifyExits has c told of every exit of a child.
func notifyExits(c chan<- os.Signal) { signal.Notify(c, syscall.SIGCHLD) }
