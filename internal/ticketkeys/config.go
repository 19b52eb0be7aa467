// Package ticketkeys has the keys of TLS session tickets cross an exec, so that sessions resume in
// the next version. They rotate by the rules of crypto/tls.
package ticketkeys

import (
	"crypto/tls"
	"errors"
	"reflect"
	"slices"
	"sync"
	"time"
)

// Errors of [Resume]: what the program has arranged itself stays as it is.
var (
	errDisabled = errors.New("SessionTicketsDisabled is set")
	errHooks    = errors.New("WrapSession or UnwrapSession is set")
	errKeys     = errors.New("the config has session ticket keys, or has served a connection")
	errVerify   = errors.New("VerifyPeerCertificate is set, which is not called when a session resumes; use VerifyConnection")
)

// Sessions are the sessions of the servers that have one [tls.Config].
type Sessions struct {
	now func() time.Time
	own Set // while there is no other

	mu   sync.Mutex
	sets []*Set
}

// Resume has the sessions of connections with config, and with copies of it, resume by the sets of
// the [Sessions.Add]. It sets WrapSession and UnwrapSession. If there is an error, config is
// unchanged.
func Resume(config *tls.Config) (*Sessions, error) {
	if err := check(config.Clone()); err != nil {
		return nil, err
	}
	s := &Sessions{now: time.Now}
	if config.Time != nil {
		s.now = config.Time
	}
	config.WrapSession, config.UnwrapSession = s.wrap, s.unwrap
	return s, nil
}

// check returns an error for a config with an arrangement of the program.
func check(config *tls.Config) error {
	switch {
	case config.SessionTicketsDisabled:
		return errDisabled
	case config.WrapSession != nil || config.UnwrapSession != nil:
		return errHooks
	//lint:ignore SA1019 programs set it
	case config.SessionTicketKey != [32]byte{} || hasKeys(config):
		return errKeys
	case config.VerifyPeerCertificate != nil:
		return errVerify
	}
	return nil
}

// hasKeys reports whether [tls.Config.SetSessionTicketKeys] was called, as far as can be told. A
// version of crypto/tls that keeps the keys elsewhere is left alone: their place may not be taken.
func hasKeys(config *tls.Config) bool {
	keys := reflect.ValueOf(config).Elem().FieldByName("sessionTicketKeys")
	return keys.Kind() != reflect.Slice || keys.Len() > 0
}

// Add adds the set with the given name of the current image. New tickets are encrypted with the set
// that was added first. Tickets of all sets are decrypted.
func (s *Sessions) Add(name string) {
	set := currentRegistry().set(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.sets, set) {
		s.sets = append(s.sets, set)
	}
}

// all returns the sets; the first one is for new tickets.
func (s *Sessions) all() []*Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sets) == 0 {
		return []*Set{&s.own}
	}
	return slices.Clone(s.sets)
}

func (s *Sessions) wrap(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
	return s.all()[0].encrypt(s.now(), cs, ss)
}

func (s *Sessions) unwrap(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
	for _, set := range s.all() {
		if ss, err := set.decrypt(s.now(), ticket, cs); ss != nil || err != nil {
			return ss, err
		}
	}
	return nil, nil // a full handshake
}
