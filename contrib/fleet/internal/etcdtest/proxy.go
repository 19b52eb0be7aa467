package etcdtest

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A Proxy passes TCP connections on, and can hold up what is sent on them.
type Proxy struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	open  [2]chan struct{} // to the server, and from it; closed unless what is sent is held up
	conns map[net.Conn]bool
	ended bool
}

// NewProxy returns a proxy to an address. It ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	close(closed)
	p := &Proxy{listener: listener, target: target, open: [2]chan struct{}{closed, closed}, conns: make(map[net.Conn]bool)}
	var running sync.WaitGroup
	running.Go(func() { p.accept(&running) })
	t.Cleanup(func() {
		p.end()
		running.Wait()
	})
	return p
}

// Address returns the address of the proxy.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Directions of a connection.
const (
	requests = iota
	answers
)

// Hold holds up all that is sent.
func (p *Proxy) Hold() {
	p.hold(requests)
	p.hold(answers)
}

func (p *Proxy) hold(direction int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if isClosed(p.open[direction]) {
		p.open[direction] = make(chan struct{})
	}
}

// Release delivers what was held up.
func (p *Proxy) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, open := range p.open {
		if !isClosed(open) {
			close(open)
		}
	}
}

// Reset closes all connections. What is held up on them is lost.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

func (p *Proxy) end() {
	p.listener.Close()
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.Reset()
	p.Release()
}

// add reports whether a connection may be used. It is closed at the end.
func (p *Proxy) add(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		c.Close()
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) remove(c net.Conn) {
	c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *Proxy) accept(running *sync.WaitGroup) {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		running.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	if !p.add(client) {
		return
	}
	defer p.remove(client)
	p.wait(requests)
	server, err := net.DialTimeout("tcp", p.target, testprocess.Timeout)
	if err != nil || !p.add(server) {
		return
	}
	defer p.remove(server)
	var both sync.WaitGroup
	both.Go(func() { p.pass(server, client, requests) })
	both.Go(func() { p.pass(client, server, answers) })
	both.Wait()
}

func (p *Proxy) pass(to, from net.Conn, direction int) {
	defer to.Close()
	defer from.Close()
	for b := make([]byte, 32<<10); ; {
		n, err := from.Read(b)
		p.wait(direction)
		if n > 0 {
			to.SetWriteDeadline(time.Now().Add(testprocess.Timeout))
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// wait waits while a direction is held up.
func (p *Proxy) wait(direction int) {
	p.mu.Lock()
	open := p.open[direction]
	p.mu.Unlock()
	<-open
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
