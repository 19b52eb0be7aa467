package httpserve

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
)

// separateHTTP2 has srv serve HTTP/2 as it would, by means of a server that does
// nothing else. To shut that one down tells all clients of HTTP/2 that their
// connections are coming to an end (GOAWAY), can be done any number of times, and
// leaves srv alone.
func separateHTTP2(srv *http.Server) (goAway func(), err error) {
	if srv.TLSNextProto != nil {
		return func() {}, nil // somebody has made it as it is
	}
	h2 := &http.Server{
		TLSConfig:   srv.TLSConfig.Clone(),
		ReadTimeout: srv.ReadTimeout,
		IdleTimeout: srv.IdleTimeout,
		HTTP2:       srv.HTTP2,
		Protocols:   srv.Protocols,
	}
	if h2.TLSConfig == nil {
		h2.TLSConfig = new(tls.Config)
	}
	// That there is any certificate is all that ServeTLS wants to know.
	h2.TLSConfig.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errNotListening }
	if err := h2.ServeTLS(notListening{}, "", ""); !errors.Is(err, errNotListening) {
		return nil, err
	}
	srv.TLSNextProto = h2.TLSNextProto
	goAway = func() { h2.Shutdown(context.Background()) }
	srv.RegisterOnShutdown(goAway)
	return goAway, nil
}

var errNotListening = errors.New("httpserve: not listening")

// notListening is a listener that has nothing to accept.
type notListening struct{}

func (notListening) Accept() (net.Conn, error) { return nil, errNotListening }
func (notListening) Close() error              { return nil }
func (notListening) Addr() net.Addr            { return &net.TCPAddr{} }
