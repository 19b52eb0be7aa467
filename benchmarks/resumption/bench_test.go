//go:build linux

package resumption

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/internal/table"
)

const (
	ours  = "autorestart"
	plain = "net/http"

	clients = 1000
	atLeast = 99 // per cent of the clients that present a ticket
)

var results = table.Table{{"server", "restarts", "tickets", "resumed", "failed", "full handshake", "server CPU", "resumed handshake", "server CPU"}}

func TestMain(m *testing.M) {
	code := m.Run()
	os.Stdout.WriteString("\n")
	if err := results.Print(os.Stdout); err != nil {
		panic(err)
	}
	os.Exit(code)
}

func restarts() int {
	if os.Getenv("AUTORESTART_BENCH_FULL") == "1" {
		return 100
	}
	return 3
}

func BenchmarkResumption(b *testing.B) {
	cert := writeCertificate(b)
	executable, err := build(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{ours, plain} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				o := new(outcome)
				if err := o.run(executable, name, cert); err != nil {
					b.Fatal(err)
				}
				o.report(b, name)
			}
		})
	}
}

// An outcome is that of one server.
type outcome struct {
	round                           // the sum of those after a restart
	full, resumed   []time.Duration // handshakes
	fullCPU, resCPU []time.Duration // of the server
}

// run connects all clients to a server, and once more after each of its restarts.
func (o *outcome) run(executable, name, cert string) error {
	p, err := start(executable, name, cert)
	if err != nil {
		return err
	}
	defer p.stop()
	all := make([]*client, clients)
	for i := range all {
		all[i] = newClient(i)
	}
	first, err := connectAll(p, all)
	if err != nil {
		return err
	}
	o.full, o.fullCPU, o.failed = first.handshakes, append(o.fullCPU, first.serverCPU), first.failed
	for range restarts() {
		if err := p.restart(); err != nil {
			return err
		}
		r, err := connectAll(p, all)
		if err != nil {
			return err
		}
		o.presented += r.presented
		o.round.resumed += r.resumed
		o.failed += r.failed
		if r.resumed > clients/2 {
			o.resumed, o.resCPU = append(o.resumed, r.handshakes...), append(o.resCPU, r.serverCPU)
		} else {
			o.full, o.fullCPU = append(o.full, r.handshakes...), append(o.fullCPU, r.serverCPU)
		}
	}
	return nil
}

func (o *outcome) report(b *testing.B, name string) {
	percent := 100 * float64(o.round.resumed) / float64(max(1, o.presented))
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(percent, "%resumed")
	b.ReportMetric(float64(o.failed), "failed")
	b.ReportMetric(table.Milliseconds(table.Median(o.full)), "full-ms")
	if len(o.resumed) > 0 {
		b.ReportMetric(table.Milliseconds(table.Median(o.resumed)), "resumed-ms")
	}
	results.Add(name, restarts(), o.presented, fmt.Sprintf("%.1f %%", percent), o.failed, milliseconds(o.full), milliseconds(o.fullCPU), milliseconds(o.resumed), milliseconds(o.resCPU))
	if name != ours {
		return
	}
	if o.presented < clients*restarts() || percent < atLeast {
		b.Errorf("%.2f %% of %d tickets resume a session, want %d %% of %d", percent, o.presented, atLeast, clients*restarts())
	}
	if o.failed > 0 {
		b.Errorf("%d connections have failed", o.failed)
	}
}

// milliseconds returns a median, which is shorter than the unit of the table.
func milliseconds(times []time.Duration) string {
	if len(times) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f ms", table.Milliseconds(table.Median(times)))
}

// writeCertificate writes a certificate and its key. It returns the path of both, without .pem
// and .key.
func writeCertificate(b *testing.B) string {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(24 * time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		b.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(b.TempDir(), "cert")
	for extension, block := range map[string]*pem.Block{
		".pem": {Type: "CERTIFICATE", Bytes: cert},
		".key": {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(path+extension, pem.EncodeToMemory(block), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return path
}
