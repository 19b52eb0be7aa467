//go:build !autorestart_portable

// Epoll.
//
//	call                          since   without it
//	tfd: in /proc/self/fdinfo/N   3.8     clients of another process wake this one for nothing
//	ino: in that line             4.13    the number of the descriptor alone decides
//	EPOLL_CTL_MOD                 2.6     -
//
// Another user may not read fdinfo, nor may a process that is not dumpable, see proc(5).

package sockets

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
)

// The runtime of Go has each socket in an epoll instance from its first use on. While another
// process accepts from a listener, or reads from a packet connection, each client would wake this
// process for nothing. So a quiesced socket is muted: the runtime's registration of it asks for
// no data. What else it asks for stays, as room for packets that are sent.
//
// Nothing is known of the registration but how the kernel prints it. The same is put back.

// A muting is the registration of a socket with the runtime.
type muting struct {
	mu    sync.Mutex
	entry epollEntry // zero unless muted before
	muted bool
}

// mute has the runtime not notice that s has data, if that can be had.
func (m *muting) mute(s syscall.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	withDescriptor(s, func(fd int) {
		if m.entry == (epollEntry{}) {
			m.entry = findEntry(fd)
		}
		if m.entry != (epollEntry{}) && m.entry.set(fd, m.entry.events&^syscall.EPOLLIN) == nil {
			m.muted = true
		}
	})
}

// unmute undoes mute. The kernel reports what s has by then.
func (m *muting) unmute(s syscall.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.muted {
		m.muted = false
		withDescriptor(s, func(fd int) { m.entry.set(fd, m.entry.events) })
	}
}

// An epollEntry is the registration of a descriptor in an epoll instance.
type epollEntry struct {
	epoll  int // its descriptor
	events uint32
	data   uint64
}

// runtimeEvents are those that the runtime registers.
const runtimeEvents = syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | syscall.EPOLLET&(1<<32-1)

// alwaysEvents are added by the kernel.
const alwaysEvents = syscall.EPOLLERR | syscall.EPOLLHUP

func (e epollEntry) set(fd int, events uint32) error {
	var data [8]byte
	binary.NativeEndian.PutUint64(data[:], e.data)
	event := syscall.EpollEvent{
		Events: events,
		Fd:     int32(binary.NativeEndian.Uint32(data[:4])),
		Pad:    int32(binary.NativeEndian.Uint32(data[4:])),
	}
	return syscall.EpollCtl(e.epoll, syscall.EPOLL_CTL_MOD, fd, &event)
}

// runtimeEpoll is the descriptor of the runtime's instance, once it was found.
var runtimeEpoll atomic.Int64

// findEntry returns the registration of fd with the runtime, or zero.
func findEntry(fd int) epollEntry {
	var st syscall.Stat_t
	if syscall.Fstat(fd, &st) != nil {
		return epollEntry{}
	}
	if epoll := int(runtimeEpoll.Load()); epoll > 0 {
		return entryIn(epoll, fd, st.Ino)
	}
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return epollEntry{}
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if link, _ := os.Readlink("/proc/self/fd/" + name); link != "anon_inode:[eventpoll]" {
			continue
		}
		epoll, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if e := entryIn(epoll, fd, st.Ino); e != (epollEntry{}) {
			runtimeEpoll.Store(int64(epoll))
			return e
		}
	}
	return epollEntry{}
}

// entryIn returns the registration of fd in an epoll instance, if it is one of the runtime.
func entryIn(epoll, fd int, inode uint64) epollEntry {
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(epoll))
	if err != nil {
		return epollEntry{}
	}
	return parseEntry(info, epoll, fd, inode)
}

// parseEntry finds the registration in the text of fdinfo, which has lines as this:
//
//	tfd:        5 events: 8000201d data: 3ffd74827f000002  pos:0 ino:217afed sdev:9
func parseEntry(info []byte, epoll, fd int, inode uint64) epollEntry {
	number := []byte(" " + strconv.Itoa(fd) + " events:")
	for line := range bytes.Lines(info) {
		if !bytes.Contains(line, number) {
			continue // one of many
		}
		var e epollEntry
		var own, pos int
		var ino uint64
		n, _ := fmt.Sscanf(string(line), "tfd: %d events: %x data: %x pos:%d ino:%x", &own, &e.events, &e.data, &pos, &ino)
		if n < 3 || own != fd || e.events&^alwaysEvents != runtimeEvents || n == 5 && ino != inode {
			continue // of another epoll instance, or of a file that had the number before
		}
		e.epoll = epoll
		return e
	}
	return epollEntry{}
}
