package httpserve

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"slices"
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
	testprocess.WaitFor(t, "log line", func() bool { return logged.String() != "" }) // of a goroutine of its own
	if n := strings.Count(logged.String(), "SetUnencryptedHTTP2"); n != 1 {
		t.Errorf("logged %d times: %q", n, logged.String())
	}
}

func TestIgnoreUpgradeToH2C(t *testing.T) {
	type header = http.Header
	for _, test := range []struct{ header, want http.Header }{
		{header{"Accept": {"*/*"}}, header{"Accept": {"*/*"}}},
		{header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}}, header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}}},
		{header{"Upgrade": {"h2c"}, "Connection": {"Upgrade, HTTP2-Settings"}, "Http2-Settings": {""}}, header{}},
		{header{"Upgrade": {"H2C"}, "Connection": {"upgrade", "http2-settings", "keep-alive"}}, header{"Connection": {"keep-alive"}}},
		{header{"Upgrade": {"h2c, websocket"}, "Connection": {"Upgrade,HTTP2-Settings"}}, header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}}},
		{header{"Upgrade": {"h2c"}}, header{}},
	} {
		got := test.header.Clone()
		if ignoreUpgradeToH2C(got); !maps.EqualFunc(got, test.want, slices.Equal) {
			t.Errorf("%q: %q, expected %q", test.header, got, test.want)
		}
	}
}

func TestIsH2C(t *testing.T) {
	for path, want := range map[string]bool{
		"golang.org/x/net/http2/h2c":                        true,
		"example.com/app/vendor/golang.org/x/net/http2/h2c": true,
		"golang.org/x/net/http2":                            false,
		"example.com/golang.org/x/net/http2/h2c":            false,
		"net/http":                                          false,
		"":                                                  false,
	} {
		if got := isH2C(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
	for _, h := range []http.Handler{h2cHandler{}, &h2cHandler{}, http.DefaultServeMux, http.HandlerFunc(nil), nil} {
		if err := checkHandler(&http.Server{Handler: h}); err != nil {
			t.Errorf("%T: %v", h, err)
		}
	}
}

// A server that serves HTTP/2 without TLS itself leaves nothing for such a handler.
func TestServerServesHTTP2InsteadOfHandler(t *testing.T) {
	srv := &http.Server{Handler: h2cHandler{http.NotFoundHandler()}, Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	address := serveFor(t, srv)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("http://" + address)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusNotFound {
		t.Error(resp)
	}
	if resp, _ := exchange(t, address, upgradeToH2C); resp.StatusCode != http.StatusNotFound {
		t.Error(resp)
	}
}
