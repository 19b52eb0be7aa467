//go:build linux && !autorestart_portable

package pressure

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// clientTimeout is longer than any restart: a server that calls itself ready late is
// seen by the events that are missing.
const clientTimeout = 2 * time.Minute

// A client sends one request after the other. Each is a POST that it does not send
// twice.
type client struct {
	kind      string
	number    int
	rand      *rand.Rand
	wait      func(c *client) error // between requests
	post      func(c *client, body *body) (answer, error)
	requests  int
	first     sync.Once
	served    chan struct{} // closed by the first answer
	latency   histogram
	answered  int // the generation that has answered last
	reopened  int // connections that the server has announced to close
	losses    []loss
	transport *http.Transport
	idle      idleConn
}

// An answer is what a client has received.
type answer struct {
	status     int
	generation int
	body       string
}

// errUnsent is the error of a request of which nothing was sent, without a fault of the
// server.
var errUnsent = errors.New("not sent")

func (c *client) run(stop <-chan struct{}) {
	defer c.close()
	for over := false; !over; c.request() {
		select {
		case <-stop:
			over = true
		default:
			if err := c.wait(c); err != nil {
				c.lose(time.Now(), err)
			}
		}
	}
}

// request sends a request and judges the answer.
func (c *client) request() {
	c.requests++
	body := newBody(c)
	want := body.rest
	began := time.Now()
	got, err := c.post(c, body)
	switch {
	case err == errUnsent:
		c.requests--
		return
	case err == nil && (got.status != http.StatusOK || got.body != want):
		err = fmt.Errorf("status %d, %d bytes of %d", got.status, len(got.body), len(want))
	}
	if err != nil {
		c.lose(began, err)
		return
	}
	c.first.Do(func() { close(c.served) })
	c.latency.add(time.Since(began))
	if n := len(c.losses); n > 0 && c.losses[n-1].after == 0 {
		c.losses[n-1].after = got.generation
	}
	c.answered = got.generation
}

func (c *client) lose(began time.Time, err error) {
	c.losses = append(c.losses, loss{
		kind: c.kind, client: c.number, request: c.requests,
		began: began, failed: time.Now(), before: c.answered, err: err,
	})
}

func (c *client) close() {
	if c.transport != nil {
		c.transport.CloseIdleConnections()
	}
	c.idle.close()
}

// A body is one that net/http can't send twice. Some bodies pause in the middle.
type body struct {
	rest  string
	size  int
	pause time.Duration
}

func newBody(c *client) *body {
	text := fmt.Sprintf("%s, client %d, request %d, %0*d", c.kind, c.number, c.requests, 1+c.rand.IntN(2000), 0)
	b := &body{rest: text, size: len(text)}
	if c.rand.IntN(8) == 0 {
		b.pause = time.Duration(c.rand.Int64N(int64(10 * time.Millisecond)))
	}
	return b
}

func (b *body) Read(p []byte) (n int, err error) {
	switch {
	case b.rest == "":
		return 0, io.EOF
	case b.untouched():
		n = copy(p, b.rest[:b.size/2])
	default:
		time.Sleep(b.pause)
		n = copy(p, b.rest)
	}
	b.rest = b.rest[n:]
	return n, nil
}

func (b *body) untouched() bool { return len(b.rest) == b.size }

// waitShortly waits for a random time.
func waitShortly(c *client) error {
	time.Sleep(time.Duration(c.rand.Int64N(int64(2 * time.Millisecond))))
	return nil
}

// newTransport returns a transport for the server at an address.
func newTransport(network, address string) *http.Transport {
	t := new(http.Transport)
	config := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}
	t.DialTLSContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return testprocess.DialHandshake(ctx, network, address, func(conn net.Conn) (net.Conn, error) {
			c := tls.Client(conn, config)
			return c, c.HandshakeContext(ctx)
		})
	}
	t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	return t
}

// byTransport sends a request by net/http.
func byTransport(c *client, body *body) (answer, error) {
	scheme := "http"
	if c.transport.ForceAttemptHTTP2 {
		scheme = "https"
	}
	ctx, cancel := testprocess.WithTimeout(context.Background(), clientTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", scheme+"://example/", body)
	if err != nil {
		return answer{}, err
	}
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		if body.untouched() && testprocess.GaveUpUnsent(err) {
			err = errUnsent
		}
		return answer{}, err
	}
	if c.transport.ForceAttemptHTTP2 && resp.ProtoMajor != 2 {
		err = errors.New("the answer came by " + resp.Proto)
	}
	return readAnswer(resp, err)
}

func readAnswer(resp *http.Response, err error) (answer, error) {
	defer resp.Body.Close()
	content, readErr := io.ReadAll(resp.Body)
	generation, _ := strconv.Atoi(resp.Header.Get(generationHeader))
	return answer{resp.StatusCode, generation, string(content)}, errors.Join(err, readErr)
}

// An idleConn is a connection without a transport that would replace it.
type idleConn struct {
	network, address string
	conn             net.Conn
	reader           *bufio.Reader
}

// open opens the connection, unless it is open.
func (i *idleConn) open() error {
	if i.conn != nil {
		return nil
	}
	conn, err := net.Dial(i.network, i.address)
	if err != nil {
		return err
	}
	i.conn, i.reader = conn, bufio.NewReader(conn)
	return nil
}

func (i *idleConn) close() {
	if i.conn != nil {
		i.conn.Close()
		i.conn = nil
	}
}

// died waits for the given time, and returns the error of a connection that has ended
// meanwhile.
func (i *idleConn) died(within time.Duration) error {
	i.conn.SetReadDeadline(time.Now().Add(within))
	_, err := i.reader.Peek(1)
	switch {
	case err == nil:
		return errors.New("data without a request")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	default:
		return err
	}
}

// post sends a request on the connection.
func (i *idleConn) post(content string, within time.Duration) (a answer, closes bool, err error) {
	i.conn.SetDeadline(time.Time{})
	defer testprocess.LimitIO(i.conn, within)()
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST / HTTP/1.1\r\nHost: example\r\nContent-Length: %d\r\n\r\n%s", len(content), content)
	if _, err := i.conn.Write(b.Bytes()); err != nil {
		return answer{}, false, err
	}
	resp, err := http.ReadResponse(i.reader, nil)
	if err != nil {
		return answer{}, false, err
	}
	a, err = readAnswer(resp, nil)
	return a, resp.Close, err
}

// waitIdle waits on the connection. It returns an error if the connection ends meanwhile.
func waitIdle(c *client) error {
	if c.idle.conn == nil {
		return waitShortly(c)
	}
	err := c.idle.died(time.Duration(c.rand.Int64N(int64(time.Second))))
	if err != nil {
		c.idle.close()
		err = fmt.Errorf("%w between requests: %w", errDead, err)
	}
	return err
}

// byIdleConn sends a request on the connection, which it opens if it is not open.
func byIdleConn(c *client, body *body) (answer, error) {
	wasOpen := c.idle.conn != nil
	if err := c.idle.open(); err != nil {
		return answer{}, err
	}
	a, closes, err := c.idle.post(body.rest, clientTimeout)
	if err != nil && wasOpen {
		err = fmt.Errorf("%w with a request: %w", errDead, err)
	}
	if closes {
		c.reopened++
	}
	if closes || err != nil {
		c.idle.close()
	}
	return a, err
}

// errDead is the error of an idle connection that has ended unannounced.
var errDead = errors.New("idle connection died")
