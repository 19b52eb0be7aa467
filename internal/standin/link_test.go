//go:build unix

package standin

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// linked returns both ends of a link. The far one is the test's.
func linked(t *testing.T, take func(image.Conn) bool, handle func(message)) (l *link, far *end) {
	own, far := newChannelInMemory()
	l = newLink(own, take, handle)
	go l.run()
	t.Cleanup(func() {
		far.close()
		own.close()
	})
	return l, far
}

// The connection waits to be accepted with what was read of a request, while others come.
func TestBeginningOfRequestStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []image.Conn
		_, far := linked(t, func(c image.Conn) bool {
			got = append(got, c)
			sys.NewFD(c.FD).Close()
			return true
		}, nil)
		fd := openFile(t)
		for _, request := range []string{"GET /first HT", "PUT /second H"} {
			if err := far.send((&message{kind: give, text: "key", data: []byte(request)}).encode(), fd); err != nil {
				t.Fatal(err)
			}
			far.want(t, taken)
		}
		if first := string(got[0].State); first != "GET /first HT" {
			t.Errorf("the first request has become %q", first)
		}
	})
}

// A later version may send descriptors with messages that this one does not know, or that have none
// today.
func TestDescriptorsOfOtherMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own, far := newChannelInMemory()
		l := newLink(own, nil, func(message) {})
		fd := openFile(t)
		var received []int
		for _, k := range []kind{serve, retire, ping, pong, ready, rejected, taken, refused, signaled, 99} {
			if err := far.send((&message{kind: k}).encode(), fd); err != nil {
				t.Fatal(err)
			}
			received = append(received, own.queue[len(own.queue)-1].fd)
		}
		if err := far.send([]byte("no message"), fd); err != nil {
			t.Fatal(err)
		}
		received = append(received, own.queue[len(own.queue)-1].fd)
		far.close()
		l.run()
		for _, fd := range received {
			if _, _, err := sys.Flags(fd); err == nil {
				t.Errorf("of %v, descriptor %d is open", received, fd)
				sys.NewFD(fd).Close()
			}
		}
	})
}

// A connection is the receiver's, or still the giver's alone.
func TestGive(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer func(t *testing.T, far *end, n uint64)
		want   error
	}{
		{"taken", func(t *testing.T, far *end, n uint64) { far.say(t, message{kind: taken, n: n}) }, nil},
		{"refused", func(t *testing.T, far *end, n uint64) { far.say(t, message{kind: refused, n: n}) }, image.ErrNotTaken},
		{"end", func(t *testing.T, far *end, n uint64) { far.close() }, image.ErrLost},
		{"taken, and end", func(t *testing.T, far *end, n uint64) {
			far.say(t, message{kind: taken, n: n})
			far.close()
		}, nil},
		{"answers to others", func(t *testing.T, far *end, n uint64) {
			for _, other := range []uint64{n + 1, 0, 1 << 60} { // given before an exec
				far.say(t, message{kind: taken, n: other})
			}
			far.say(t, message{kind: refused, n: n})
		}, image.ErrNotTaken},
		{"two answers", func(t *testing.T, far *end, n uint64) {
			far.say(t, message{kind: taken, n: n})
			far.say(t, message{kind: refused, n: n})
			far.say(t, message{kind: refused, n: n})
		}, nil},
		{"other messages", func(t *testing.T, far *end, n uint64) {
			far.send([]byte("no message"), -1)
			far.send(nil, -1)
			far.say(t, message{kind: 200, n: n, text: "of a later version"})
			far.say(t, message{kind: taken, n: n})
		}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, far := linked(t, nil, func(message) {})
				fd := openFile(t)
				given := make(chan error, 1)
				go func() { given <- l.give(image.Conn{Key: "key", State: []byte("GET"), FD: fd}) }()
				m := far.want(t, give)
				if m.text != "key" || string(m.data) != "GET" || m.fd < 0 || m.fd == fd {
					t.Errorf("received %+v", m)
				}
				sys.NewFD(m.fd).Close()
				test.answer(t, far, m.n)
				if err := <-given; err != test.want {
					t.Errorf("got %v, want %v", err, test.want)
				}
				if _, _, err := sys.Flags(fd); err != nil {
					t.Error("the giver has no descriptor any more")
				}
				synctest.Wait()
				if len(l.waiting) > 0 {
					t.Errorf("%d connections wait for an answer", len(l.waiting))
				}
			})
		})
	}
}

// Connections may be given at the same time, and answered in any order.
func TestGiveMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, far := linked(t, nil, func(message) {})
		fd := openFile(t)
		const n = 10
		given := make(chan error, n)
		for range n {
			go func() { given <- l.give(image.Conn{Key: "key", FD: fd}) }()
		}
		var numbers []uint64
		for range n {
			m := far.want(t, give)
			sys.NewFD(m.fd).Close()
			numbers = append(numbers, m.n)
		}
		for i := range numbers {
			k := []kind{taken, refused}[i%2]
			far.say(t, message{kind: k, n: numbers[n-1-i]})
		}
		notTaken := 0
		for range n {
			if err := <-given; err == image.ErrNotTaken {
				notTaken++
			} else if err != nil {
				t.Error(err)
			}
		}
		if notTaken != n/2 {
			t.Errorf("%d of %d were refused", notTaken, n)
		}
	})
}

// A link that has ended gives nothing.
func TestGiveAfterEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, far := linked(t, nil, func(message) {})
		far.close()
		synctest.Wait()
		if err := l.give(image.Conn{FD: openFile(t)}); err != image.ErrNotTaken {
			t.Errorf("got %v", err)
		}
		if err := l.give(image.Conn{FD: -1}); err != image.ErrNotTaken {
			t.Errorf("without a descriptor: %v", err)
		}
	})
}

// A connection that is not taken, or that has come without its descriptor, is refused.
func TestTake(t *testing.T) {
	for _, takes := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var got []image.Conn
			_, far := linked(t, func(c image.Conn) bool {
				got = append(got, c)
				return takes
			}, nil)
			want := map[bool]kind{false: refused, true: taken}[takes]
			m := message{kind: give, n: 7, text: "key", data: []byte("GET")}
			if err := far.send(m.encode(), openFile(t)); err != nil {
				t.Fatal(err)
			}
			if answer := far.want(t, want); answer.n != 7 {
				t.Errorf("the answer is about connection %d", answer.n)
			}
			c := got[0]
			if _, _, err := sys.Flags(c.FD); (err == nil) != takes || c.Key != "key" || string(c.State) != "GET" {
				t.Errorf("takes: %v, got %+v, whose descriptor: %v", takes, c, err)
			}
			if takes {
				sys.NewFD(c.FD).Close()
			}
			far.say(t, m)
			if far.want(t, refused); len(got) != 1 {
				t.Error("a connection without a descriptor was offered")
			}
		})
	}
}

// An exec does not wait for long until a message is handled.
func TestPauseHasLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var handled atomic.Int64
		l, far := linked(t, nil, func(message) {
			time.Sleep(time.Minute)
			handled.Add(1)
		})
		far.say(t, message{kind: ping})
		far.say(t, message{kind: ping})
		synctest.Wait()
		start := time.Now()
		resume := l.pause(time.Second)
		if took := time.Since(start); took != time.Second {
			t.Errorf("the pause has begun after %v", took)
		}
		time.Sleep(time.Hour)
		if n := handled.Load(); n != 1 {
			t.Errorf("%d messages were handled, want the one that was under way", n)
		}
		resume()
		time.Sleep(time.Hour)
		if handled.Load() != 2 {
			t.Error("the second message was not handled after the pause")
		}
		for range 3 {
			l.pause(time.Second)()
		}
		far.close()
		l.pause(time.Second)()
		<-l.ended
	})
}

// A process that was stopped reads nothing. Nothing waits for it without a limit.
func TestSendWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, far := linked(t, nil, nil)
		ctx, cancel := context.WithCancel(t.Context())
		if err := l.sendWithin(ctx, message{kind: ping, fd: -1}); err != nil {
			t.Error(err)
		}
		far.want(t, ping)
		own := l.transport.(*end)
		own.set(func() { own.full = true })
		time.AfterFunc(time.Second, cancel)
		if err := l.sendWithin(ctx, message{kind: ping, fd: -1}); err != errNoAnswer {
			t.Errorf("the error is %v", err)
		}
	})
}

// A connection of a stand-in that retires goes to the one that serves. If that ends before it has
// answered, it may have read from the connection: nobody else must go on with it.
func TestConnectionIsLostOnItsWay(t *testing.T) {
	bubble(t, func(t *testing.T, s *Set) {
		x, p := serves(t, s)
		_, q := serves(t, s)
		x.Retire()
		p.want(t, retire)
		if err := p.send((&message{kind: give, n: 7, text: "key"}).encode(), openFile(t)); err != nil {
			t.Fatal(err)
		}
		got := q.want(t, give)
		sys.NewFD(got.fd).Close()
		q.exit("killed", true)
		if m := p.want(t, taken); m.n != 7 {
			t.Errorf("the answer is about connection %d", m.n)
		}
	})
}
