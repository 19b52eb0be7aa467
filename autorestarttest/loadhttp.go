package autorestarttest

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Load starts HTTP clients with GET and POST requests to a URL, on connections that they keep and on
// new ones. A request is lost
//   - if the client gets no complete response
//   - if the status is 500 or more, or another one than that of the client's first response
//   - if [http.Transport] has sent a GET again, because the connection was closed after the request
//     was sent. It can't send the body of a POST again.
//
// Over TLS, package httpserve may close a connection while a request is on its way: one that it keeps,
// and a new one without a request for 50 ms. There the clients that keep their connections send GET only,
// and [http.Transport] may send it again. A request on a new connection does not count if it fails and the
// client was not able to send it within 25 ms.
func (d *Daemon) Load(url string) *Load {
	d.t.Helper()
	l := &Load{daemon: d}
	secure := strings.HasPrefix(url, "https:")
	for _, keep := range []bool{true, false} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if secure && keep && method == http.MethodPost {
				continue
			}
			c := &httpClient{client: d.program.client(keep), method: method, url: url, secure: secure, lateAfter: lateAfter}
			c.client.Transport.(*http.Transport).DialContext = c.dial
			name := method + " on a kept connection"
			if !keep {
				name = method + " on a new connection"
			}
			l.daemon.t.Cleanup(c.client.CloseIdleConnections)
			l.clients = append(l.clients, &loadClient{name: name, request: c.request})
		}
	}
	l.start()
	return l
}

// client returns a client.
func (p Program) client(keep bool) *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:   p.TLS.Clone(),
		DisableKeepAlives: !keep,
		ForceAttemptHTTP2: true,
	}}
}

type httpClient struct {
	client      *http.Client
	method, url string
	secure      bool
	lateAfter   time.Duration // over TLS
	status      int           // of the first response; 0 before

	conn atomic.Pointer[timedConn] // the newest
}

// lateAfter is half of the time after which httpserve closes a new connection over TLS.
const lateAfter = 25 * time.Millisecond

// request sends a request. It begins again for the reason that Load names.
func (c *httpClient) request(ctx context.Context) error {
	for {
		c.conn.Store(nil)
		err := c.send(ctx)
		conn := c.conn.Load()
		if err == nil || !c.secure || conn == nil || conn.took() < c.lateAfter || ctx.Err() != nil {
			return err
		}
	}
}

// A timedConn knows how long after the beginning of its dial the request was sent. Before that, it knows when
// the last write of the handshake has returned. Later writes do not count: when the server hangs up, crypto/tls
// writes an alert, and HTTP/2 acknowledges settings at any time.
type timedConn struct {
	net.Conn
	began time.Time

	mu       sync.Mutex
	flushing bool // of HTTP/1.1: the next write sends the request
	complete bool // the request was sent
	sent     time.Duration
}

func (c *httpClient) dial(ctx context.Context, network, address string) (net.Conn, error) {
	began := time.Now()
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	timed := &timedConn{Conn: conn, began: began}
	c.conn.Store(timed)
	return timed, nil
}

func (c *timedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.complete {
		c.complete, c.sent = c.flushing, time.Since(c.began)
	}
	return n, err
}

// wroteHeader is called when [http.Transport] has written the header of the request: of HTTP/2 to the
// connection, and of HTTP/1.1 to a buffer.
func (c *timedConn) wroteHeader(http2 bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if http2 && !c.complete {
		c.complete, c.sent = true, time.Since(c.began)
	}
	c.flushing = true
}

func (c *timedConn) took() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent
}

// loadBody is the body of a POST.
var loadBody = strings.Repeat("a body that can't be sent again\n", 32)

func (c *httpClient) send(ctx context.Context) error {
	var sent atomic.Int32
	var http2 atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		TLSHandshakeDone: func(state tls.ConnectionState, _ error) { http2.Store(state.NegotiatedProtocol == "h2") },
		WroteHeaders: func() {
			if conn := c.conn.Load(); conn != nil {
				conn.wroteHeader(http2.Load())
			}
		},
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				sent.Add(1)
			}
		},
	})
	var body io.Reader
	if c.method == http.MethodPost {
		body = struct{ io.Reader }{strings.NewReader(loadBody)} // no GetBody
	}
	request, err := http.NewRequestWithContext(ctx, c.method, c.url, body)
	if err != nil {
		return err
	}
	if body != nil {
		request.ContentLength = int64(len(loadBody))
	}
	response, err := c.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return fmt.Errorf("%s after %d bytes of the body: %w", response.Status, len(text), err)
	case response.StatusCode >= http.StatusInternalServerError:
		return fmt.Errorf("%s: %.200q", response.Status, text)
	case c.status == 0:
		c.status = response.StatusCode
	case response.StatusCode != c.status:
		return fmt.Errorf("%s: %.200q; the first status was %d", response.Status, text, c.status)
	}
	if n := sent.Load(); n > 1 && !c.secure {
		return fmt.Errorf("the connection was closed without a response; the client has sent the request %d times", n)
	}
	return nil
}
