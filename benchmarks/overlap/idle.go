//go:build linux

package overlap

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// idleConns are connections on which few requests are sent. None may be closed.
type idleConns struct {
	n     int
	conns []*idleConn
	round int
}

// requestRounds is in how many rounds each of the connections has a request. A round follows each
// restart.
const requestRounds = 10

func (k *idleConns) open(r *run) error {
	k.conns = nil
	for i := range k.n {
		c, err := dialIdle(r.endpoints[i%len(r.endpoints)])
		if err != nil {
			return err
		}
		k.conns = append(k.conns, c)
	}
	return k.post(k.conns)
}

func (k *idleConns) restarted(*run) {
	k.round++
	var some []*idleConn
	for i, c := range k.conns {
		if i%requestRounds == k.round%requestRounds {
			some = append(some, c)
		}
	}
	k.post(some) // an error ends the connection, and is counted in the end
}

// close sends a last request on each connection, and closes all. It returns how many had ended.
func (k *idleConns) close(*run) (ended int) {
	k.post(k.conns)
	for _, c := range k.conns {
		if c.close() {
			ended++
		}
	}
	return ended
}

// post sends a request on each of the connections at the same time.
func (k *idleConns) post(conns []*idleConn) error {
	var wg sync.WaitGroup
	errs := make([]error, len(conns))
	for i, c := range conns {
		wg.Go(func() { errs[i] = c.post() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// An idleConn has a reader that waits for answers, and for the end of the connection.
type idleConn struct {
	conn    net.Conn
	answers chan *http.Response
	closing atomic.Bool
	ended   bool          // by the server
	done    chan struct{} // closed when the reader ends
	sent    int
}

func dialIdle(e endpoint) (*idleConn, error) {
	conn, err := net.Dial(e.network, e.address)
	if err != nil {
		return nil, err
	}
	c := &idleConn{conn: conn, answers: make(chan *http.Response, 1), done: make(chan struct{})}
	go c.read()
	return c, nil
}

func (c *idleConn) read() {
	defer close(c.done)
	for r := bufio.NewReader(c.conn); ; {
		resp, err := http.ReadResponse(r, nil)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
		}
		if err != nil || resp.Close { // the end, or its announcement
			c.ended = !c.closing.Load()
			return
		}
		c.answers <- resp
	}
}

var errEnded = errors.New("the connection has ended")

func (c *idleConn) post() error {
	c.sent++
	body := fmt.Sprintf("request %d", c.sent)
	// An error of the write is one of the reader, too.
	fmt.Fprintf(c.conn, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	select {
	case resp := <-c.answers:
		if resp.StatusCode != http.StatusOK || resp.ContentLength != int64(len(body)) {
			return fmt.Errorf("status %d, %d bytes of %d", resp.StatusCode, resp.ContentLength, len(body))
		}
		return nil
	case <-c.done:
		return errEnded
	}
}

// close closes the connection, and reports whether the server has ended it before.
func (c *idleConn) close() (ended bool) {
	c.closing.Store(true)
	c.conn.Close()
	<-c.done
	return c.ended
}
