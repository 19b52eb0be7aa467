//go:build linux

// Package grpc measures restarts of a gRPC server: one of package grpcserve, and as its peers a server
// that calls GracefulStop when a restart begins, and one that does nothing. The peers have a listener of
// package sockets, too. From the folder benchmarks:
//
//	go test -bench . -benchtime 1x ./grpc
//
// With AUTORESTART_BENCH_FULL=1 there are 1,000 restarts under load, 100 with idle connections, and 20
// that cut streams. There are also restarts with 1,000 idle connections:
//
//	AUTORESTART_BENCH_FULL=1 go test -bench . -benchtime 1x -timeout 2h ./grpc
//
// The clients are stock clients of package grpc, which do not retry.
//
//   - Load: eight clients make calls all the time. Two of them make unary calls on a connection that they
//     keep, two on a new connection for each call. Four receive the messages of a stream, half of them
//     on a new connection for each stream. The handler ends the stream when a restart begins.
//   - Idle connections: restarts with 50 idle connections, in turns with restarts without any
//     connection. The time of a restart is that for which new clients wait: from the beginning of the
//     drain until the new version is ready.
//   - Streams: handlers of streams ignore that their context is cancelled. They send a message then.
//
// The benchmarks fail for package grpcserve
//
//   - if a call fails, unary or a stream
//   - if a restart with 50 idle connections takes 50 ms longer than one without any, in the median.
//     With 1,000 connections the figure is reported only: in it is the work of 1,000 clients on the
//     same machine
//   - if a stream is cut less than a second after its client has got the message.
package grpc
