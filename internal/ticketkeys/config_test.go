//go:build unix

package ticketkeys

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/image/imagetest"
)

// Without files in memory the next version does a full handshake.
func TestWithoutMemoryFilesNoKeyCrosses(t *testing.T) {
	if imagetest.SecretsCross() {
		t.Skip("keys cross on this system")
	}
	p := imagetest.Start(t)
	identity, client, c := newCertificate(t, "example"), newClient(tls.VersionTLS13), &clock{time.Now()}
	config := serve(t, identity, c, "server")
	wantResumed(t, config, client, false)
	wantResumed(t, config, client, true)
	nextImage(p)
	wantResumed(t, serve(t, identity, c, "server"), client, false)
}

// What a program has arranged itself stays as it is.
func TestArrangementsOfTheProgramStay(t *testing.T) {
	imagetest.Start(t)
	identity, client := newCertificate(t, "example"), newClient(tls.VersionTLS13)
	used := &tls.Config{Certificates: []tls.Certificate{identity}}
	wantResumed(t, used, client, false)
	for name, tt := range map[string]struct {
		arrange func(*tls.Config)
		want    error
	}{
		"disabled": {func(c *tls.Config) { c.SessionTicketsDisabled = true }, errDisabled},
		//lint:ignore SA1019 programs set it
		"SessionTicketKey": {func(c *tls.Config) { c.SessionTicketKey = [32]byte{1} }, errKeys},
		"keys":             {func(c *tls.Config) { c.SetSessionTicketKeys([][32]byte{{1}}) }, errKeys},
		"WrapSession":      {func(c *tls.Config) { c.WrapSession = c.EncryptTicket }, errHooks},
		"UnwrapSession":    {func(c *tls.Config) { c.UnwrapSession = c.DecryptTicket }, errHooks},
		"twice":            {func(c *tls.Config) { Resume(c) }, errHooks},
		"VerifyPeerCertificate": {func(c *tls.Config) {
			c.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return nil }
		}, errVerify},
		"VerifyConnection": {func(c *tls.Config) { c.VerifyConnection = func(tls.ConnectionState) error { return nil } }, nil},
		"none":             {func(c *tls.Config) {}, nil},
	} {
		config := new(tls.Config)
		tt.arrange(config)
		wrap, unwrap := config.WrapSession != nil, config.UnwrapSession != nil
		if _, err := Resume(config); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		} else if err != nil && (config.WrapSession != nil != wrap || config.UnwrapSession != nil != unwrap) {
			t.Errorf("%s: the hooks have changed", name)
		}
	}
	if _, err := Resume(used); err != errKeys {
		t.Errorf("a config that has served: %v", err)
	}
	wantResumed(t, used, client, true)
}

// A client whose certificate the new version does not trust any more does not resume.
func TestClientThatIsNoLongerTrustedDoesNotResume(t *testing.T) {
	forVersions(t, func(t *testing.T, version uint16) {
		p := imagetest.Start(t)
		identity, c := newCertificate(t, "example"), &clock{time.Now()}
		trusted, other := newCertificate(t, "trusted"), newCertificate(t, "other")
		serveFor := func(auth tls.ClientAuthType, cas ...tls.Certificate) *tls.Config {
			config := serve(t, identity, c, "server")
			config.ClientAuth, config.ClientCAs = auth, x509.NewCertPool()
			for _, ca := range cas {
				config.ClientCAs.AddCert(ca.Leaf)
			}
			return config
		}
		for _, auth := range []tls.ClientAuthType{tls.RequireAndVerifyClientCert, tls.VerifyClientCertIfGiven} {
			client := newClient(version)
			client.Certificates = []tls.Certificate{trusted}
			wantResumed(t, serveFor(auth, trusted), client, false)
			wantResumed(t, serveFor(auth, trusted, other), client, true)
			nextImage(p)
			wantResumed(t, serveFor(auth, trusted, other), client, imagetest.SecretsCross())
			nextImage(p)
			if state, err := connect(serveFor(auth, other), client); state.DidResume || auth == tls.RequireAndVerifyClientCert && err == nil {
				t.Errorf("%v: resumed: %v, %v", auth, state.DidResume, err)
			}
		}
		anyone, client := newClient(version), newClient(version)
		wantResumed(t, serveFor(tls.NoClientCert), anyone, false)
		client.Certificates = []tls.Certificate{trusted}
		wantResumed(t, serveFor(tls.RequireAnyClientCert), client, false)
		nextImage(p)
		for _, c := range []*tls.Config{anyone, client} { // without a certificate, and with one that was not verified
			if state, err := connect(serveFor(tls.RequireAndVerifyClientCert, other), c); state.DidResume || err == nil {
				t.Errorf("resumed: %v, %v", state.DidResume, err)
			}
		}
	})
}

// VerifyConnection of the new version decides on sessions that resume.
func TestVerifyConnectionRejectsResumedSession(t *testing.T) {
	forVersions(t, func(t *testing.T, version uint16) {
		p := imagetest.Start(t)
		identity, client, c := newCertificate(t, "example"), newClient(version), &clock{time.Now()}
		wantResumed(t, serve(t, identity, c, "server"), client, false)
		nextImage(p)
		config := serve(t, identity, c, "server")
		rejection := errors.New("rejected")
		config.VerifyConnection = func(state tls.ConnectionState) error {
			if state.DidResume != imagetest.SecretsCross() {
				t.Errorf("resumed: %v", state.DidResume)
			}
			return rejection
		}
		if _, err := connect(config, client); !errors.Is(err, rejection) {
			t.Errorf("%v, want %v", err, rejection)
		}
	})
}
