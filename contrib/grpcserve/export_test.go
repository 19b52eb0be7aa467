package grpcserve

import (
	"google.golang.org/grpc"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// These functions show tests of package grpcserve_test what the package knows of a server.

var StreamTimeout = streamTimeout

// IsRegistered reports whether a server is a drainer.
func IsRegistered(s *grpc.Server) bool {
	servers.Lock()
	defer servers.Unlock()
	return servers.m[s] != nil
}

// Connections returns the number of connections of a server.
func Connections(s *grpc.Server) int {
	servers.Lock()
	srv := servers.m[s]
	servers.Unlock()
	if srv == nil {
		return 0
	}
	return len(srv.connections())
}

// AwaitStreams waits until a number of streams have gone through the interceptor, and not ended.
func AwaitStreams(n int) bool {
	return testprocess.Within(testprocess.Timeout, func() bool {
		restart.mu.Lock()
		defer restart.mu.Unlock()
		return len(restart.streams) == n
	})
}

var IsDraining = restart.isDraining
