//go:build linux

// Package restart measures the effect of restarts under load on clients, with this
// library and with other libraries that restart. Each library has a small daemon.
// New versions of it are deployed while eight clients send requests as fast as
// they are answered. From the folder benchmarks:
//
//	go test -bench . -benchtime 1x ./restart
//
// This makes 20 deploys for each server and kind of load, and takes a minute. The
// environment variable AUTORESTART_BENCH_DEPLOYS sets another number:
//
//	AUTORESTART_BENCH_DEPLOYS=1000 go test -bench . -benchtime 1x -timeout 2h ./restart
//
// Every error and every wrong answer is a lost request. The clients send nothing
// twice. net/http repeats some requests by itself, and these are counted. Half of
// the requests are POSTs whose body can be read only once, so net/http can't
// repeat them. A request that net/http gives up at a GOAWAY, before it has read the
// body, is counted as repeated, too.
//
// The tables at the end compare the servers. The benchmarks fail if this library
// exceeds its limits. No request is lost. The slowest request takes no longer than
// the slowest one in an equally long time without deploys, right before, and three
// times the median time from a deploy to its first answer. Rollbacks take no longer,
// from the moment when they are due, than three times the deploys in turns with them:
// the median and the slowest are compared.
package restart
