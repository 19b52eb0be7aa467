//go:build linux

package overlap

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/internal/client"
	"github.com/autorestart-go/autorestart/benchmarks/internal/daemon"
)

// hijackedConns are connections that the handler has hijacked, as that of a WebSocket does. Lines
// go back and forth. A client whose connection ends opens another one. No connection may end
// before the DrainTimeout of its process is over.
type hijackedConns struct {
	n    int
	over atomic.Bool
	wg   sync.WaitGroup

	mu   sync.Mutex
	ends []hijackEnd
}

// A hijackEnd is the end of a connection.
type hijackEnd struct {
	image daemon.Identity // that has served it; zero if it could not be opened
	at    time.Time
}

// linePause is the time between two lines.
const linePause = 100 * time.Millisecond

func (k *hijackedConns) open(r *run) error {
	k.over.Store(false)
	k.ends = nil
	opened := make(chan error, k.n)
	for i := range k.n {
		e := r.endpoints[i%len(r.endpoints)]
		k.wg.Go(func() {
			c, err := dialHijacked(e)
			opened <- err
			for !k.over.Load() {
				if err == nil {
					err = c.talk(&k.over)
				}
				if err != nil {
					k.add(hijackEnd{c.image, time.Now()})
					time.Sleep(client.PauseAfterLoss)
				}
				c, err = dialHijacked(e)
			}
		})
	}
	var errs []error
	for range k.n {
		errs = append(errs, <-opened)
	}
	return errors.Join(errs...)
}

func (k *hijackedConns) add(end hijackEnd) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ends = append(k.ends, end)
}

func (k *hijackedConns) restarted(*run) {}

// close closes the connections, and returns how many have ended early.
func (k *hijackedConns) close(r *run) (early int) {
	k.over.Store(true)
	k.wg.Wait()
	r.processes.mu.Lock()
	defer r.processes.mu.Unlock()
	for _, end := range k.ends {
		began := r.reports.drained(end.image)
		if began.IsZero() || end.at.Before(began.Add(r.drain)) {
			early++
		}
	}
	return early
}

// A hijackedConn is a connection to an image of the server.
type hijackedConn struct {
	conn  net.Conn
	lines *bufio.Reader
	image daemon.Identity
}

func dialHijacked(e endpoint) (c hijackedConn, err error) {
	conn, err := net.Dial(e.network, e.address)
	if err != nil {
		return c, err
	}
	c.conn, c.lines = conn, bufio.NewReader(conn)
	if err := c.upgrade(); err != nil {
		conn.Close()
		return c, err
	}
	return c, nil
}

func (c *hijackedConn) upgrade() error {
	if _, err := fmt.Fprintf(c.conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", daemon.TalkPath); err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.lines, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return errors.New(resp.Status)
	}
	c.image, err = daemon.ParseIdentity(resp.Header.Get(daemon.IdentityHeader))
	return err
}

// talk sends lines, and closes the connection when that is over. It returns an error if the server
// has ended the connection before.
func (c *hijackedConn) talk(over *atomic.Bool) error {
	defer c.conn.Close()
	for n := 0; !over.Load(); n++ {
		line := fmt.Sprintf("line %d\n", n)
		c.conn.SetReadDeadline(time.Time{})
		if _, err := c.conn.Write([]byte(line)); err != nil {
			return err
		}
		if got, err := c.lines.ReadString('\n'); err != nil || got != line {
			return errors.Join(err, fmt.Errorf("%w: %q", client.ErrWrong, got))
		}
		c.conn.SetReadDeadline(time.Now().Add(linePause)) // an end is noticed during the pause, too
		if _, err := c.lines.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
	return nil
}
