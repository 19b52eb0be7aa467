package httpserve

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// h2cHandler hijacks connections as the handler of golang.org/x/net/http2/h2c does.
type h2cHandler struct{ http.Handler }

func (h h2cHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	prior := r.Method == "PRI" && len(r.Header) == 0 && r.URL.Path == "*" && r.Proto == "HTTP/2.0"
	upgrade := r.Header.Get("Upgrade") == "h2c" && strings.Contains(r.Header.Get("Connection"), "HTTP2-Settings")
	if prior || upgrade {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			io.WriteString(conn, "hijacked")
			conn.Close()
		}
		return
	}
	h.Handler.ServeHTTP(w, r)
}

// serveFor serves until the end of the test.
func serveFor(t *testing.T, srv *http.Server) (address string) {
	t.Helper()
	ln := mustListen(t)
	served := make(chan error)
	go func() { served <- Serve(srv, ln) }()
	t.Cleanup(func() {
		srv.Close()
		<-served
	})
	return ln.Addr().String()
}

// exchange sends a text, and returns the response.
func exchange(t *testing.T, address, text string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, text)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

const (
	http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	upgradeToH2C = "GET / HTTP/1.1\r\nHost: example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n"
)

func TestHandlerThatHijacksHTTP2IsNotReached(t *testing.T) {
	var logged testprocess.Log
	handler := h2cHandler{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header) })}
	address := serveFor(t, &http.Server{Handler: handler, ErrorLog: log.New(&logged, "", 0)})
	for range 2 {
		resp, body := exchange(t, address, http2Preface)
		if resp.StatusCode != http.StatusHTTPVersionNotSupported || !resp.Close || !strings.Contains(body, "SetUnencryptedHTTP2") {
			t.Errorf("the preface: %v, %q", resp, body)
		}
		if resp, body := exchange(t, address, upgradeToH2C); resp.StatusCode != http.StatusOK || body != "map[]" {
			t.Errorf("the upgrade: %v, %q", resp, body)
		}
	}
	if n := strings.Count(logged.String(), "SetUnencryptedHTTP2"); n != 1 {
		t.Errorf("logged %d times: %q", n, logged.String())
	}
}
