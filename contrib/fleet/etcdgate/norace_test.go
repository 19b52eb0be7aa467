//go:build linux && !race

package etcdgate

// manyDaemons is how many daemons a test starts.
const manyDaemons = 100
