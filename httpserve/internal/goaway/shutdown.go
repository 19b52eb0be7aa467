package goaway

import "encoding/binary"

// A shutdownState follows the frames of a connection, and derives from them which frames
// to insert and when the connection may be closed.
//
// The first inserted frame is a GOAWAY that allows all streams, since the client may have
// opened one that has not arrived. Once no stream is open, a PING follows. Its answer
// shows that the client has read the GOAWAY, and that every stream that it opened before
// has arrived. It also shows that the client has read all responses, so that closing
// can't destroy one. If a stream was opened meanwhile, there is another PING after it.
type shutdownState struct {
	streams
	in, out frameScanner // frames of the client, frames of the server

	settingsSent bool   // by the server; no frame may precede them
	requested    bool   // the shutdown
	goAwaySent   bool   // by us, or by the server on its own account
	pings        uint32 // number of PINGs that we have sent
	pinged       bool   // no stream was open since the last of them
	closed       bool   // by us; the server does not get what still arrives
}

// received notes what the client has sent. It reports whether that answers the last PING,
// and no stream was opened after the answer.
func (s *shutdownState) received(p []byte) (answered bool) {
	for len(p) > 0 {
		var complete bool
		if p, complete = s.in.next(p); !complete {
			break
		}
		f := &s.in.frame
		s.note(f, client)
		if f.kind == framePing && f.has(flagAck) && s.pinged && f.head == s.pingPayload() {
			answered = true
		}
		if !s.none() {
			s.pinged, answered = false, false
		}
	}
	return answered
}

// sent notes what the server has sent.
func (s *shutdownState) sent(p []byte) {
	for len(p) > 0 {
		var complete bool
		if p, complete = s.out.next(p); !complete {
			break
		}
		f := &s.out.frame
		s.note(f, server)
		switch f.kind {
		case frameSettings:
			s.settingsSent = true
		case frameGoAway:
			s.goAwaySent = true // a later one must not allow more streams
		}
	}
}

// sendable returns the part of p that the server may send in one piece: up to the end of
// the frame if the GOAWAY has to follow there.
func (s *shutdownState) sendable(p []byte) []byte {
	if s.requested && !s.goAwaySent {
		return s.out.untilEnd(p)
	}
	return p
}

// hasPending reports whether there are frames to insert at this point.
func (s *shutdownState) hasPending() bool {
	return s.requested && s.settingsSent && !s.closed && s.out.betweenFrames() &&
		(!s.goAwaySent || s.none() && !s.pinged)
}

// takePending returns the frames to insert at this point, and notes them as sent.
func (s *shutdownState) takePending() []byte {
	if !s.hasPending() {
		return nil
	}
	var b []byte
	if !s.goAwaySent {
		s.goAwaySent = true
		b = appendGoAway(b, maxStream)
	}
	if s.none() {
		s.pings++
		s.pinged = true
		b = appendPing(b, s.pingPayload())
	}
	return b
}

// pingPayload returns the payload of the last PING.
func (s *shutdownState) pingPayload() (p [pingLen]byte) {
	copy(p[:], "away")
	binary.BigEndian.PutUint32(p[4:], s.pings)
	return p
}

// isIdle reports whether no stream is open and none was since the last PING.
func (s *shutdownState) isIdle() bool { return s.goAwaySent && s.pinged && s.none() }
