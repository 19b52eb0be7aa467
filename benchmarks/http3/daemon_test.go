//go:build linux

package http3

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/examples/http3/quicserve"
	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/sockets"
)

func TestMain(m *testing.M) {
	os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true") // tests have small buffers
	Main(m, map[string]func(){"quicserve": quicserveMain, "plain": plainMain})
}

// times are those of a restart.
type times struct{ Quiesced, Ready time.Time }

func quicserveMain() {
	transport := Must(quicserve.Listen(context.Background(), "127.0.0.1:0"))
	ready(transport)
	go func() { panic(quicserve.Serve(transport, newServer)) }()
	obey()
}

// plainMain is what a program does that knows nothing of QUIC in a restart.
func plainMain() {
	transport := &quic.Transport{Conn: Must(sockets.ListenPacket("udp", "127.0.0.1:0"))}
	ready(transport)
	listener := Must(transport.ListenEarly(newServer().TLSConfig, new(quic.Config)))
	go func() { panic(newServer().ServeListener(listener)) }()
	obey()
}

func ready(transport *quic.Transport) {
	autorestart.Ready()
	Say("address", transport.Conn.LocalAddr())
	Say("ready", string(Must(json.Marshal(times{autorestart.LastRestart().Quiesced, time.Now()}))))
}

func obey() {
	Obey(&autorestart.Restarter{}, nil)
}

// answeredFile is added to the path of the daemon. All versions append the paths of the requests to
// that file that they have answered.
const answeredFile = ".answered"

func newServer() *http3.Server {
	key := Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	answers := Must(os.OpenFile(os.Args[0]+answeredFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600))
	der := Must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	return &http3.Server{
		TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, autorestart.Generation())
			fmt.Fprintln(answers, r.URL.Path) // for the test
		}),
	}
}
