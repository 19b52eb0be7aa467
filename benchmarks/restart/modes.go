//go:build linux

package restart

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
)

// A mode is a way to use HTTP.
type mode struct {
	name    string
	close   bool // a connection for each request
	http2   bool // over TLS
	clients int  // that share a transport and its connections
}

var modes = []mode{
	{name: "one-request", close: true, clients: 1},
	{name: "keep-alive", clients: 1},
	{name: "http2", http2: true, clients: 4},
}

// transport returns a transport for clients of this mode.
func (m mode) transport(network, address string, roots *x509.CertPool) *http.Transport {
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
		DisableKeepAlives:  m.close,
		DisableCompression: true,
		Protocols:          new(http.Protocols),
		TLSClientConfig:    &tls.Config{RootCAs: roots},
	}
	t.Protocols.SetHTTP1(!m.http2)
	t.Protocols.SetHTTP2(m.http2)
	return t
}

// url returns the URL of all requests. Its host is the one in the certificate.
func (m mode) url() string {
	if m.http2 {
		return "https://" + certificateHost + "/"
	}
	return "http://" + certificateHost + "/"
}
