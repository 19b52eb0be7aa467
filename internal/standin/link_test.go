//go:build unix

package standin

import (
	"testing"
	"testing/synctest"

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
