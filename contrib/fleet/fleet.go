// Package fleet has what the gates below it have in common. A gate, see the field Gate of
// autorestart.Restarter, is for a service that runs on many machines. A new version arrives on all of
// them at the same time. The gate makes them restart a few at a time, and stops a version that does
// not work:
//   - Package etcdgate keeps the members of a group in etcd: canaries first, and a version that has
//     failed goes no further.
//   - Package fleetlock asks a FleetLock server, such as airlock.
//
// Without a server, autorestart.RandomDelay is a gate that spreads the restarts over some time.
//
// A gate knows each member of a group by its ID, which [ID] makes.
package fleet

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
)

// machineIDFiles have the ID of this machine, see machine-id(5). The second is that of systems
// without systemd.
var machineIDFiles = []string{"/etc/machine-id", "/var/lib/dbus/machine-id"}

// ID returns an ID for a service on this machine: 32 hexadecimal digits. It is the same after a
// reboot, and for each version of the service. Two services on one machine have different IDs. Two
// instances of one service need different names, such as "web@1" and "web@2".
//
// The ID is a hash of the service, keyed by the ID of the machine in machine-id(5). It does not
// reveal the ID of the machine, like that of sd_id128_get_machine_app_specific(3).
//
// ID fails if the machine has no ID, as in many containers. Containers that were made from one image
// may have the same ID. In containers, use a name that differs, such as that of the pod, instead of
// ID.
func ID(service string) (string, error) {
	if service == "" {
		return "", errors.New("fleet: the name of the service is empty")
	}
	machine, err := machineID(machineIDFiles)
	if err != nil {
		const advice = "set the field ID of the gate to another name for this service on this machine"
		return "", fmt.Errorf("fleet: this machine has no ID: %w; %s", err, advice)
	}
	return serviceID(machine, service), nil
}

// serviceID hashes a service. By the text before its name, the hashes differ from those that other
// programs make with the same key.
func serviceID(machine []byte, service string) string {
	h := hmac.New(sha256.New, machine)
	h.Write([]byte("github.com/autorestart-go/autorestart/contrib/fleet\x00" + service))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// machineID reads the ID of this machine from the first file that exists.
func machineID(files []string) (id []byte, err error) {
	for _, name := range files {
		content, readErr := os.ReadFile(name)
		if readErr == nil {
			if id, err = parseMachineID(string(content)); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			return id, nil
		}
		err = cmp.Or(err, readErr)
	}
	return nil, err
}

// parseMachineID parses the content of such a file. While the machine boots for the first time, the
// file is empty, or has the word "uninitialized".
func parseMachineID(content string) ([]byte, error) {
	content = strings.TrimSpace(content)
	id, err := hex.DecodeString(content)
	switch {
	case err != nil || len(id) != 16:
		return nil, fmt.Errorf("found %d characters of another form, expected 32 hexadecimal digits", len(content))
	case strings.Trim(string(id), "\x00") == "":
		return nil, errors.New("found only zeros, expected an ID")
	}
	return id, nil
}
