package goaway

import "encoding/binary"

// A farewell is how far a connection has come in being given up: what passes is
// noted, what to say next and whether it is at rest follow from that.
//
// It takes a GOAWAY that allows all streams, since the client may have opened one
// that is still on its way. Once no stream is open it takes a PING. When its answer
// is here, the client knew of the GOAWAY: whatever it had opened before has come
// too; and it has read all that we sent, so that closing can't destroy a response.
// If there was a stream again, there is a PING again.
type farewell struct {
	streams
	in, out scanner // what the client sends, what the server does

	greeted bool   // the server's SETTINGS have gone out; nothing may precede them
	leaving bool   // we want the client to leave
	told    bool   // a GOAWAY has gone out: ours, or one of the server's own accord
	pings   uint32 // that we have sent
	asked   bool   // the last of them, and no stream has been open since
	closed  bool   // by us: what still comes is not for the server
}

// received notes what the client has sent. It reports whether that answers our PING,
// and no stream was opened after the answer.
func (w *farewell) received(p []byte) (answered bool) {
	for len(p) > 0 {
		var complete bool
		if p, complete = w.in.next(p); !complete {
			break
		}
		f := &w.in.frame
		w.passed(f, client)
		if f.kind == framePing && f.has(flagAck) && w.asked && f.head == w.payload() {
			answered = true
		}
		if !w.none() {
			w.asked, answered = false, false
		}
	}
	return answered
}

// sent notes what the server has sent.
func (w *farewell) sent(p []byte) {
	for len(p) > 0 {
		var complete bool
		if p, complete = w.out.next(p); !complete {
			break
		}
		f := &w.out.frame
		w.passed(f, server)
		switch f.kind {
		case frameSettings:
			w.greeted = true
		case frameGoAway:
			w.told = true // a later one must not allow more streams
		}
	}
}

// sendable returns as much of p as may go out in one piece: up to the end of a frame
// if that is where we have something to say.
func (w *farewell) sendable(p []byte) []byte {
	if w.leaving && !w.told {
		return w.out.untilEnd(p)
	}
	return p
}

// speaks reports whether there is something for us to say at this point.
func (w *farewell) speaks() bool {
	return w.leaving && w.greeted && !w.closed && w.out.between() &&
		(!w.told || w.none() && !w.asked)
}

// say returns what there is for us to say at this point, and takes it as said.
func (w *farewell) say() []byte {
	if !w.speaks() {
		return nil
	}
	var b []byte
	if !w.told {
		w.told = true
		b = appendGoAway(b, maxStream)
	}
	if w.none() {
		w.pings++
		w.asked = true
		b = appendPing(b, w.payload())
	}
	return b
}

// payload returns that of the last PING.
func (w *farewell) payload() (p [pingLen]byte) {
	copy(p[:], "away")
	binary.BigEndian.PutUint32(p[4:], w.pings)
	return p
}

// atRest reports whether no stream is open and the client was given the chance to
// say otherwise: it was asked.
func (w *farewell) atRest() bool { return w.told && w.asked && w.none() }

// whole reports whether no frame is on its way that we have seen a part of.
func (w *farewell) whole() bool { return w.in.between() && w.out.between() }
