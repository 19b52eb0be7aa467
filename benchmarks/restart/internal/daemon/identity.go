package daemon

import (
	"fmt"
	"os"
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/restart/internal/trailer"
)

// IdentityHeader is the header of an answer that says whose it is.
const IdentityHeader = "Answered-By"

// Identity says which image of which version of a daemon answers.
type Identity struct {
	PID     int
	Version int
	Started int64 // when this image was; no two have it in common
}

// Self returns the identity of this process.
func Self() Identity {
	version, _ := trailer.Read()
	return Identity{os.Getpid(), version, time.Now().UnixNano()}
}

// String returns what ParseIdentity takes.
func (id Identity) String() string {
	return fmt.Sprintf("%d/%d/%d", id.PID, id.Version, id.Started)
}

// ParseIdentity is the inverse of String.
func ParseIdentity(s string) (id Identity, err error) {
	_, err = fmt.Sscanf(s, "%d/%d/%d", &id.PID, &id.Version, &id.Started)
	return id, err
}
