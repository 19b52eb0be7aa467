//go:build linux && race

package etcdgate

// manyDaemons is how many daemons a test starts. With the race detector, each takes a hundred megabytes.
const manyDaemons = 20
