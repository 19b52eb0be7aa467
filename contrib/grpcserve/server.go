package grpcserve

import (
	"errors"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/httpconn"
	"github.com/autorestart-go/autorestart/internal/image"
)

// A server drains a [grpc.Server]. It is registered as a drainer as long as the grpc.Server is served
// or has connections.
type server struct {
	grpc   *grpc.Server
	order  int // the DrainOrder of its listeners
	fields *fields

	joined httpconn.Wakeup // connections, and the end of their handshakes
	left   httpconn.Wakeup // connections that are closed

	registering sync.Mutex // held while the server is registered or unregistered
	unregister  func()     // nil if the server is not registered; guarded by registering

	mu           sync.Mutex
	serving      int // calls of Serve
	conns        map[*conn]bool
	resumed      chan struct{} // closed at the end of the drain; nil unless the server is drained
	stopDraining func()        // ends the goroutine of the drain; nil unless there is one
}

// servers are the servers that are served or have connections.
var servers = struct {
	sync.Mutex
	m map[*grpc.Server]*server
}{m: map[*grpc.Server]*server{}}

// errOrder says that a server would be drained with one of its listeners and before the other.
var errOrder = errors.New("grpcserve: the listeners of a server must have the same DrainOrder: use a server for each DrainOrder")

// startServing registers a server, if it is not registered yet, and counts a call of Serve.
func startServing(g *grpc.Server, order int) (*server, error) {
	s, err := servedServer(g, order)
	if err != nil {
		return nil, err
	}
	s.registering.Lock()
	defer s.registering.Unlock()
	if s.unregister == nil {
		s.unregister = autorestart.RegisterDrainer(s)
	}
	return s, nil
}

// servedServer returns the server of g, with one more call of Serve.
func servedServer(g *grpc.Server, order int) (*server, error) {
	servers.Lock()
	defer servers.Unlock()
	s := servers.m[g]
	if s == nil {
		f, err := fieldsOf(g)
		if err != nil {
			return nil, err
		}
		s = &server{grpc: g, order: order, fields: f, conns: map[*conn]bool{}}
		servers.m[g] = s
	}
	if s.order != order {
		return nil, errOrder
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serving++
	return s, nil
}

// stopServing is called when a call of Serve returns.
func (s *server) stopServing() {
	s.mu.Lock()
	s.serving--
	s.mu.Unlock()
	s.unregisterIfUnused()
}

// unregisterIfUnused unregisters a server that is no longer served and has no connections.
func (s *server) unregisterIfUnused() {
	s.registering.Lock()
	defer s.registering.Unlock()
	servers.Lock()
	unused := s.isUnused()
	if unused && servers.m[s.grpc] == s {
		delete(servers.m, s.grpc)
	}
	servers.Unlock()
	if unused && s.unregister != nil {
		s.unregister()
		s.unregister = nil
		s.Resume() // an unregistered drainer is not resumed
	}
}

func (s *server) isUnused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serving == 0 && len(s.conns) == 0
}

// add returns a connection that the server has accepted, as package grpc gets it.
func (s *server) add(nc net.Conn) net.Conn {
	c := &conn{Conn: nc, server: s, accepted: time.Now()}
	s.mu.Lock()
	s.conns[c] = true
	s.mu.Unlock()
	s.joined.Broadcast()
	return c
}

// remove is called by package grpc, which may hold its mutexes.
func (s *server) remove(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	unused := s.serving == 0 && len(s.conns) == 0
	s.mu.Unlock()
	s.left.Broadcast()
	if unused {
		go s.unregisterIfUnused() // may wait for Quiesce, which takes a mutex of package grpc
	}
}

func (s *server) connectionCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *server) connections() (list []*conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		list = append(list, c)
	}
	return list
}

// awaitResume waits while the program is drained, or until the listener is closed: clients of a listener
// that is not of package sockets wait in the kernel's queue. A process that ends after the drain
// does not wait. What such a listener wraps may have connections that no other process gets.
func (s *server) awaitResume(closed <-chan struct{}) {
	s.mu.Lock()
	resumed := s.resumed
	s.mu.Unlock()
	if resumed == nil || image.Current().Beside.Leaves() {
		return
	}
	select {
	case <-resumed:
	case <-closed:
	}
}
