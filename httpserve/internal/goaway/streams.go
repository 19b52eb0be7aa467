package goaway

import "maps"

// A side is a sender of frames.
type side byte

const (
	client side = 1 << iota
	server
)

// streams contains the open streams. The zero value has none. net/http serves 250 streams of
// a client at a time, resets others, and closes a connection that has ten thousand resets
// queued: there are not many more streams than that, whatever a client sends.
type streams struct {
	ended   map[uint32]side // for each open stream, the sides that have sent all they had
	last    uint32          // the highest stream that the client has opened
	limited bool            // the server serves no streams after last
}

// note takes into account a frame that the side by has sent.
func (s *streams) note(f *frame, by side) {
	switch f.kind {
	case frameHeaders:
		// The same number again is a trailer; a lower one is a stream that was reset.
		if by == client && f.stream > s.last && !s.limited {
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
			s.limit(f.number())
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

// limit forgets the client's streams after last: the server ignores them.
func (s *streams) limit(last uint32) {
	s.limited = true
	s.last = min(s.last, last)
	maps.DeleteFunc(s.ended, func(id uint32, _ side) bool { return id%2 == 1 && id > last })
}

// none reports whether no stream is open.
func (s *streams) none() bool { return len(s.ended) == 0 }
