//go:build linux

// Package streams measures restarts of a server that has 1,000 WebSockets, with and without
// Restarter.Overlap. Server and clients use github.com/coder/websocket. From the folder
// benchmarks:
//
//	go test -bench . -benchtime 1x ./streams
//
// The default takes about 30 s. With AUTORESTART_BENCH_FULL=1 there are 100 restarts in each mode:
//
//	AUTORESTART_BENCH_FULL=1 go test -bench . -benchtime 1x -timeout 1h ./streams
//
// The server asks its clients to come back over three seconds (Spread), and gives them a second to
// answer (Grace). Ten more clients never read and never answer. The others come back when the
// close frame says.
//
// The benchmarks fail
//
//   - if a WebSocket of a client ends without a close frame with the code 1012
//   - if more than a fifth of the clients come back in one tenth of Spread, in the median of the
//     drains. Without Overlap that holds for the hints, too, and in each restart
//   - if a drain takes longer than asked: Grace without Overlap, and Spread and Grace with it. In the
//     median it may take 100 ms longer, and 500 ms at most; in the short form, which may run on a busy
//     machine, 250 ms and two seconds
//   - if the PID is another one after a restart.
package streams
