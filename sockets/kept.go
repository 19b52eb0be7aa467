package sockets

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// A keptPacket is a packet that was read in a drain and is for the next version. It crosses the
// exec in memory, as the kernel can't take it back.
type keptPacket struct {
	from      netip.AddrPort
	data, oob []byte // oob are control messages, if the reader has asked for them
}

// keptPackets are packets that no reader has got, the oldest first. Their number is limited as it
// is by the kernel's receive buffer: what exceeds it is dropped.
type keptPackets struct {
	list    []keptPacket
	size    int // in bytes
	dropped int
}

const (
	maxKeptPackets = 4096
	maxKeptBytes   = 4 << 20
)

// add adds a copy of p, unless there are too many.
func (k *keptPackets) add(p keptPacket) {
	size := len(p.data) + len(p.oob)
	if len(k.list) >= maxKeptPackets || k.size+size > maxKeptBytes {
		k.dropped++
		return
	}
	k.size += size
	k.list = append(k.list, keptPacket{p.from, bytes.Clone(p.data), bytes.Clone(p.oob)})
}

// next removes the oldest packet.
func (k *keptPackets) next() (p keptPacket, ok bool) {
	if len(k.list) == 0 {
		return keptPacket{}, false
	}
	p, k.list[0] = k.list[0], keptPacket{}
	k.list = k.list[1:]
	k.size -= len(p.data) + len(p.oob)
	return p, true
}

// takeDropped returns how many packets were dropped since the last call.
func (k *keptPackets) takeDropped() (n int) {
	n, k.dropped = k.dropped, 0
	return n
}

// The packets cross the exec as a line that names the format, and then the address, data and control
// messages of each, each of them preceded by its length as a varint.
const keptFormat = "packets 1\n"

func (k *keptPackets) encode() []byte {
	b := []byte(keptFormat)
	for _, p := range k.list {
		from, _ := p.from.MarshalBinary() // which never fails
		for _, field := range [][]byte{from, p.data, p.oob} {
			b = binary.AppendUvarint(b, uint64(len(field)))
			b = append(b, field...)
		}
	}
	return b
}

// decodeKept returns the packets in b, up to the first that is damaged. Packets in a format of
// another version are lost, as packets may be.
func decodeKept(b []byte) (k keptPackets) {
	b, ok := bytes.CutPrefix(b, []byte(keptFormat))
	for ok && len(b) > 0 {
		var fields [3][]byte
		for i := range fields {
			n, size := binary.Uvarint(b)
			if size <= 0 || n > uint64(len(b)-size) {
				return k
			}
			b = b[size:]
			fields[i], b = b[:n], b[n:]
		}
		p := keptPacket{data: fields[1], oob: fields[2]}
		if p.from.UnmarshalBinary(fields[0]) != nil || !p.from.IsValid() {
			return k
		}
		k.add(p)
	}
	return k
}
