package goaway

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// identity returns the configuration of a server with a certificate for 127.0.0.1, and of
// a client that trusts it.
var identity = sync.OnceValues(func() (*tls.Config, *tls.Config) {
	srv := httptest.NewTLSServer(nil)
	defer srv.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(srv.Certificate())
	return &tls.Config{Certificates: srv.TLS.Certificates}, &tls.Config{RootCAs: trusted}
})

// serve makes srv serve TLS, with its connections in g unless that is nil.
func serve(t testing.TB, srv *http.Server, g *Group) (addr string) {
	t.Helper()
	config, _ := identity()
	srv.TLSConfig = config.Clone()
	if srv.ErrorLog == nil {
		srv.ErrorLog = log.New(io.Discard, "", 0)
	}
	if g != nil {
		if err := g.Configure(srv, true); err != nil {
			t.Fatal(err)
		}
	}
	return listen(t, srv, func(l net.Listener) error { return srv.ServeTLS(l, "", "") })
}

func listen(t testing.TB, srv *http.Server, serve func(net.Listener) error) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- serve(l) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-done; err != http.ErrServerClosed {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// newClient returns a client that uses HTTP/2 if the server does.
func newClient(t testing.TB) *http.Client {
	_, trust := identity()
	transport := &http.Transport{TLSClientConfig: trust.Clone(), ForceAttemptHTTP2: true, DialContext: testprocess.DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
