package httpserve

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/image/imagetest"
)

// identity returns a certificate.
func identity(t *testing.T) []tls.Certificate {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	return s.TLS.Certificates
}

// A ticketHolder connects again and again with the last ticket that it has got.
type ticketHolder struct {
	t      *testing.T
	config *tls.Config
}

func newTicketHolder(t *testing.T) *ticketHolder {
	return &ticketHolder{t, &tls.Config{InsecureSkipVerify: true, ServerName: "example", ClientSessionCache: tls.NewLRUClientSessionCache(1)}}
}

// want connects, and checks whether the session resumes.
func (h *ticketHolder) want(ln net.Listener, resumed bool) {
	h.t.Helper()
	c, err := tls.Dial("tcp", ln.Addr().String(), h.config)
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
	if _, err := io.ReadAll(c); err != nil { // the ticket comes before the answer
		h.t.Fatal(err)
	}
	if got := c.ConnectionState().DidResume; got != resumed {
		h.t.Errorf("resumed: %v, want %v", got, resumed)
	}
}

// serveTLS serves until the test ends, and returns the listener.
func serveTLS(t *testing.T, srv *http.Server) net.Listener {
	ln := mustListen(t)
	ended := make(chan error)
	go func() { ended <- ServeTLS(srv, ln, "", "") }()
	t.Cleanup(func() {
		srv.Close()
		<-ended
	})
	return ln
}

// ServeTLS changes no config that the program has, nor the arrangements in it.
func TestServeTLSLeavesConfigsAlone(t *testing.T) {
	imagetest.Start(t)
	certificates := identity(t)
	for name, tt := range map[string]struct {
		arrange func(*tls.Config)
		resumes bool // within one version
		own     bool // the keys are those of the program
	}{
		"none":     {func(*tls.Config) {}, true, false},
		"disabled": {func(c *tls.Config) { c.SessionTicketsDisabled = true }, false, true},
		//lint:ignore SA1019 programs set it
		"SessionTicketKey": {func(c *tls.Config) { c.SessionTicketKey = [32]byte{1} }, true, true},
		"keys":             {func(c *tls.Config) { c.SetSessionTicketKeys([][32]byte{{1}}) }, true, true},
		"hooks":            {func(c *tls.Config) { c.WrapSession, c.UnwrapSession = c.EncryptTicket, c.DecryptTicket }, true, true},
		"GetConfigForClient": {func(c *tls.Config) {
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }
		}, true, true},
		"VerifyPeerCertificate": {func(c *tls.Config) {
			c.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return nil }
		}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			config := &tls.Config{Certificates: certificates}
			tt.arrange(config)
			wraps := config.WrapSession != nil
			srv := &http.Server{TLSConfig: config}
			before := len(image.Current().Store.Secrets())
			ln, client := serveTLS(t, srv), newTicketHolder(t)
			client.want(ln, false)
			client.want(ln, tt.resumes)
			if made := len(image.Current().Store.Secrets()) > before; made == tt.own {
				t.Errorf("a key crosses: %v", made)
			}
			if same := srv.TLSConfig == config; same != tt.own || wraps != (config.WrapSession != nil) {
				t.Errorf("the config is the same: %v", same)
			}
		})
	}
}

// One server may serve with TLS and without, in any order, with a config or without one.
func TestSessionsOfServerWithBothListeners(t *testing.T) {
	imagetest.Start(t)
	certificates := identity(t)
	for _, config := range []*tls.Config{nil, {Certificates: certificates}} {
		srv := &http.Server{TLSConfig: config}
		if config == nil { // the server gets one, which net/http adds the files of ServeTLS to
			if _, err := attach(srv, false); err != nil {
				t.Fatal(err)
			}
			srv.TLSConfig.Certificates = certificates
		}
		plain := mustListen(t)
		ended := make(chan error)
		go func() { ended <- Serve(srv, plain) }()
		ln, other := serveTLS(t, srv), serveTLS(t, srv)
		client := newTicketHolder(t)
		client.want(ln, false)
		client.want(other, true)
		resp, err := http.Get("http://" + plain.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		srv.Close()
		<-ended
	}
}

// listenTLS serves with a config until the test ends: the first bytes of each connection are
// answered.
func listenTLS(t *testing.T, config *tls.Config) net.Listener {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.Read(make([]byte, 1000))
			io.WriteString(c, "answer")
			c.Close()
		}
	}()
	return ln
}

// Other servers have their sessions resume by name.
func TestResumeSessions(t *testing.T) {
	p := imagetest.Start(t)
	certificates, client := identity(t), newTicketHolder(t)
	named := func(name string) *tls.Config {
		config := &tls.Config{Certificates: certificates}
		if err := ResumeSessions(name, config); err != nil {
			t.Fatal(err)
		}
		return config
	}
	client.want(listenTLS(t, named("admin")), false)
	p.StartBeside().Use()
	client.want(listenTLS(t, named("admin").Clone()), imagetest.SecretsCross())
	client.want(listenTLS(t, named("other")), false)
	perClient := named("per client")
	front := &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return perClient, nil }}
	client.want(listenTLS(t, front), false)
	p.StartBeside().Use()
	perClient = named("per client")
	client.want(listenTLS(t, front.Clone()), imagetest.SecretsCross())

	for _, config := range []*tls.Config{nil, perClient, {SessionTicketsDisabled: true}} {
		if err := ResumeSessions("name", config); err == nil || !strings.HasPrefix(err.Error(), "httpserve: ") {
			t.Errorf("%v", err)
		}
	}
}
