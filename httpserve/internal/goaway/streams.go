package goaway

import "maps"

// A side is who sent a frame.
type side byte

const (
	client side = 1 << iota
	server
)

// streams are those that are open. The zero value has none.
type streams struct {
	ended  map[uint32]side // of each open stream, the sides that have sent all they had
	last   uint32          // the highest that the client has opened
	nomore bool            // the server takes none after last
}

// passed takes a frame into account that by has sent.
func (s *streams) passed(f *frame, by side) {
	switch f.kind {
	case frameHeaders:
		// The same again is a trailer, lower is a stream that was reset meanwhile.
		if by == client && f.stream > s.last && !s.nomore {
			s.last = f.stream
			s.open(f.stream, 0)
		}
		fallthrough
	case frameData:
		if f.has(flagEndStream) {
			s.end(f.stream, by)
		}
	case framePushPromise:
		if by == server {
			s.open(f.number(), client)
		}
	case frameReset:
		delete(s.ended, f.stream)
	case frameGoAway:
		if by == server {
			s.refuse(f.number())
		}
	}
}

func (s *streams) open(id uint32, ended side) {
	if s.ended == nil {
		s.ended = make(map[uint32]side)
	}
	s.ended[id] = ended
}

func (s *streams) end(id uint32, by side) {
	ended, open := s.ended[id]
	switch {
	case !open:
	case ended|by == client|server:
		delete(s.ended, id)
	default:
		s.ended[id] = ended | by
	}
}

// refuse forgets the client's streams after last: the server does not look at them.
func (s *streams) refuse(last uint32) {
	s.nomore = true
	s.last = min(s.last, last)
	maps.DeleteFunc(s.ended, func(id uint32, _ side) bool { return id%2 == 1 && id > last })
}

// none reports whether no stream is open.
func (s *streams) none() bool { return len(s.ended) == 0 }
