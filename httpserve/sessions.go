package httpserve

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/autorestart-go/autorestart/internal/ticketkeys"
)

// ResumeSessions has the TLS sessions of a server resume after a restart, also after several. It
// is for servers that use config and are not served by [ServeTLS], such as those of gRPC, and for
// the configs that a [tls.Config.GetConfigForClient] returns. Call it before config is used.
//
// ResumeSessions sets WrapSession and UnwrapSession of config. Copies of config, as by
// [tls.Config.Clone], have the same keys. Where config has a Time, the keys rotate by that clock.
//
// The name stands for the server: the versions of a program call ResumeSessions with the same name.
// Configs with one name have their keys in common. A client may then resume a session of one server
// with the other, so each server needs a name of its own, and so do configs that present different
// certificates, or differ in the client certificates that they accept.
//
// If there is an error, config is unchanged. There is one
//   - if config is nil
//   - if SessionTicketsDisabled, WrapSession or UnwrapSession is set, as by an earlier call
//   - if SessionTicketKey is set, [tls.Config.SetSessionTicketKeys] was called, or config has served
//     a connection
//   - if VerifyPeerCertificate is set, see the documentation of the package.
func ResumeSessions(name string, config *tls.Config) error {
	if config == nil {
		return errNoConfig
	}
	sessions, err := ticketkeys.Resume(config)
	if err != nil {
		return fmt.Errorf("httpserve: the sessions of %q do not resume after a restart: %w", name, err)
	}
	sessions.Add("config " + name)
	return nil
}

var errNoConfig = errors.New("httpserve: ResumeSessions needs a config")

// resumeSessions returns the sessions of a server that has not served yet; nil if the program has
// arranged something else. The server gets a config of its own, because the original one may be
// that of another server, too.
//
// Serve and ServeTLS may be called at the same time for one server, so this is done for both.
func resumeSessions(srv *http.Server) *ticketkeys.Sessions {
	config := srv.TLSConfig.Clone()
	if config == nil {
		// Without a config, net/http sets up HTTP/2 as for one with this protocol.
		config = &tls.Config{NextProtos: []string{"h2"}}
	}
	if config.GetConfigForClient != nil {
		return nil
	}
	sessions, err := ticketkeys.Resume(config)
	if err != nil {
		return nil
	}
	srv.TLSConfig = config
	return sessions
}

// addSessionsOf has the sessions of clients of a listener resume in the next version, which listens
// at the same address.
func (s *server) addSessionsOf(ln net.Listener) {
	if address := ln.Addr(); s.sessions != nil && address != nil {
		s.sessions.Add("listener " + address.Network() + " " + address.String())
	}
}
