package httpserve

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/httpconn"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/image/imagetest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
	"github.com/autorestart-go/autorestart/sockets"
)

// await returns when the server serves.
func await(t *testing.T, address net.Addr) {
	t.Helper()
	if got := ask(t, address.String()); got != "served" {
		t.Errorf("answer %q", got)
	}
}

// ask returns the body of a response.
func ask(t *testing.T, address string) string {
	t.Helper()
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("http://" + address)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
		return ""
	}
	return string(b)
}

var sayServed = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "served") })

// A listener that is served can't be served again. The first server goes on.
func TestListenerIsServedOnce(t *testing.T) {
	for name, listen := range map[string]func(network, address string) (net.Listener, error){"sockets": sockets.Listen, "net": net.Listen} {
		ln, err := listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: sayServed}
		served := make(chan error, 1)
		go func() { served <- Serve(srv, ln) }()
		await(t, ln.Addr())
		for _, second := range []*http.Server{srv, new(http.Server)} {
			err := Serve(second, ln)
			if err == nil || !strings.Contains(err.Error(), "is served already") || !strings.Contains(err.Error(), ln.Addr().String()) {
				t.Errorf("%s: %v", name, err)
			}
			if err := ServeTLS(second, ln, "", ""); err == nil || !strings.Contains(err.Error(), "is served already") {
				t.Errorf("%s: %v", name, err)
			}
		}
		await(t, ln.Addr())
		srv.Close()
		if err, _ := testprocess.Receive(t, "end of Serve", served); err != http.ErrServerClosed {
			t.Errorf("%s: %v", name, err)
		}
		release, err := httpconn.Claim(ln)
		if err != nil {
			t.Errorf("%s: after Serve: %v", name, err)
			continue
		}
		release()
	}
}

// incomparable is a listener whose type is not comparable.
type incomparable struct {
	net.Listener
	_ []byte
}

func TestClaimOfIncomparableListener(t *testing.T) {
	ln := incomparable{Listener: mustListen(t)}
	defer ln.Close()
	for range 2 {
		release, err := httpconn.Claim(ln)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
	}
}

// withOrder is a listener that says its DrainOrder itself.
type withOrder struct {
	net.Listener
	order int
}

func (l withOrder) DrainOrder() int { return l.order }

// A server has the DrainOrder of its listeners, which is the same for all.
func TestServerTakesOrderOfListener(t *testing.T) {
	listen := func(order int) net.Listener {
		ln, err := (&sockets.Config{DrainOrder: order}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return ln
	}
	srv := &http.Server{Handler: sayServed}
	served := make(chan error, 2)
	for _, ln := range []net.Listener{listen(7), withOrder{mustListen(t), 7}} {
		go func() { served <- Serve(srv, ln) }()
		await(t, ln.Addr())
	}
	if got := srv.Handler.(*server).DrainOrder(); got != 7 {
		t.Errorf("DrainOrder %d", got)
	}
	for _, ln := range []net.Listener{listen(8), mustListen(t)} {
		if err := Serve(srv, ln); err != errOrder {
			t.Errorf("%v, want %v", err, errOrder)
		}
		wantRefused(t, ln.Addr())
	}
	srv.Close()
	for range 2 {
		testprocess.Receive(t, "end of Serve", served)
	}
}

// A server that begins to serve during a drain answers when that was called off.
func TestServeDuringDrain(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		imagetest.Start(t)
		ln := mustListen(t) // Listen blocks in a group that is sealed
		d, err := image.Current().Drainers.Begin(context.Background(), testprocess.Timeout, nil)
		if err != nil {
			t.Fatal(err)
		}
		if sealed {
			d.Seal()
		}
		srv := &http.Server{Handler: sayServed}
		served := make(chan error, 1)
		go func() { served <- Serve(srv, ln) }()
		answered := make(chan string, 1)
		go func() { answered <- ask(t, ln.Addr().String()) }()
		if !sealed {
			testprocess.WaitFor(t, "drainer", func() bool {
				attaching.Lock()
				defer attaching.Unlock()
				s, ok := srv.Handler.(*server)
				return ok && s.drainingSince.Load() != nil
			})
			d.Seal()
		}
		select {
		case got := <-answered:
			t.Errorf("answered %q during the drain", got)
		default:
		}
		d.Resume()
		if got, _ := testprocess.Receive(t, "answer", answered); got != "served" {
			t.Errorf("answer %q", got)
		}
		srv.Close()
		if err, _ := testprocess.Receive(t, "end of Serve", served); err != http.ErrServerClosed {
			t.Error(err)
		}
	}
}
