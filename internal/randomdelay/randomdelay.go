// Package randomdelay decides how long a machine delays the restart into a version.
package randomdelay

import (
	"hash/fnv"
	"io"
	"math/bits"
	"os"
	"strings"
	"time"
)

// Of returns a delay of at least zero and below limit. It is the same for one machine and version. Those of
// many machines, or of many versions, are spread evenly. A limit of zero or less gives zero.
func Of(machine, version string, limit time.Duration) time.Duration {
	sum := fnv.New64a()
	io.WriteString(sum, machine+"\x00"+version)
	h := sum.Sum64()
	for range 2 { // the upper bits of FNV hardly depend on the last bytes
		h ^= h >> 32
		h *= 0xd6e8feb86659fd93
	}
	delay, _ := bits.Mul64(h, uint64(max(0, limit)))
	return time.Duration(delay)
}

// Content returns a hash of the content of a file.
func Content(r io.Reader) (string, error) {
	sum := fnv.New128a()
	if _, err := io.Copy(sum, r); err != nil {
		return "", err
	}
	return string(sum.Sum(nil)), nil
}

// Machine identifies this machine by machine-id(5) and the host name. Containers of one image may have the
// same machine-id, and machines that were cloned the same host name.
func Machine() string {
	id, _ := os.ReadFile("/etc/machine-id")
	name, _ := os.Hostname()
	return strings.TrimSpace(string(id)) + " " + name
}
