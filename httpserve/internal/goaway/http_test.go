package goaway

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A handler gets the same request with a group and without.
func TestHandlerGetsSameRequest(t *testing.T) {
	for _, g := range []*Group{nil, {}} {
		seen := make(chan error, 1)
		addr := serve(t, &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				seen <- checkRequest(w, r)
				w.Header().Set("Trailer", "After")
				io.Copy(w, r.Body)
				w.Header().Set("After", r.Trailer.Get("Before"))
			}),
			ConnContext: func(ctx context.Context, c net.Conn) context.Context {
				return context.WithValue(ctx, connKey{}, c.RemoteAddr().String())
			},
		}, g)
		body := struct{ io.Reader }{strings.NewReader("hello")}
		req, _ := http.NewRequest("POST", "https://"+addr+"/path", body)
		req.Trailer = http.Header{"Before": {"world"}}
		resp, err := newClient(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if err != nil || string(got) != "hello" || resp.ProtoMajor != 2 || resp.Trailer.Get("After") != "world" {
			t.Errorf("%q, %v, %s, trailer %v", got, err, resp.Proto, resp.Trailer)
		}
		if err := <-seen; err != nil {
			t.Error(err)
		}
	}
}

type connKey struct{}

func checkRequest(w http.ResponseWriter, r *http.Request) error {
	_, hijacker := w.(http.Hijacker)
	_, pusher := w.(http.Pusher)
	local := r.Context().Value(http.LocalAddrContextKey).(net.Addr).String()
	switch {
	case r.TLS == nil || r.TLS.NegotiatedProtocol != "h2" || !r.TLS.HandshakeComplete:
		return errors.New("no TLS")
	case !strings.HasPrefix(r.RemoteAddr, "127.0.0.1:"):
		return errors.New("remote address: " + r.RemoteAddr)
	case local != r.Host:
		return errors.New("local address: " + local)
	case hijacker:
		return errors.New("a hijacker")
	case !pusher:
		return errors.New("not a pusher")
	case r.Context().Value(connKey{}) != r.RemoteAddr:
		return errors.New("the context is not that of ConnContext")
	}
	return nil
}

// ConnState gets the connection that ConnContext got, and the same states with a group and
// without.
func TestConnStateIsUnchanged(t *testing.T) {
	for _, g := range []*Group{nil, {}} {
		var accepted net.Conn
		states := make(chan http.ConnState, 10)
		srv := &http.Server{
			Handler:     hello,
			ConnContext: func(ctx context.Context, c net.Conn) context.Context { accepted = c; return ctx },
			ConnState: func(c net.Conn, state http.ConnState) {
				if state != http.StateNew && c != accepted {
					t.Errorf("%v of another connection, a %T", state, c)
				}
				states <- state
			},
		}
		w := dial(t, serve(t, srv, g))
		w.exchangeSettings()
		w.get(1, "/")
		w.wantResponse(1)
		w.Close()
		for _, want := range []http.ConnState{
			http.StateNew, http.StateActive, http.StateIdle, http.StateActive, http.StateIdle, http.StateClosed,
		} {
			if got := <-states; got != want {
				t.Errorf("%v, want %v", got, want)
			}
		}
	}
}

func TestTimeoutsOfServerApply(t *testing.T) {
	for _, g := range []*Group{nil, {}} {
		srv := &http.Server{
			// Longer than a handshake takes on a busy machine.
			IdleTimeout: 250 * time.Millisecond,
			ReadTimeout: 500 * time.Millisecond,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if _, err := io.Copy(io.Discard, r.Body); err == nil {
					t.Error("a body that has no end was read")
				}
			}),
		}
		w := dial(t, serve(t, srv, g))
		w.exchangeSettings()
		w.wantGoAway(0) // of the server, for IdleTimeout

		w = dial(t, serve(t, &http.Server{ReadTimeout: srv.ReadTimeout, Handler: srv.Handler}, g))
		w.exchangeSettings()
		w.send(appendFrame(nil, frameHeaders, flagEndHeaders, 1, "\x83\x87\x84\x01\x01x"))
		w.wantResponse(1) // ReadTimeout
	}
}

func TestBogusPrefaceIsLogged(t *testing.T) {
	for _, g := range []*Group{nil, {}} {
		logged := make(lines, 1)
		w := dial(t, serve(t, &http.Server{Handler: hello, ErrorLog: log.New(logged, "", 0)}, g))
		w.send([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
		for {
			if _, err := w.read(); err != nil {
				break
			}
		}
		if line := <-logged; !strings.Contains(line, "bogus greeting \"GET / HTTP/1.1") {
			t.Error(line)
		}
	}
}

type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

func TestLaterGoAwayNeverAllowsMore(t *testing.T) {
	g := Group{PingTimeout: testprocess.Timeout} // the client answers, when it can
	srv := &http.Server{Handler: hello}
	w := dial(t, serve(t, srv, &g))
	w.exchangeSettings()
	srv.RegisterOnShutdown(g.GoAway) // may come before or after the GOAWAY of the server
	go srv.Shutdown(context.Background())
	for last := uint32(maxStream); ; {
		p, err := w.read()
		if err != nil {
			break
		}
		switch {
		case p.kind == framePing:
			w.answer(p)
		case p.kind == frameGoAway && p.number() > last:
			t.Errorf("GOAWAY up to %d, after %d", p.number(), last)
		case p.kind == frameGoAway:
			last = p.number()
		}
	}
	testprocess.WaitFor(t, "end of the connection", func() bool { return g.Len() == 0 })
}

// The server shuts its connections down again and again. No request is lost, although
// none can be sent twice.
func TestNoRequestIsLost(t *testing.T) {
	rounds := 15 // in some, a client does not complete a frame, and has its whole time
	if testing.Short() {
		rounds = 10
	}
	for _, over := range []string{"TLS", "TCP"} {
		t.Run(over, func(t *testing.T) {
			g := Group{PingTimeout: longPingTimeout}
			var conns atomic.Int32
			p := newPosters(t)
			srv := &http.Server{Handler: p, ConnState: func(_ net.Conn, state http.ConnState) {
				switch state {
				case http.StateNew:
					conns.Add(1)
				case http.StateClosed:
					conns.Add(-1)
				}
			}}
			transport := p.client.Transport.(*http.Transport)
			if over == "TLS" {
				p.url = "https://" + serve(t, srv, &g)
			} else {
				p.url = "http://" + serveUnencrypted(t, srv, &g)
				transport.Protocols = onlyUnencrypted()
			}
			closed := make(chan struct{}, 1) // full while no connection may be made, as in a drain
			transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				closed <- struct{}{}
				defer func() { <-closed }()
				return new(net.Dialer).DialContext(ctx, network, addr)
			}

			defer p.start()()
			for range rounds {
				before := p.served.Load()
				testprocess.WaitFor(t, "requests", func() bool { return p.served.Load() > before+10 })
				closed <- struct{}{}
				g.GoAway()
				testprocess.WaitFor(t, "end of all connections", func() bool { return conns.Load() == 0 })
				g.Resume()
				<-closed
			}
		})
	}
}

// A client whose new connections are not held back is served, too.
func TestNewConnectionsAreServedDuringShutdown(t *testing.T) {
	g := Group{PingTimeout: longPingTimeout}
	p := newPosters(t)
	p.url = "https://" + serve(t, &http.Server{Handler: p}, &g)
	g.GoAway()
	defer p.start()()
	testprocess.WaitFor(t, "requests", func() bool { return p.served.Load() > 200 })
}

func onlyUnencrypted() *http.Protocols {
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	return &p
}

func serveUnencrypted(t testing.TB, srv *http.Server, g *Group) (addr string) {
	t.Helper()
	srv.Protocols = onlyUnencrypted()
	if err := g.Configure(srv, false); err != nil {
		t.Fatal(err)
	}
	return listen(t, srv, srv.Serve)
}

func TestConfigureFollowsRulesOfServer(t *testing.T) {
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	own := func(*http.Server, *tls.Conn, http.Handler) {}
	type protocols = map[string]func(*http.Server, *tls.Conn, http.Handler)
	for _, test := range []struct {
		name  string
		srv   *http.Server
		debug string
		plain bool // for Serve rather than ServeTLS
		http2 bool // is served
	}{
		{name: "by default", http2: true},
		{name: "no HTTP/2", srv: &http.Server{Protocols: http1}},
		{name: "no HTTP/2, the old way", srv: &http.Server{TLSNextProto: protocols{}}},
		{name: "another protocol", srv: &http.Server{TLSNextProto: protocols{"x": own}}},
		{name: "GODEBUG", debug: "http2server=0"},
		{name: "Serve", plain: true, http2: true},
		{name: "Serve without h2", srv: &http.Server{TLSConfig: &tls.Config{}}, plain: true},
		{name: "Serve with h2", srv: &http.Server{TLSConfig: &tls.Config{NextProtos: []string{"h2"}}}, plain: true, http2: true},
		{name: "Serve unencrypted", srv: &http.Server{TLSConfig: &tls.Config{}, Protocols: onlyUnencrypted()}, plain: true, http2: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("GODEBUG", test.debug)
			srv := cmp.Or(test.srv, new(http.Server))
			srv.BaseContext = func(net.Listener) context.Context {
				t.Error("the server serves")
				return context.Background()
			}
			before := len(srv.TLSNextProto)
			if err := new(Group).Configure(srv, !test.plain); err != nil {
				t.Fatal(err)
			}
			if _, http2 := srv.TLSNextProto["h2"]; http2 != test.http2 || !http2 && len(srv.TLSNextProto) != before {
				t.Errorf("TLSNextProto: %v, want h2: %v", srv.TLSNextProto, test.http2)
			}
		})
	}
}

// A server that can't be changed as intended is left as it was.
func TestConfigureWithErrorLeavesServerUnchanged(t *testing.T) {
	own := func(*http.Server, *tls.Conn, http.Handler) {}
	type protocols = map[string]func(*http.Server, *tls.Conn, http.Handler)
	hook := func(net.Conn, http.ConnState) { t.Error("ConnState is called") }
	for name, srv := range map[string]*http.Server{
		"another implementation":           {TLSNextProto: protocols{"h2": own}},
		"one that ignores its connections": {TLSNextProto: protocols{"h2": own, "unencrypted_http2": own}},
		"excluded cipher suites":           {TLSConfig: &tls.Config{CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}}},
	} {
		before := len(srv.TLSNextProto)
		srv.ConnState = hook
		err := new(Group).Configure(srv, true)
		if err == nil || errors.Is(err, errors.ErrUnsupported) != (name == "another implementation") {
			t.Errorf("%s: %v", name, err)
		}
		if len(srv.TLSNextProto) != before || reflect.ValueOf(srv.ConnState).Pointer() != reflect.ValueOf(hook).Pointer() {
			t.Errorf("%s: the server was changed", name)
		}
	}
}

// A server passes on the function that serves HTTP/2 in one of two ways.
func TestServeFunc(t *testing.T) {
	twin := newTwin(&http.Server{ConnState: func(net.Conn, http.ConnState) { t.Error("ConnState is called") }})
	if err := twin.prepareHTTP2(true); err != nil {
		t.Fatal(err)
	}
	serve := twin.TLSNextProto[unencrypted]
	if serve == nil {
		serve = twin.serveFunc()
	}
	if serve == nil || !servesPlain(serve) {
		t.Error("no function that serves HTTP/2")
	}
	if servesPlain(func(*http.Server, *tls.Conn, http.Handler) {}) {
		t.Error("a function that does nothing serves HTTP/2")
	}
}
