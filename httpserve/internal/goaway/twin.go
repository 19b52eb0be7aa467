package goaway

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"log"
	"maps"
	"net"
	"net/http"
	"reflect"
	"slices"
	"time"
)

// A twin is a server with the fields of another one. It serves nothing itself. It is where
// net/http sets up HTTP/2, and passes on the function that serves it: if that does not go as
// expected, the other server is as it was.
type twin struct{ *http.Server }

func newTwin(srv *http.Server) twin {
	t := twin{new(http.Server)}
	from, to := reflect.ValueOf(srv).Elem(), reflect.ValueOf(t.Server).Elem()
	for i := range from.NumField() {
		if from.Type().Field(i).IsExported() {
			to.Field(i).Set(from.Field(i))
		}
	}
	t.TLSNextProto = maps.Clone(srv.TLSNextProto)
	t.ConnState, t.BaseContext = nil, nil // nothing is to notice this server
	return t
}

// prepareHTTP2 makes the server set up HTTP/2 by its own rules, as it does when it begins to
// serve. The name of the certificate file is invalid, so it gets no further than that.
func (t twin) prepareHTTP2(overTLS bool) error {
	if !overTLS && !t.expectsHTTP2() {
		return nil
	}
	const noFile = "\x00"
	err := t.ServeTLS(noListener{}, noFile, noFile)
	if e, ok := errors.AsType[*fs.PathError](err); ok && e.Path == noFile {
		return nil
	}
	return err
}

// expectsHTTP2 is the rule of [http.Server.Serve], whose listener may return encrypted
// connections.
func (t twin) expectsHTTP2() bool {
	return t.TLSConfig == nil ||
		t.Protocols != nil && t.Protocols.UnencryptedHTTP2() ||
		slices.Contains(t.TLSConfig.NextProtos, encrypted)
}

// serveFunc returns the function that serves HTTP/2 since Go 1.27, in the form of that for
// [unencrypted], which Go does not have any more. It is nil if there is none.
func (t twin) serveFunc() protocol {
	r := registration{server: t.Server, serve: new(serveConnFunc)}
	t.Serve(r)
	serveConn := *r.serve
	if serveConn == nil {
		return nil
	}
	return func(_ *http.Server, c *tls.Conn, h http.Handler) {
		wrapper, ok := c.NetConn().(unencryptedConn)
		if !ok {
			return
		}
		ctx := context.Background()
		if h, ok := h.(interface{ BaseContext() context.Context }); ok {
			ctx = h.BaseContext()
		}
		const prefaceRead = true
		serveConn(ctx, wrapper.UnencryptedNetConn(), h, prefaceRead, nil, nil)
	}
}

type serveConnFunc = func(ctx context.Context, c net.Conn, h http.Handler, prefaceRead bool, upgrade *http.Request, settings []byte)

// A registration is a listener that [http.Server.Serve] recognizes by its methods. Serve gives
// it the function that serves HTTP/2. It is there for golang.org/x/net/http2.
type registration struct {
	noListener
	server *http.Server
	serve  *serveConnFunc
}

func (r registration) ServeConnFunc(f serveConnFunc) { *r.serve = f }

// HTTP2Config returns nothing that the server does not know itself.
func (r registration) HTTP2Config() http.HTTP2Config { return http.HTTP2Config{} }

// IdleTimeout is the rule of net/http.
func (r registration) IdleTimeout() time.Duration {
	if r.server.IdleTimeout != 0 {
		return r.server.IdleTimeout
	}
	return r.server.ReadTimeout
}

type noListener struct{}

func (noListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (noListener) Close() error              { return nil }
func (noListener) Addr() net.Addr            { return &net.TCPAddr{} }

// probeTimeout is longer than a function takes to begin to serve a connection.
const probeTimeout = time.Second

// servesPlain reports whether serve writes to the connection that it is given by [wrapPlain].
func servesPlain(serve protocol) bool {
	used := make(chan struct{}, 1)
	here, there := net.Pipe()
	defer there.Close()
	go func() {
		if _, err := there.Read(make([]byte, 1)); err == nil {
			used <- struct{}{}
		}
	}()
	served := make(chan struct{})
	go func() {
		defer close(served)
		defer here.Close()
		serve(&http.Server{ErrorLog: log.New(io.Discard, "", 0)}, wrapPlain(here), http.NotFoundHandler())
	}()
	select {
	case <-used:
		return true
	case <-served:
	case <-time.After(probeTimeout):
	}
	return false
}
