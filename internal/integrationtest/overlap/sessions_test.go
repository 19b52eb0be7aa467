//go:build linux && !autorestart_portable

package overlap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
	"github.com/autorestart-go/autorestart/sockets"
)

// serveSecure serves TLS, if the environment says so.
func serveSecure(dir string, handler http.Handler) {
	if cert := os.Getenv(certEnv); cert != "" {
		ln := daemontest.Must(sockets.Listen("unix", filepath.Join(dir, "secure")))
		go httpserve.ServeTLS(&http.Server{Handler: handler}, ln, cert+".pem", cert+".key")
	}
}

// writeCertificate writes a certificate and its key. It returns the path of both, without .pem
// and .key.
func writeCertificate(t *testing.T) string {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	own := s.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "cert")
	for extension, block := range map[string]*pem.Block{
		".pem": {Type: "CERTIFICATE", Bytes: own.Certificate[0]},
		".key": {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(path+extension, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// A secureClient makes a new connection for each request, and keeps its ticket.
type secureClient struct {
	*http.Client
	s *server
}

func (s *server) secureClient() *secureClient {
	transport := &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1)},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(s.dir, "secure"))
		},
	}
	return &secureClient{&http.Client{Transport: transport}, s}
}

// want sends a request to a version. The session must resume, or not.
func (c *secureClient) want(version int, standIn, resumed bool) {
	c.s.t.Helper()
	resp, err := c.Get("https://server/")
	if err != nil {
		c.s.t.Fatal(err)
	}
	defer resp.Body.Close()
	var i identity
	if err := json.NewDecoder(resp.Body).Decode(&i); err != nil {
		c.s.t.Fatal(err)
	}
	if i.Version != version || i.StandIn != standIn || resp.TLS.DidResume != resumed {
		c.s.t.Errorf("version %d, stand-in: %v, resumed: %v; want %d, %v, %v", i.Version, i.StandIn, resp.TLS.DidResume, version, standIn, resumed)
	}
}

// TLS sessions resume in the stand-in and in the main process after it, whichever has made the key.
func TestSessionsResumeBesideAndAfterwards(t *testing.T) {
	for name, usedBefore := range map[string]bool{"key of the old version": true, "key of the stand-in": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, true, drainEnv+"=1m", certEnv+"="+writeCertificate(t))
			s.awaitServing(1)
			client, late := s.secureClient(), s.secureClient()
			if usedBefore {
				client.want(1, false, false)
			}
			slow := s.hold("slow")
			s.write(2)
			s.allow("ready", "stand-in", "2")
			s.await(2, true)
			client.want(2, true, usedBefore)
			late.want(2, true, false)
			s.allow("slow")
			testprocess.Receive(t, "answer of the old version", slow)
			s.allow("ready", "main", "2")
			s.await(2, false)
			s.wantAlone() // the stand-in has given its keys
			client.want(2, false, true)
			late.want(2, false, true)
		})
	}
}
