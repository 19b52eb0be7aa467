package goaway

import (
	"slices"
	"testing"
)

// A script is a sequence of what passes on a connection, by name.
var events = map[string]func(*farewell){
	"settings": func(w *farewell) { w.sent(appendFrame(nil, frameSettings, 0, 0, "")) },
	"leave":    func(w *farewell) { w.leaving = true },

	"open 1":      receive(frameHeaders, 0, 1, "x"),
	"request 1":   receive(frameHeaders, flagEndStream, 1, "x"),
	"request 3":   receive(frameHeaders, flagEndStream, 3, "x"),
	"body 1":      receive(frameData, 0, 1, "x"),
	"end 1":       receive(frameData, flagEndStream, 1, "x"),
	"trailer 1":   receive(frameHeaders, flagEndStream, 1, "x"),
	"cancel 1":    receive(frameReset, 0, 1, "xxxx"),
	"pong":        func(w *farewell) { p := w.payload(); w.received(appendFrame(nil, framePing, flagAck, 0, string(p[:]))) },
	"begin frame": func(w *farewell) { w.received([]byte{0, 0, 1}) },

	"headers 1":  send(frameHeaders, 0, 1, "x"),
	"response 1": send(frameHeaders, flagEndStream, 1, "x"),
	"response 3": send(frameHeaders, flagEndStream, 3, "x"),
	"data 1":     send(frameData, flagEndStream, 1, "x"),
	"reset 1":    send(frameReset, 0, 1, "xxxx"),
	"push 2":     send(framePushPromise, 0, 1, "\x00\x00\x00\x02"),
	"pushed 2":   send(frameHeaders, 0, 2, "x"),
	"data 2":     send(frameData, flagEndStream, 2, "x"),
	"half data":  func(w *farewell) { w.sent(appendFrame(nil, frameData, 0, 1, "xy")[:10]) },
	"the rest":   func(w *farewell) { w.sent([]byte("y")) },
	"goaway 1":   send(frameGoAway, 0, 0, "\x00\x00\x00\x01\x00\x00\x00\x00"),
}

func receive(kind, flags byte, stream uint32, payload string) func(*farewell) {
	return func(w *farewell) { w.received(appendFrame(nil, kind, flags, stream, payload)) }
}

func send(kind, flags byte, stream uint32, payload string) func(*farewell) {
	return func(w *farewell) { w.sent(appendFrame(nil, kind, flags, stream, payload)) }
}

func TestFarewell(t *testing.T) {
	for _, test := range []struct {
		name   string
		script []string // what is said is not in it, but follows
		said   string   // in all
		rest   bool     // at the end
	}{
		{"nothing asked", []string{"settings", "request 1", "response 1"}, "", false},
		{"idle", []string{"settings", "leave"}, "goaway ping", true},
		{"not before the settings", []string{"leave"}, "", false},
		{"after the settings", []string{"leave", "settings"}, "goaway ping", true},

		{"a stream", []string{"settings", "request 1", "leave"}, "goaway", false},
		{"ended", []string{"settings", "request 1", "leave", "headers 1", "data 1"}, "goaway ping", true},
		{"ended by the server only", []string{"settings", "open 1", "leave", "headers 1", "data 1"}, "goaway", false},
		{"and then reset", []string{"settings", "open 1", "leave", "headers 1", "data 1", "reset 1"}, "goaway ping", true},
		{"and then by the client", []string{"settings", "open 1", "leave", "headers 1", "data 1", "body 1", "end 1"}, "goaway ping", true},
		{"ended by a trailer", []string{"settings", "open 1", "body 1", "trailer 1", "leave", "response 1"}, "goaway ping", true},
		{"cancelled", []string{"settings", "open 1", "leave", "cancel 1"}, "goaway ping", true},
		{"frames of a stream that is done", []string{"settings", "open 1", "reset 1", "body 1", "trailer 1", "leave"}, "goaway ping", true},

		{"one that crossed", []string{"settings", "leave", "open 1"}, "goaway ping", false},
		{"and was served", []string{"settings", "leave", "open 1", "end 1", "response 1"}, "goaway ping ping", true},
		{"and after the answer", []string{"settings", "leave", "pong", "request 1", "response 1"}, "goaway ping ping", true},
		{"two", []string{"settings", "request 1", "request 3", "leave", "response 3"}, "goaway", false},
		{"two done", []string{"settings", "request 1", "request 3", "leave", "response 3", "response 1"}, "goaway ping", true},

		{"within a frame", []string{"settings", "request 1", "half data", "leave"}, "", false},
		{"after it", []string{"settings", "request 1", "half data", "leave", "the rest"}, "goaway", false},
		{"a frame begun by the client", []string{"settings", "leave", "begin frame"}, "goaway ping", false},

		{"a push", []string{"settings", "request 1", "push 2", "response 1", "leave"}, "goaway", false},
		{"pushed", []string{"settings", "request 1", "push 2", "response 1", "leave", "pushed 2", "data 2"}, "goaway ping", true},

		{"the server's own", []string{"settings", "request 1", "goaway 1", "response 1"}, "", false},
		{"ours is not the second", []string{"settings", "request 1", "goaway 1", "response 1", "leave"}, "ping", true},
		{"a stream it refuses", []string{"settings", "request 1", "response 1", "request 3", "goaway 1", "leave"}, "ping", true},
		{"a stream it would refuse", []string{"settings", "request 1", "response 1", "goaway 1", "request 3", "leave"}, "ping", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var w farewell
			var said []frame
			var s scanner
			for _, event := range test.script {
				events[event](&w)
				said = append(said, scan(&s, w.say(), 1<<10)...)
				if w.speaks() {
					t.Fatalf("says it twice, after %s", event)
				}
			}
			if got := names(said); got != test.said {
				t.Errorf("said %q, want %q", got, test.said)
			}
			if got := w.atRest() && w.whole(); got != test.rest {
				t.Errorf("at rest: %v, want %v", got, test.rest)
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

// The answer counts if it is the last word: to the last PING, and no stream since.
func TestAnswer(t *testing.T) {
	answer := func(p [pingLen]byte) []byte { return appendFrame(nil, framePing, flagAck, 0, string(p[:])) }
	open := appendFrame(nil, frameHeaders, flagEndStream, 1, "x")
	told := func() *farewell {
		w := &farewell{leaving: true, greeted: true}
		w.say()
		return w
	}

	if w := told(); !w.received(answer(w.payload())) {
		t.Error("the answer doesn't count")
	}
	if w := told(); w.received(appendPing(nil, w.payload())) {
		t.Error("the client's own PING counts")
	}
	if w := told(); w.received(answer([8]byte{})) {
		t.Error("an answer to somebody else counts")
	}
	if w := told(); w.received(slices.Concat(answer(w.payload()), open)) {
		t.Error("an answer with a stream behind it counts")
	}
	w := told()
	first := answer(w.payload())
	w.received(open)
	events["response 1"](w)
	w.say()
	if w.received(first) {
		t.Error("the answer to the first of two counts")
	}
	if !w.received(answer(w.payload())) {
		t.Error("the answer to the second of two doesn't count")
	}
}

// While there is a GOAWAY to send, what the server writes goes out frame by frame.
func TestSendable(t *testing.T) {
	one := appendFrame(nil, frameData, 0, 1, "x")
	two := slices.Concat(one, one)
	var w farewell
	if got := w.sendable(two); len(got) != len(two) {
		t.Errorf("%d bytes, want %d", len(got), len(two))
	}
	w.leaving = true
	if got := w.sendable(two); len(got) != len(one) {
		t.Errorf("before GOAWAY: %d bytes, want %d", len(got), len(one))
	}
	w.told = true
	if got := w.sendable(two); len(got) != len(two) {
		t.Errorf("after GOAWAY: %d bytes, want %d", len(got), len(two))
	}
}

// Whatever the server writes, and in whatever pieces: what we say comes between two
// of its frames, and GOAWAY at most once.
func FuzzBetween(f *testing.F) {
	b := appendFrame(nil, frameSettings, 0, 0, "")
	b = appendFrame(b, frameHeaders, 0, 1, "abc")
	b = appendFrame(b, frameData, flagEndStream, 1, "0123456789")
	f.Add(b, 7, 0)
	f.Add(b, 100, 1)
	f.Add(appendGoAway(b, 1), 20, 2)
	f.Fuzz(func(t *testing.T, p []byte, n, leave int) {
		if n <= 0 {
			return
		}
		ends := map[int]bool{0: true}
		for at := 0; at+headerLen <= len(p); {
			at += headerLen + int(p[at])<<16 + int(p[at+1])<<8 + int(p[at+2])
			ends[at] = true
		}
		var w farewell
		at, told := 0, 0
		say := func() {
			words := w.say()
			if words != nil && !ends[at] {
				t.Fatalf("says %x after %d bytes", words, at)
			}
			if len(words) > 0 && words[3] == frameGoAway {
				told++
			}
		}
		for write := range slices.Chunk(p, n) {
			w.leaving = w.leaving || leave == 0
			leave--
			for len(write) > 0 {
				piece := w.sendable(write)
				w.sent(piece)
				write = write[len(piece):]
				at += len(piece)
				say()
			}
		}
		if told > 1 || w.leaving && w.greeted && !w.told && ends[len(p)] {
			t.Fatalf("told %d times", told)
		}
	})
}
