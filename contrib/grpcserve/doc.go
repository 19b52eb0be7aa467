// Package grpcserve serves gRPC so that a restart by package autorestart loses no call. Clients need
// not retry.
//
//	s := grpc.NewServer(grpc.ChainStreamInterceptor(grpcserve.StreamServerInterceptor()))
//	pb.RegisterGreeterServer(s, greeter{})
//	ln, err := sockets.Listen("tcp", ":50051")
//	if err != nil {
//		log.Panic(err)
//	}
//	autorestart.Ready()
//	log.Panic(grpcserve.Serve(s, ln))
//
// # What a client notices
//
// Before the exec, the old version answers the calls that it has received. New connections wait, and the
// new version accepts them. A connection gets a GOAWAY when the restart begins: the client makes its next
// calls on another connection. The server sends a PING and waits for the answer, so that it has the
// calls that the client has sent before it received the GOAWAY. When these are done, the connection is
// closed. The server does this by the code that package grpc has for GracefulStop.
//
// The program must not call GracefulStop or Stop for a restart. A stopped server can't serve again if
// the restart is called off, and [Serve] returns nil.
//
// If the restart is called off, Serve continues with the same server. Connections that have got a GOAWAY
// are closed. Clients connect again.
//
// # Streams
//
// When the restart begins, the client of a stream gets a GOAWAY, and the channel of
// [autorestart.Draining] is closed. [StreamServerInterceptor] also cancels the contexts of streams, when
// half of the DrainTimeout is over, and a second before its end at the latest. For a server with a
// DrainOrder, only the time counts that is left when its turn comes. The context of a unary call is
// not cancelled. A call that has not ended at the end of the DrainTimeout is cut off by the exec. A log
// line has the number of these calls. Their clients get the code Unavailable.
//
// # Health
//
// With [Health], all services are NOT_SERVING while the server is drained. A call of Watch gets that
// status, and ends with the code Unavailable.
//
// # Several servers
//
// Streams and health are those of the whole program. When the turn of the first server comes, all
// services are NOT_SERVING. When the time of its streams is over, the contexts of the streams of all
// servers are cancelled, also of those with a higher DrainOrder.
//
// # Clients that do not take part
//
// A restart does not wait long for these clients:
//   - A connection on which nothing arrives is closed one second after it was accepted.
//   - A handshake, of TLS and of HTTP/2, has one second from the beginning of the restart.
//   - The answer to the PING has one second. Then the server sends a second GOAWAY, with the
//     last call that the server has received. The connection is closed when these are done, and
//     without calls a second later.
//
// # Listeners
//
// The listener should be one of package sockets, which crosses the exec. Another listener can wrap one.
// With any other listener, new connections wait during the drain, too, but the exec closes them.
//
// [autorestart.Restarter.Overlap] works, too: two versions serve, one after the other, and clients need
// not wait for the new version.
//
// # Versions of package grpc
//
// No function of package grpc drains connections and leaves the server alive. So this package finds them
// in unexported fields of the [grpc.Server]. Serve returns an error at once if a version of package
// grpc has other fields. A test of the program that calls Serve shows that before a deploy.
package grpcserve
