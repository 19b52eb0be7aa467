package grpcserve

import (
	"errors"
	"fmt"
	"net"

	"google.golang.org/grpc"

	"github.com/autorestart-go/autorestart/internal/httpconn"
)

// Serve is like [grpc.Server.Serve], and drains the server before each restart. It returns what
// grpc.Server.Serve returns: nil after Stop or GracefulStop, [grpc.ErrServerStopped] if the server was
// stopped before, or the error of the listener's Accept. It has closed the listener then. A restart
// does not make Serve return, nor does a restart that is called off.
//
// One server may serve several listeners. They must have the same DrainOrder, see
// [sockets.Config.DrainOrder], which is also that of the server. Two calls of Serve for the same
// listener are a mistake: the second one returns an error, and leaves the listener open. Serve also returns an error if the version
// of package grpc does not fit this one. Its text names the versions that do.
//
// Options of the server work as usual. Credentials and interceptors get connections of another type than
// those of the listener; these have the methods SyscallConn and NetConn.
func Serve(s *grpc.Server, ln net.Listener) error {
	switch {
	case ln == nil:
		return errors.New("grpcserve: Serve needs a listener, got nil")
	case s == nil:
		ln.Close()
		return errors.New("grpcserve: Serve needs a grpc.Server, got nil")
	}
	release, err := httpconn.Claim(ln)
	if err != nil {
		return fmt.Errorf("grpcserve: %w", err)
	}
	defer release()
	srv, err := startServing(s, httpconn.DrainOrder(ln))
	if err != nil {
		ln.Close()
		return err
	}
	defer srv.stopServing()
	own := httpconn.ListenerOf(ln) != nil
	return s.Serve(&listener{Listener: ln, server: srv, own: own, closed: make(chan struct{})})
}
