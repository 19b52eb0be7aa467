package goaway

import (
	"slices"
	"testing"
)

// events are the events of a connection, by name.
var events = map[string]func(*shutdownState){
	"settings":  func(w *shutdownState) { w.sent(appendFrame(nil, frameSettings, 0, 0, "")) },
	"shut down": func(w *shutdownState) { w.requested = true },

	"open 1":    receive(frameHeaders, flagEndHeaders, 1, "x"),
	"request 1": receive(frameHeaders, flagEndStream|flagEndHeaders, 1, "x"),
	"request 3": receive(frameHeaders, flagEndStream|flagEndHeaders, 3, "x"),
	"body 1":    receive(frameData, 0, 1, "x"),
	"end 1":     receive(frameData, flagEndStream, 1, "x"),
	"trailer 1": receive(frameHeaders, flagEndStream|flagEndHeaders, 1, "x"),
	"cancel 1":  receive(frameReset, 0, 1, "xxxx"),
	"pong": func(w *shutdownState) {
		p := w.pingPayload()
		w.received(appendFrame(nil, framePing, flagAck, 0, string(p[:])))
	},
	"begin frame": func(w *shutdownState) { w.received([]byte{0, 0, 1}) },

	// A header block in three frames.
	"begin request 1":    receive(frameHeaders, flagEndStream, 1, "x"),
	"continue request 1": receive(frameContinuation, 0, 1, "x"),
	"end request 1":      receive(frameContinuation, flagEndHeaders, 1, "x"),
	"begin headers 1":    send(frameHeaders, 0, 1, "x"),
	"continue headers 1": send(frameContinuation, 0, 1, "x"),
	"end headers 1":      send(frameContinuation, flagEndHeaders, 1, "x"),

	"headers 1":    send(frameHeaders, flagEndHeaders, 1, "x"),
	"response 1":   send(frameHeaders, flagEndStream|flagEndHeaders, 1, "x"),
	"response 3":   send(frameHeaders, flagEndStream|flagEndHeaders, 3, "x"),
	"data 1":       send(frameData, flagEndStream, 1, "x"),
	"reset 1":      send(frameReset, 0, 1, "xxxx"),
	"push 2":       send(framePushPromise, flagEndHeaders, 1, "\x00\x00\x00\x02"),
	"pushed 2":     send(frameHeaders, flagEndHeaders, 2, "x"),
	"data 2":       send(frameData, flagEndStream, 2, "x"),
	"half data":    func(w *shutdownState) { w.sent(appendFrame(nil, frameData, 0, 1, "xy")[:10]) },
	"rest of data": func(w *shutdownState) { w.sent([]byte("y")) },
	"goaway 1":     send(frameGoAway, 0, 0, "\x00\x00\x00\x01\x00\x00\x00\x00"),
}

func receive(kind, flags byte, stream uint32, payload string) func(*shutdownState) {
	return func(w *shutdownState) { w.received(appendFrame(nil, kind, flags, stream, payload)) }
}

func send(kind, flags byte, stream uint32, payload string) func(*shutdownState) {
	return func(w *shutdownState) { w.sent(appendFrame(nil, kind, flags, stream, payload)) }
}

func TestShutdownState(t *testing.T) {
	for _, test := range []struct {
		name   string
		script []string // events; the inserted frames are not in it
		sent   string   // all inserted frames
		idle   bool     // at the end
	}{
		{"no shutdown", []string{"settings", "request 1", "response 1"}, "", false},
		{"idle", []string{"settings", "shut down"}, "goaway ping", true},
		{"not before the settings", []string{"shut down"}, "", false},
		{"after the settings", []string{"shut down", "settings"}, "goaway ping", true},

		{"a stream", []string{"settings", "request 1", "shut down"}, "goaway", false},
		{"ended", []string{"settings", "request 1", "shut down", "headers 1", "data 1"}, "goaway ping", true},
		{"ended by the server only", []string{"settings", "open 1", "shut down", "headers 1", "data 1"}, "goaway", false},
		{"and then reset", []string{"settings", "open 1", "shut down", "headers 1", "data 1", "reset 1"}, "goaway ping", true},
		{"and then by the client", []string{"settings", "open 1", "shut down", "headers 1", "data 1", "body 1", "end 1"}, "goaway ping", true},
		{"ended by a trailer", []string{"settings", "open 1", "body 1", "trailer 1", "shut down", "response 1"}, "goaway ping", true},
		{"cancelled", []string{"settings", "open 1", "shut down", "cancel 1"}, "goaway ping", true},
		{"frames of a stream that is done", []string{"settings", "open 1", "reset 1", "body 1", "trailer 1", "shut down"}, "goaway ping", true},

		{"one that crossed", []string{"settings", "shut down", "open 1"}, "goaway ping", false},
		{"and was served", []string{"settings", "shut down", "open 1", "end 1", "response 1"}, "goaway ping ping", true},
		{"and after the answer", []string{"settings", "shut down", "pong", "request 1", "response 1"}, "goaway ping ping", true},
		{"two", []string{"settings", "request 1", "request 3", "shut down", "response 3"}, "goaway", false},
		{"two done", []string{"settings", "request 1", "request 3", "shut down", "response 3", "response 1"}, "goaway ping", true},

		{"within a frame", []string{"settings", "request 1", "half data", "shut down"}, "", false},
		{"after it", []string{"settings", "request 1", "half data", "shut down", "rest of data"}, "goaway", false},
		{"a frame begun by the client", []string{"settings", "shut down", "begin frame"}, "goaway ping", false},

		{"a header begun by the client", []string{"settings", "shut down", "begin request 1", "continue request 1"}, "goaway ping", false},
		{"and ended", []string{"settings", "shut down", "begin request 1", "continue request 1", "end request 1", "response 1"}, "goaway ping ping", true},
		{"within a header", []string{"settings", "request 1", "begin headers 1", "shut down", "continue headers 1"}, "", false},
		{"after the header", []string{"settings", "request 1", "begin headers 1", "shut down", "continue headers 1", "end headers 1"}, "goaway", false},

		{"a push", []string{"settings", "request 1", "push 2", "response 1", "shut down"}, "goaway", false},
		{"pushed", []string{"settings", "request 1", "push 2", "response 1", "shut down", "pushed 2", "data 2"}, "goaway ping", true},

		{"a GOAWAY of the server", []string{"settings", "request 1", "goaway 1", "response 1"}, "", false},
		{"no second GOAWAY", []string{"settings", "request 1", "goaway 1", "response 1", "shut down"}, "ping", true},
		{"a stream after its limit", []string{"settings", "request 1", "response 1", "request 3", "goaway 1", "shut down"}, "ping", true},
		{"a later stream after its limit", []string{"settings", "request 1", "response 1", "goaway 1", "request 3", "shut down"}, "ping", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var w shutdownState
			var sent []frame
			var s frameScanner
			for _, event := range test.script {
				events[event](&w)
				sent = append(sent, scan(&s, w.takePending(), 1<<10)...)
				if w.hasPending() {
					t.Fatalf("would insert frames twice, after %s", event)
				}
			}
			if got := names(sent); got != test.sent {
				t.Errorf("inserted %q, want %q", got, test.sent)
			}
			if got := w.isIdle() && w.in.betweenFrames() && w.out.betweenFrames(); got != test.idle {
				t.Errorf("idle: %v, want %v", got, test.idle)
			}
		})
	}
}

func names(frames []frame) (s string) {
	for i, f := range frames {
		if i > 0 {
			s += " "
		}
		switch {
		case f.kind == framePing && !f.has(flagAck):
			s += "ping"
		case f.kind == frameGoAway && f.number() == maxStream:
			s += "goaway"
		default:
			s += "?"
		}
	}
	return s
}

// An answer counts if it is to the last PING and no stream was opened after it.
func TestPingAnswerCountsOnlyIfLast(t *testing.T) {
	answer := func(p [pingLen]byte) []byte { return appendFrame(nil, framePing, flagAck, 0, string(p[:])) }
	open := appendFrame(nil, frameHeaders, flagEndStream|flagEndHeaders, 1, "x")
	pinged := func() *shutdownState {
		w := &shutdownState{requested: true, settingsSent: true}
		w.takePending()
		return w
	}

	if w := pinged(); !w.received(answer(w.pingPayload())) {
		t.Error("the answer doesn't count")
	}
	if w := pinged(); w.received(appendPing(nil, w.pingPayload())) {
		t.Error("the client's own PING counts")
	}
	if w := pinged(); w.received(answer([8]byte{})) {
		t.Error("an answer to another PING counts")
	}
	if w := pinged(); w.received(slices.Concat(answer(w.pingPayload()), open)) {
		t.Error("an answer with a stream behind it counts")
	}
	w := pinged()
	first := answer(w.pingPayload())
	w.received(open)
	events["response 1"](w)
	w.takePending()
	if w.received(first) {
		t.Error("the answer to the first of two counts")
	}
	if !w.received(answer(w.pingPayload())) {
		t.Error("the answer to the second of two doesn't count")
	}
}

// While a GOAWAY is pending, the server sends frame by frame.
func TestSendable(t *testing.T) {
	one := appendFrame(nil, frameData, 0, 1, "x")
	two := slices.Concat(one, one)
	var w shutdownState
	if got := w.sendable(two); len(got) != len(two) {
		t.Errorf("%d bytes, want %d", len(got), len(two))
	}
	w.requested = true
	if got := w.sendable(two); len(got) != len(one) {
		t.Errorf("before GOAWAY: %d bytes, want %d", len(got), len(one))
	}
	w.goAwaySent = true
	if got := w.sendable(two); len(got) != len(two) {
		t.Errorf("after GOAWAY: %d bytes, want %d", len(got), len(two))
	}
}

// Frames are inserted between two frames of the server, and GOAWAY at most once. This holds
// for whatever the server writes, in pieces of any size.
func FuzzInsertedBetweenFrames(f *testing.F) {
	b := appendFrame(nil, frameSettings, 0, 0, "")
	b = appendFrame(b, frameHeaders, 0, 1, "abc")
	b = appendFrame(b, frameData, flagEndStream, 1, "0123456789")
	f.Add(b, 7, 0)
	f.Add(appendFrame(b, frameContinuation, flagEndHeaders, 1, "x"), 7, 0)
	f.Add(b, 100, 1)
	f.Add(appendGoAway(b, 1), 20, 2)
	f.Fuzz(func(t *testing.T, p []byte, n, writes int) {
		if n <= 0 {
			return
		}
		ends := map[int]bool{0: true} // but those within a header block
		block := false
		for at := 0; at+headerLen <= len(p); {
			kind, flags := p[at+3], p[at+4]
			at += headerLen + int(p[at])<<16 + int(p[at+1])<<8 + int(p[at+2])
			block = flags&flagEndHeaders == 0 && (kind == frameHeaders || kind == framePushPromise || block && kind == frameContinuation)
			ends[at] = !block
		}
		var w shutdownState
		at, goAways := 0, 0
		insert := func() {
			frames := w.takePending()
			if frames != nil && !ends[at] {
				t.Fatalf("inserts %x after %d bytes", frames, at)
			}
			if len(frames) > 0 && frames[3] == frameGoAway {
				goAways++
			}
		}
		for write := range slices.Chunk(p, n) {
			w.requested = w.requested || writes == 0
			writes--
			for len(write) > 0 {
				piece := w.sendable(write)
				w.sent(piece)
				write = write[len(piece):]
				at += len(piece)
				insert()
			}
		}
		if goAways > 1 || w.requested && w.settingsSent && !w.goAwaySent && ends[len(p)] {
			t.Fatalf("%d times GOAWAY", goAways)
		}
	})
}
