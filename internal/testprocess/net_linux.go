package testprocess

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// DatagramDrops returns how many datagrams have found the buffer of a socket full: the last
// column of /proc/net/udp.
func DatagramDrops(t testing.TB, port int) int {
	t.Helper()
	for line := range strings.Lines(string(ReadFile(t, "/proc/net/udp"))) {
		fields := strings.Fields(line)
		if len(fields) < 13 || !strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) {
			continue
		}
		n, err := strconv.Atoi(fields[len(fields)-1])
		if err != nil {
			t.Error(err)
		}
		return n
	}
	t.Errorf("no UDP socket has port %d", port)
	return 0
}

// SoftnetDrops returns how many packets of any process the queues of the CPUs have dropped
// because they were full (net.core.netdev_max_backlog): the second column of
// /proc/net/softnet_stat. Packets of the loopback device wait there when the CPUs are busy.
func SoftnetDrops(t testing.TB) (n int) {
	t.Helper()
	for line := range strings.Lines(string(ReadFile(t, "/proc/net/softnet_stat"))) {
		dropped, err := strconv.ParseInt(strings.Fields(line)[1], 16, 64)
		if err != nil {
			t.Error(err)
		}
		n += int(dropped)
	}
	return n
}
