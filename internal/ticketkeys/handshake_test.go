package ticketkeys

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"testing"
	"time"
)

// A clock is one that a test sets.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

// newCertificate returns a certificate that has signed itself.
func newCertificate(t testing.TB, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		NotBefore:    time.Now().Add(-24 * time.Hour),
		NotAfter:     time.Now().Add(1000 * time.Hour),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// newClient returns the config of a client that keeps its ticket, and presents it whatever its age.
func newClient(version uint16) *tls.Config {
	start := time.Now()
	return &tls.Config{
		MinVersion: version, MaxVersion: version, InsecureSkipVerify: true, ServerName: "example",
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
		Time:               func() time.Time { return start },
	}
}

// connect makes a connection from which the client has read a byte, and so its ticket.
func connect(server, client *tls.Config) (state tls.ConnectionState, err error) {
	ln, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		return state, err
	}
	defer ln.Close()
	handshake := make(chan error, 1)
	go func() {
		c, err := ln.Accept()
		if err == nil {
			defer c.Close()
			if err = c.(*tls.Conn).Handshake(); err == nil {
				_, err = c.Write([]byte{0})
			}
		}
		handshake <- err
	}()
	c, err := tls.Dial("tcp", ln.Addr().String(), client)
	if err == nil {
		defer c.Close()
		_, err = io.ReadFull(c, make([]byte, 1))
		state = c.ConnectionState()
	}
	return state, errors.Join(err, <-handshake)
}

// wantResumed checks whether the session of a client resumes.
func wantResumed(t *testing.T, server, client *tls.Config, want bool) {
	t.Helper()
	state, err := connect(server, client)
	if err != nil {
		t.Fatal(err)
	}
	if state.DidResume != want {
		t.Errorf("resumed: %v, want %v", state.DidResume, want)
	}
}

var versions = map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}

// forVersions runs a test for each version of TLS.
func forVersions(t *testing.T, f func(t *testing.T, version uint16)) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) { f(t, version) })
	}
}
