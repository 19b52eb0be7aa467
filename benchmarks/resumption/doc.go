//go:build linux

// Package resumption measures how many TLS clients resume their sessions after a restart: of a
// server by httpserve, and of one by net/http alone that calls execve(2). From the folder benchmarks:
//
//	go test -bench . -benchtime 1x ./resumption
//
// The default restarts each server 3 times, and takes about 20 s. With AUTORESTART_BENCH_FULL=1
// there are 100 restarts, which take 8 min:
//
//	AUTORESTART_BENCH_FULL=1 go test -bench . -benchtime 1x -timeout 1h ./resumption
//
// There are 1,000 clients: with TLS 1.2 and TLS 1.3, HTTP/1.1 and HTTP/2. Each of them gets a ticket,
// and presents it on its first connection after each restart. The time of a handshake is that of the
// client, with a certificate of ECDSA on P-256, over the loopback interface. The CPU time is that of
// the server for a connection with one request.
//
// The benchmark fails for this library
//
//   - if fewer than 99 % of the clients that present a ticket resume
//   - if a connection fails.
package resumption
