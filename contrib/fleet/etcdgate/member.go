package etcdgate

import (
	"os"

	"github.com/autorestart-go/autorestart/contrib/fleet"
)

// defaultMember returns the ID of the service on this machine, which differs for each path that it is started by.
func defaultMember(service string) (string, error) { return fleet.ID(service + "\x00" + os.Args[0]) }
