//go:build linux

package etcdgate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/etcdtest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// newClient returns a client that no test connects.
func newClient(t *testing.T) *clientv3.Client {
	t.Helper()
	return clientWith(t, clientv3.Config{Endpoints: []string{"127.0.0.1:1"}})
}

func clientWith(t *testing.T, config clientv3.Config) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// A client of a user with a namespace works, with the permissions that the documentation names. That of
// another user gets no leave, and the version that runs goes on serving.
func TestUserAndNamespace(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1, "--bcrypt-cost", "4") // the least: a busy machine has no time for more
	f := newFleet(t, c, &Gate{timeout: shortRequest})
	ctx, cancel := testprocess.WithTimeout(t.Context(), testprocess.Timeout)
	defer cancel()
	const prefix = "team/autorestart/web/"
	for _, user := range []string{"root", "web", "mail"} {
		_, err := f.client.UserAdd(ctx, user, "secret of "+user)
		if err == nil {
			_, err = f.client.RoleAdd(ctx, user)
		}
		if err == nil {
			_, err = f.client.UserGrantRole(ctx, user, user)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.client.RoleGrantPermission(ctx, "web", prefix, clientv3.GetPrefixRangeEnd(prefix), clientv3.PermissionType(clientv3.PermReadWrite)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.client.AuthEnable(ctx); err != nil {
		t.Fatal(err)
	}
	as := func(user, password string) *clientv3.Client {
		config := c.Config()
		config.Username, config.Password = user, password
		client := clientWith(t, config)
		client.KV = namespace.NewKV(client.KV, "team")
		client.Watcher = namespace.NewWatcher(client.Watcher, "team")
		client.Lease = namespace.NewLease(client.Lease, "team")
		return client
	}
	a, b, stranger := f.image("a"), f.image("b"), f.image("c")
	a.Client, b.Client, stranger.Client = as("web", "secret of web"), as("web", "secret of web"), as("mail", "secret of mail")
	state := f.acquire(a, "v1")
	waiting := f.ask(b, "v1")
	testprocess.WaitFor(t, "queue", func() bool { return f.log.has("waiting for leave") })
	f.release(a, autorestart.GateReady, state, "v1")
	f.want(waiting)

	refused := f.ask(stranger, "v1")
	testprocess.WaitFor(t, "line", func() bool { return f.log.has("permission denied") })
	if isClosed(refused.done) {
		t.Errorf("got %v", refused.err)
	}
	for _, user := range []string{"web", "mail"} {
		if f.log.has("secret of " + user) {
			t.Error("a password is in the log")
		}
	}
}

// The certificate of etcd is not one that the client trusts: the log says so.
func TestWrongCertificate(t *testing.T) {
	t.Parallel()
	testprocess.NeedTool(t, "etcd")
	cert, key, pool := writeCertificate(t)
	c := etcdtest.Start(t, 1, "--cert-file", cert, "--key-file", key)
	config := c.Config()
	config.TLS = &tls.Config{RootCAs: pool}
	trusts := clientWith(t, config)
	c.Await(trusts)
	f := &testFleet{T: t, client: trusts, template: &Gate{Group: "web", Service: "example.com/web", timeout: shortRequest}}
	f.acquire(f.image("a"), "v1")

	_, _, other := writeCertificate(t)
	config.TLS = &tls.Config{RootCAs: other}
	g := f.image("b")
	g.Client = clientWith(t, config)
	b := f.ask(g, "v1")
	testprocess.WaitFor(t, "line", func() bool { return f.log.has("certificate signed by unknown authority") })
	if isClosed(b.done) {
		t.Errorf("got %v", b.err)
	}
}

// An etcd that asks for client certificates serves a member that has one. The log of a member without one says so.
func TestClientCertificate(t *testing.T) {
	t.Parallel()
	testprocess.NeedTool(t, "etcd")
	cert, key, pool := writeCertificate(t)
	c := etcdtest.Start(t, 1, "--cert-file", cert, "--key-file", key, "--client-cert-auth", "--trusted-ca-file", cert)
	own, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	config := c.Config()
	config.TLS = &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{own}}
	known := clientWith(t, config)
	c.Await(known)
	f := &testFleet{T: t, client: known, template: &Gate{Group: "web", Service: "example.com/web", timeout: shortRequest}}
	f.release(f.image("a"), autorestart.GateReady, f.acquire(f.image("a"), "v1"), "v1")

	config.TLS = &tls.Config{RootCAs: pool}
	g := f.image("b")
	g.Client = clientWith(t, config)
	b := f.ask(g, "v1")
	testprocess.WaitFor(t, "line", func() bool { return f.log.has("certificate") })
	if isClosed(b.done) {
		t.Errorf("got %v", b.err)
	}
}

func writeCertificate(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "etcd"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, content := range map[string][]byte{cert: certPEM, key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return cert, key, pool
}
