package grpcserve_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/grpcserve"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// connect makes a connection on which a test sends what it likes.
func connect(t *testing.T, f *fixture) net.Conn {
	t.Helper()
	before := grpcserve.Connections(f.Server)
	c, err := testprocess.DialContext(t.Context(), "tcp", strings.TrimPrefix(f.address, "passthrough:///"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	testprocess.WaitFor(t, "accepted connection", func() bool { return grpcserve.Connections(f.Server) > before })
	return c
}

func withTLS(t *testing.T) grpc.ServerOption {
	t.Helper()
	cert := writeCertificate(t)
	pair, err := tls.LoadX509KeyPair(cert+".pem", cert+".key")
	if err != nil {
		t.Fatal(err)
	}
	return grpc.Creds(credentials.NewServerTLSFromCert(&pair))
}

// A client that sends nothing, such as a port scanner, and one that stops in the middle, do
// not hold a restart up for long.
func TestClientsThatDoNotBegin(t *testing.T) {
	for name, sent := range map[string]string{
		"nothing":         "",
		"part of preface": http2.ClientPreface[:10],
		"no settings":     http2.ClientPreface,
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t)
			c := connect(t, f)
			io.WriteString(c, sent)
			d := drain(t, long)
			if d.unfinished != "" || d.took > 3*time.Second {
				t.Errorf("took %v, unfinished: %s", d.took, d.unfinished)
			}
		})
	}
	t.Run("part of a TLS handshake", func(t *testing.T) {
		f := start(t, withTLS(t))
		c := connect(t, f)
		c.Write([]byte{22, 3, 1})
		d := drain(t, long)
		if d.unfinished != "" || d.took > 3*time.Second {
			t.Errorf("took %v, unfinished: %s", d.took, d.unfinished)
		}
	})
}

// A client whose handshake has begun when the drain begins, and ends meanwhile, gets a connection that
// is drained, and its call is made on another one.
func TestHandshakeDuringDrain(t *testing.T) {
	for name, options := range map[string][]grpc.ServerOption{"plain": nil, "TLS": {withTLS(t)}} {
		t.Run(name, func(t *testing.T) {
			f := start(t, options...)
			begun, proceed := make(chan bool, 10), make(chan bool)
			dialer := grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
				c, err := testprocess.DialContext(ctx, "tcp", address)
				return &slowConn{Conn: c, begun: begun, proceed: proceed}, err
			})
			var config *tls.Config
			if options != nil {
				config = &tls.Config{InsecureSkipVerify: true}
			}
			c, err := newClient(f.address, config, dialer)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			answered := callLater(c, "echo a")
			testprocess.Receive(t, "beginning of the handshake", begun)
			testprocess.WaitFor(t, "accepted connection", func() bool { return grpcserve.Connections(f.Server) == 1 })
			draining := beginDrain(t, long)
			testprocess.WaitFor(t, "drain", grpcserve.IsDraining)
			close(proceed)
			d := awaitDrain(t, draining)
			if d.unfinished != "" {
				t.Errorf("unfinished: %s", d.unfinished)
			}
			d.resume()
			if err, _ := testprocess.Receive(t, "answer", answered); err != nil {
				t.Errorf("the call has failed: %v", err)
			}
		})
	}
}

// A slowConn sends nothing more than the first byte until proceed is closed.
type slowConn struct {
	net.Conn
	begun, proceed chan bool
}

func (c *slowConn) Write(b []byte) (n int, err error) {
	select {
	case <-c.proceed:
		return c.Conn.Write(b)
	default:
	}
	if n, err := c.Conn.Write(b[:1]); err != nil {
		return n, err
	}
	c.begun <- true
	<-c.proceed
	n, err = c.Conn.Write(b[1:])
	return n + 1, err
}

// A client that does not answer the PING of a drain has one second, instead of the 5 of package grpc.
func TestClientThatDoesNotAnswerPing(t *testing.T) {
	f := start(t)
	c := connect(t, f)
	io.WriteString(c, http2.ClientPreface)
	framer := http2.NewFramer(c, c)
	framer.WriteSettings()
	for acknowledged := false; !acknowledged; {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		settings, ok := frame.(*http2.SettingsFrame)
		acknowledged = ok && settings.IsAck()
	}
	d := drain(t, long)
	if d.unfinished != "" || d.took > 4*time.Second {
		t.Errorf("took %v, unfinished: %s", d.took, d.unfinished)
	}
	for goAways := 0; ; {
		frame, err := framer.ReadFrame()
		if err != nil {
			if goAways != 2 {
				t.Errorf("%d frames GOAWAY before the end: %v", goAways, err)
			}
			return
		}
		if _, ok := frame.(*http2.GoAwayFrame); ok {
			goAways++
		}
	}
}

// A connection whose handshake ends late in the drain has as much time for the PING as the others.
func TestPingOfLateConnection(t *testing.T) {
	f := start(t)
	c := connect(t, f)
	begun := beginDrain(t, long)
	testprocess.Receive(t, "drain", autorestart.Draining())
	time.Sleep(handshakeTimeout * 9 / 10)
	io.WriteString(c, http2.ClientPreface)
	framer := http2.NewFramer(c, c)
	framer.WriteSettings()
	var goAways []time.Time
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			break
		}
		if _, ok := frame.(*http2.GoAwayFrame); ok {
			goAways = append(goAways, time.Now())
		}
	}
	if len(goAways) != 2 {
		t.Fatalf("%d frames GOAWAY", len(goAways))
	}
	if pause := goAways[1].Sub(goAways[0]); pause < 9*handshakeTimeout/10 {
		t.Errorf("the client has %v to answer", pause)
	}
	if d := awaitDrain(t, begun); d.unfinished != "" {
		t.Errorf("unfinished: %s", d.unfinished)
	}
}

// handshakeTimeout is the time that clients have for a handshake, and for the answer to a PING.
const handshakeTimeout = time.Second
