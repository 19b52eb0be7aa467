//go:build linux

// Package overlap measures restarts in which two versions serve side by side: those of this
// library with Restarter.Overlap, and those of tableflip. From the folder benchmarks:
//
//	go test -bench . -benchtime 1x ./overlap
//
// The default takes about 90 s. With AUTORESTART_BENCH_FULL=1 starts and requests take 10 s, there
// are 1,000 deploys in a row, and 1,000 idle connections:
//
//	AUTORESTART_BENCH_FULL=1 go test -bench . -benchtime 1x -timeout 2h ./overlap
//
// Eight clients send requests all the time, over TCP and over a Unix socket. Half of them use a
// new connection for each request, the others keep theirs. Half of the requests are POSTs that
// net/http can't repeat. Each kind of load is run for the servers in turns:
//
//   - A version needs long until it is ready, and requests take as long.
//   - Versions are deployed as soon as the previous one is ready.
//   - A version fails, each in its own way.
//   - Idle connections are open. A newer version is deployed while the program is drained.
//   - Connections are hijacked, as those of WebSockets are.
//
// A change is a moment in which the processes change their parts: a process starts, it serves,
// the exec, the new main process is ready, a process has ended. The slowest requests that touch
// the 200 ms around each change are compared with the slowest of as many times of 200 ms that are
// not near a change, spread evenly over the same run.
//
// The benchmarks fail for this library
//
//   - if a request is lost
//   - if the slowest request near a change takes 20 ms longer than the slowest of all elsewhere,
//     in the median of the deploys, with all loads but deploys in a row and hijacked connections.
//     On a busy machine single requests are late in any window. So most of the deploys decide,
//     and if these were late, all deploys of another run, or two, count as well. The tables have
//     the slowest of all deploys, too
//   - if an idle connection is closed
//   - if a hijacked connection ends before the DrainTimeout is over
//   - if the PID or the number of descriptors is another one after the last restart.
//
// Memory is the sum of the proportional set sizes (PSS) of all processes of a server, read every
// 50 ms.
package overlap
