package sockets

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"github.com/autorestart-go/autorestart/internal/report"
)

// A UDP socket with [Config.KeepPacket] goes on reading in a drain. Its packets are then judged one
// by one: some are for this version, and the others are kept for the next one. Reading ends right
// before the exec: from then on packets stay in the kernel.
//
// What was kept is lent to the store together with a descriptor of the socket, as connections are,
// so that in a rollback it goes back to the previous version.

// keeping is the part of a packet connection in that. The mutex of its gate guards it.
type keeping struct {
	keepPacket func(packet []byte, from netip.AddrPort) (keep bool) // nil without the option

	kept      keptPackets
	undecided []*keptPacket // keepPacket is being called with these
	panicked  bool          // in this drain

	spare    *os.File // a descriptor of the socket for the next version, also if the program closes it
	passedAs key      // zero unless kept packets cross the next exec
}

// errKept is returned by a read of a packet that is not for the caller, which reads again.
var errKept = errors.New("the packet was kept for the next version")

// inheritKept takes over the packets that the previous version has kept.
func (p *packets) inheritKept(oldKey key) {
	for _, k := range p.registry.claimConnections(oldKey) {
		fd, state, ok := p.registry.claimFile(k, k)
		if !ok {
			continue
		}
		for _, packet := range decodeKept(state).list {
			p.kept.add(packet)
		}
		p.registry.takeFile(k)
		os.NewFile(uintptr(fd), k.String()).Close()
	}
}

// nextKept returns a packet that was kept, unless they are for the next version, or the caller's
// deadline has expired.
func (p *packets) nextKept() (packet keptPacket, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reading || p.closed || expired(p.deadline) {
		return keptPacket{}, false
	}
	return p.kept.next()
}

// judge keeps a packet that was read in a drain and is for the next version. It then returns
// errKept.
func (p *packets) judge(packet keptPacket) error {
	p.mu.Lock()
	if !p.reading {
		p.mu.Unlock()
		return nil
	}
	p.undecided = append(p.undecided, &packet)
	p.mu.Unlock()

	keep := p.callKeepPacket(&packet)

	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.undecided, &packet)
	if i < 0 {
		return errKept // the exec could not wait for the decision, see seal
	}
	p.undecided = slices.Delete(p.undecided, i, i+1)
	if keep {
		p.kept.add(packet)
		return errKept
	}
	return nil
}

// callKeepPacket calls the function of the program. A packet with which that panics is kept.
func (p *packets) callKeepPacket(packet *keptPacket) (keep bool) {
	defer func() {
		reason := recover()
		if reason == nil {
			return
		}
		keep = true
		p.mu.Lock()
		first := !p.panicked
		p.panicked = true
		p.mu.Unlock()
		if first {
			report.Warn("KeepPacket panicked: the packet is kept for the next version", "socket", p.socket.LocalAddr().String(), "reason", fmt.Sprint(reason))
		}
	}()
	return p.keepPacket(packet.data, packet.from)
}

// beginKeeping is called when a drain begins. It reports whether a read can be interrupted: the
// program may have made the socket blocking, by [os.File.Fd].
func (p *packets) beginKeeping() (nonblocking bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.spare == nil && (p.keepPacket != nil || len(p.kept.list) > 0) {
		p.spare, _ = p.socket.File() // see seal
	}
	p.panicked = false
	return p.spare == nil || isNonblocking(p.spare)
}

// seal ends the reading right before the exec, and passes the packets that were kept to the next
// version. A packet for whose judgement it can't wait is kept.
func (p *packets) seal() {
	p.mu.Lock()
	reading := p.reading
	p.mu.Unlock()
	if reading {
		p.holdAndWait()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, packet := range p.undecided {
		p.kept.add(*packet)
	}
	p.undecided = nil
	p.reportDropped()
	if len(p.kept.list) == 0 || p.passedAs != (key{}) {
		return
	}
	k := p.key
	k.kind, k.name = keptFor, strconv.FormatInt(passedStreams.Add(1), 10)
	err := errNoSpare
	if p.spare != nil {
		withDescriptor(p.spare, func(fd int) { err = p.registry.lendFile(k, fd, p.kept.encode()) })
	}
	if err != nil {
		report.Warn("packets that were kept for the next version are lost: cannot pass them on", "socket", p.key.local, "packets", len(p.kept.list), "reason", err)
		return
	}
	p.passedAs = k
}

var errNoSpare = errors.New("no descriptor was free when the drain began")

// endKeeping is called when a restart was called off: the packets that were kept are for this
// version.
func (p *packets) endKeeping() {
	p.mu.Lock()
	passedAs, spare := p.passedAs, p.spare
	p.passedAs, p.spare = key{}, nil
	p.reportDropped()
	waiting := len(p.kept.list) > 0
	p.mu.Unlock()
	if passedAs != (key{}) {
		p.registry.stopPassing(passedAs)
	}
	if spare != nil {
		spare.Close()
	}
	p.closeKept()
	if waiting {
		p.interrupt() // readers that wait in the kernel
	}
}

// closeKept drops the packets of a closed socket, unless they cross the exec although it was closed.
func (p *packets) closeKept() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed && !p.held && !p.reading {
		p.kept = keptPackets{}
	}
}

// reportDropped is called with p locked.
func (p *packets) reportDropped() {
	if n := p.kept.takeDropped(); n > 0 {
		report.Warn("dropped packets for the next version: too many have arrived during the drain", "socket", p.key.local, "packets", n)
	}
}

// forgetKept is called when a caller reads by system calls of its own, which can't return packets
// that were kept.
func (p *packets) forgetKept() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.kept.list); n > 0 && !p.held {
		p.kept = keptPackets{}
		report.Warn("packets that were kept for this version are lost: it reads by system calls of its own; use a read method", "socket", p.key.local, "packets", n)
	}
}
