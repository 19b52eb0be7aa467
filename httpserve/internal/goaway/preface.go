package goaway

import (
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// preface is what an HTTP/2 client sends first.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// prefaceTimeout is that of net/http.
const prefaceTimeout = 10 * time.Second

// readPreface reports whether the client has sent the preface. The server reads it itself
// on a TLS connection, but not on the unencrypted one that it gets from this package.
func readPreface(srv *http.Server, c net.Conn) bool {
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
