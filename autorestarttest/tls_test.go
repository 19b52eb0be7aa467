package autorestarttest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/autorestarttest"
)

// The clients of the load trust the certificate that the test names, and lose nothing with HTTP/2.
func TestLoadWithTLS(t *testing.T) {
	t.Parallel()
	needBuilds(t)
	file, trusted := newCertificate(t)
	address := autorestarttest.FreeAddress(t)
	d := autorestarttest.Start(t, autorestarttest.Program{
		Package: served,
		Args:    []string{"-listen", address, "-cert", file},
		TLS:     &tls.Config{RootCAs: trusted},
	})
	url := "https://" + address
	load := d.Load(url)
	for range 2 {
		d.Deploy(autorestarttest.ByRename)
		d.WantRestart()
	}
	load.WantNoneLost()
	response, err := d.Client().Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.ProtoMajor != 2 {
		t.Errorf("got %s", response.Proto)
	}
}

// newCertificate returns a file with a certificate and its key, and what trusts it.
func newCertificate(t *testing.T) (file string, trusted *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:         true,

		BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: cert})
	trusted = x509.NewCertPool()
	trusted.AppendCertsFromPEM(text.Bytes())
	pem.Encode(&text, &pem.Block{Type: "PRIVATE KEY", Bytes: private})
	file = filepath.Join(t.TempDir(), "cert.pem")
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, trusted
}
