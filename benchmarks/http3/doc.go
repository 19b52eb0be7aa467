//go:build linux

// Package http3 measures when the clients of an HTTP/3 server are served again in a restart. From the
// folder benchmarks:
//
//	go test -bench . -benchtime 1x ./http3
//
// The default takes about 25 s. With AUTORESTART_BENCH_FULL=1 there are 100 connections and 100
// restarts:
//
//	AUTORESTART_BENCH_FULL=1 go test -bench . -benchtime 1x -timeout 2h ./http3
//
// Each client has one connection, of quic-go, and sends one request after the other. Each packet takes
// 150 ms from one side to the other, so a round trip takes 300 ms: longer than all handshakes
// together take on a machine with two cores. The servers are
//
//   - the one of examples/http3
//   - the same with a packet socket that stops reading in a drain, and with new random keys in each
//     version.
//
// The restart is the time from the beginning of the drain until the new version is ready. The gap of
// a client is the time from then until it has got an answer of the new version.
//
// The benchmark fails for the first server
//
//   - if a request fails that a version has answered
//   - if a request fails without an answer, in the long form. In the short form, which may run on a busy
//     machine, 0.1 % of the requests may
//   - if a gap of the long form is 2.5 round trips or more. A gap takes 2 of them, and the rest is left
//     to the machine. In the short form, 1 % of the gaps may be 3 round trips or more
//   - if the median of the gaps is 2.5 round trips or more.
//
// If no answer is lost, there is another run, or two. The table has the longest gap, too.
//
// The clients of the second server notice nothing until their idle timeout, which is 3 s here, and
// usually 30 s.
package http3
