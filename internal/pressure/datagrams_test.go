//go:build linux && !autorestart_portable

package pressure

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

const (
	receiveBuffer = 64 << 20
	datagramCost  = 1 << 10 // bytes of a buffer that a small datagram takes
)

// setReceiveBuffer gives a socket a buffer for all datagrams of a long pause, if the
// process may have it. It returns the size.
func setReceiveBuffer(fd int) (size int, err error) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	return unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
}

// datagrams sends numbered datagrams at a steady rate, and counts their echoes.
type datagrams struct {
	t         testing.TB
	server    int // port
	conn      *net.UDPConn
	perSecond int
	sending   time.Duration
	sent      atomic.Int64
	received  atomic.Int64 // echoes
	next      uint64       // the lowest number that no echo has reached
	missing   map[uint64]time.Time
	latency   histogram
	wrong     []error // about echoes
	dropped   int     // datagrams that found the buffer of the server or of the client full
	queued    int     // by SoftnetDrops, before the first datagram; then those during the run
}

func newDatagrams(t testing.TB, address string, perSecond int) *datagrams {
	t.Helper()
	addr, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialUDP("udp", nil, addr)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var size int
	raw.Control(func(fd uintptr) { size, err = setReceiveBuffer(int(fd)) })
	if err != nil {
		t.Fatal(err)
	}
	return &datagrams{
		t: t, server: addr.Port, conn: conn, missing: map[uint64]time.Time{},
		perSecond: min(perSecond, 2*size/datagramCost), // a buffer must hold those of half a second
		queued:    testprocess.SoftnetDrops(t),
	}
}

// send sends until stop is closed.
func (d *datagrams) send(stop <-chan struct{}) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	b := make([]byte, 16)
	began := time.Now()
	defer func() { d.sending = time.Since(began) }()
	for {
		select {
		case <-stop:
			return
		case now := <-tick.C:
			for due := int64(now.Sub(began).Seconds() * float64(d.perSecond)); d.sent.Load() < due; d.sent.Add(1) {
				binary.BigEndian.PutUint64(b, uint64(d.sent.Load()))
				binary.BigEndian.PutUint64(b[8:], uint64(time.Now().UnixNano()))
				_, err := d.conn.Write(b)
				if err != nil && !errors.Is(err, syscall.ECONNREFUSED) { // of an earlier datagram, which is missing
					d.t.Errorf("datagram %d: %v", d.sent.Load(), err)
					return
				}
			}
		}
	}
}

// receive counts echoes until the connection is closed.
func (d *datagrams) receive() {
	for b := make([]byte, 2048); ; {
		n, err := d.conn.Read(b)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, syscall.ECONNREFUSED): // the server has ended
			continue
		case err != nil || n != 16:
			d.wrong = append(d.wrong, fmt.Errorf("echo of %d bytes, %v", n, err))
			continue
		}
		d.echoed(binary.BigEndian.Uint64(b), time.Unix(0, int64(binary.BigEndian.Uint64(b[8:]))))
		d.received.Add(1)
	}
}

// echoed counts the echo of a datagram, most of which come in order.
func (d *datagrams) echoed(number uint64, sent time.Time) {
	d.latency.add(time.Since(sent))
	switch _, missing := d.missing[number]; {
	case number >= d.next:
		for ; d.next < number; d.next++ {
			d.missing[d.next] = sent
		}
		d.next++
	case missing:
		delete(d.missing, number)
	default:
		d.wrong = append(d.wrong, fmt.Errorf("second echo of datagram %d", number))
	}
}

// during sends until stop is closed, and returns when no more echoes come.
func (d *datagrams) during(stop <-chan struct{}) {
	received := make(chan struct{})
	go func() {
		defer close(received)
		d.receive()
	}()
	d.send(stop)
	const pause = 2 * time.Second
	for before := int64(-1); before != d.received.Load() && d.received.Load() < d.sent.Load(); {
		before = d.received.Load()
		testprocess.Within(pause, func() bool { return d.received.Load() >= d.sent.Load() })
	}
	for _, port := range []int{d.server, d.conn.LocalAddr().(*net.UDPAddr).Port} {
		d.dropped += testprocess.DatagramDrops(d.t, port)
	}
	d.queued = testprocess.SoftnetDrops(d.t) - d.queued
	d.conn.Close()
	<-received
}

// losses returns the datagrams without an echo that the kernel has not dropped.
func (d *datagrams) losses() (lost []loss) {
	for ; d.next < uint64(d.sent.Load()); d.next++ {
		d.missing[d.next] = time.Now()
	}
	numbers := slices.Sorted(maps.Keys(d.missing))
	for _, number := range numbers[:max(0, len(numbers)-d.dropped-d.queued)] { // which of them were dropped can't be told
		at := d.missing[number]
		lost = append(lost, loss{kind: "udp", request: int(number), began: at, failed: at, err: errors.New("no echo")})
	}
	for _, wrong := range d.wrong {
		lost = append(lost, loss{kind: "udp", began: time.Now(), failed: time.Now(), err: wrong})
	}
	return lost
}
