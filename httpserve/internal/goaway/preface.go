package goaway

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"time"
)

// preface is what an HTTP/2 client begins with.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// prefaceTimeout is net/http's.
const prefaceTimeout = 10 * time.Second

// readPreface reports whether the client has sent it. The server reads it itself
// where it serves TLS, but not on the path that we use.
func readPreface(srv *http.Server, c *tls.Conn) bool {
	c.SetReadDeadline(time.Now().Add(prefaceTimeout))
	defer c.SetReadDeadline(time.Time{})
	got := make([]byte, len(preface))
	if _, err := io.ReadFull(c, got); err != nil {
		return false
	}
	if string(got) != preface {
		logger := srv.ErrorLog
		if logger == nil {
			logger = log.Default()
		}
		logger.Printf("http2: server: error reading preface from client %v: bogus greeting %q", c.RemoteAddr(), got)
		return false
	}
	return true
}
