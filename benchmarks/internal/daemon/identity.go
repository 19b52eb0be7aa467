package daemon

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/internal/trailer"
)

// IdentityHeader is the header of an answer with the [Identity] of its sender.
const IdentityHeader = "Answered-By"

// Identity identifies an image of a version of a daemon.
type Identity struct {
	PID     int
	Version int
	Started int64 // when this image was started, in nanoseconds; unique
}

// Self returns the identity of this process.
var Self = sync.OnceValue(func() Identity {
	version, _ := trailer.Read()
	return Identity{os.Getpid(), version, time.Now().UnixNano()}
})

// String formats the identity for ParseIdentity.
func (id Identity) String() string {
	return fmt.Sprintf("%d/%d/%d", id.PID, id.Version, id.Started)
}

// ParseIdentity is the inverse of String.
func ParseIdentity(s string) (id Identity, err error) {
	_, err = fmt.Sscanf(s, "%d/%d/%d", &id.PID, &id.Version, &id.Started)
	return id, err
}
