//go:build linux

package restart

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"

	"github.com/autorestart-go/autorestart/benchmarks/internal/client"
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
	t := client.NewTransport(network, address, m.close)
	t.TLSClientConfig = &tls.Config{RootCAs: roots}
	t.Protocols = new(http.Protocols)
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
