package autorestarttest

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// givenPorts are those of FreeAddress.
var givenPorts sync.Map

// FreeAddress returns a TCP address of the loopback interface that no listener has. Its port is not
// one of those that systems choose, and this process gets it only once. So it is unlikely that another program
// listens on it before the daemon does.
func FreeAddress(t testing.TB) string {
	t.Helper()
	const lowest, highest = 10000, 32000
	for range 1000 {
		port := lowest + rand.IntN(highest-lowest)
		if _, given := givenPorts.LoadOrStore(port, true); given {
			continue
		}
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if ln, err := net.Listen("tcp", address); err == nil {
			ln.Close()
			return address
		}
	}
	t.Fatal("autorestarttest: no free address")
	return ""
}
