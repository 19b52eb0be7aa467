//go:build linux

// Package restart shows what clients notice when a daemon is restarted under
// load: by this library, and by those that one would use instead. Each is the
// server of a small daemon, of which new versions are deployed while eight
// clients send requests as fast as they are answered.
//
//	go test -bench . -benchtime 1x
//
// That is 20 deploys for each server and kind of load, and takes a minute.
// The environment variable AUTORESTART_BENCH_DEPLOYS says how many otherwise:
//
//	AUTORESTART_BENCH_DEPLOYS=1000 go test -bench . -benchtime 1x -timeout 2h
//
// Every error and every wrong answer is a lost request; nothing is sent again
// but what net/http sends again by itself, and that is counted too. Half of the
// requests are POSTs whose body can be read only once, which it may not.
//
// The table at the end compares. The benchmarks fail if this library does not
// keep its limits: nothing lost, and no request slower by more than 50 ms than
// the slowest in as long a time without deploys, right before.
package restart
