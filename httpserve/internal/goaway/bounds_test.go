package goaway

import (
	"bytes"
	"io"
	"log"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// onlyConn returns the connection of the group.
func onlyConn(t *testing.T, g *Group) (c *conn) {
	t.Helper()
	testprocess.WaitFor(t, "connection", func() bool { return g.Len() == 1 })
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c = range g.conns {
	}
	return c
}

// openStreams returns how many streams of the connection are open.
func (c *conn) openStreams() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.state.ended)
}

// TestOpenStreamsAreBounded: net/http ends the streams beyond those that it serves, and the
// connection of a client that does not read that. So what is known of a connection does not
// grow with what the client sends.
func TestOpenStreamsAreBounded(t *testing.T) {
	const most = 12000
	for name, reads := range map[string]bool{"reads": true, "does not read": false} {
		t.Run(name, func(t *testing.T) {
			g := new(Group)
			addr := serve(t, &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				<-r.Context().Done()
			})}, g)
			w := dial(t, addr)
			w.exchangeSettings()
			c := onlyConn(t, g)
			if reads {
				go func() {
					for {
						if _, err := w.read(); err != nil {
							return
						}
					}
				}()
			}
			var b []byte
			largest, sent := 0, 0
			for stream := uint32(1); sent < 100_000; stream += 2 {
				b = appendFrame(b[:0], frameHeaders, flagEndHeaders, stream, "\x82\x87\x84\x01\x01x")
				if _, err := w.Write(b); err != nil {
					break
				}
				if sent++; sent%100 == 0 {
					largest = max(largest, c.openStreams())
				}
			}
			largest = max(largest, c.openStreams())
			if largest < 250 || largest > most {
				t.Errorf("after %d streams %d are open, limit %d", sent, largest, most)
			}
		})
	}
}

// FuzzFrames: what is known of a connection is not more than its two sides have sent.
func FuzzFrames(f *testing.F) {
	settings := appendFrame(nil, frameSettings, 0, 0, "")
	var many []byte
	for stream := uint32(1); stream < 200; stream += 2 {
		many = appendFrame(many, frameHeaders, flagEndHeaders, stream, "")
	}
	f.Add(many, settings, 100)
	f.Add(many, appendGoAway(settings, 7), 9)
	f.Add(appendFrame(nil, frameHeaders, 0, maxStream, "x"), appendFrame(settings, framePushPromise, flagPadded, 1, ""), 1)
	f.Add([]byte("\xff\xff\xff\x00\x00\x00\x00\x00\x01"), settings, 3)
	f.Fuzz(func(t *testing.T, fromClient, fromServer []byte, n int) {
		if n <= 0 {
			return
		}
		var s shutdownState
		sent := len(fromClient) + len(fromServer)
		allocated := testprocess.Allocated(func() {
			for len(fromClient)+len(fromServer) > 0 {
				piece := fromClient[:min(n, len(fromClient))]
				s.received(piece)
				fromClient = fromClient[len(piece):]
				piece = fromServer[:min(n, len(fromServer))]
				s.sent(piece)
				fromServer = fromServer[len(piece):]
				s.requested = true
				s.takePending()
			}
		})
		if len(s.ended) > sent/headerLen {
			t.Errorf("%d open streams after %d bytes", len(s.ended), sent)
		}
		if most := 200*uint64(sent) + 16<<10; allocated > most {
			t.Errorf("%d bytes allocated for %d, limit %d", allocated, sent, most)
		}
	})
}

// sentConn is a connection whose client has sent something.
type sentConn struct {
	net.Conn
	*bytes.Reader
}

func (sentConn) SetReadDeadline(time.Time) error { return nil }
func (sentConn) RemoteAddr() net.Addr            { return &net.TCPAddr{} }

func (c sentConn) Read(p []byte) (int, error) { return c.Reader.Read(p) }

// FuzzPreface: no more is read than a preface has, and nothing else is taken for one.
func FuzzPreface(f *testing.F) {
	f.Add([]byte(preface))
	f.Add([]byte(preface + "more"))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Add([]byte(preface[:10]))
	srv := &http.Server{ErrorLog: log.New(io.Discard, "", 0)}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		if got, want := readPreface(srv, sentConn{Reader: r}), bytes.HasPrefix(b, []byte(preface)); got != want {
			t.Errorf("%q: %t, want %t", b, got, want)
		}
		if read := len(b) - r.Len(); read > len(preface) {
			t.Errorf("%d bytes read", read)
		}
	})
}
