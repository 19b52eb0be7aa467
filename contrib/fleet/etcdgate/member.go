package etcdgate

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
)

// defaultMember returns a name for this member that shows nothing of the machine ID.
func defaultMember(service string) (string, error) {
	id, err := os.ReadFile("/etc/machine-id")
	if id = bytes.TrimSpace(id); len(id) == 0 {
		return "", cmp.Or(err, errors.New("/etc/machine-id is empty"))
	}
	sum := sha256.Sum256([]byte(string(id) + "\x00" + service + "\x00" + os.Args[0]))
	return hex.EncodeToString(sum[:16]), nil
}
